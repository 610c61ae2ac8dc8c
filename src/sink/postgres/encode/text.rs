//! `text` and `varchar(n)`; `name`, `"char"` and `xml`.

use std::borrow::Cow;

use super::{Literal, bad_escape, put, put_fixed, put_with, refuse, show};
use crate::{
    format::json::unescape,
    rejection::{Reason, Rejection},
    row::Value,
};

/// Appends a string's characters; of any other value, its JSON text.
#[inline]
pub(super) fn encode(
    value: Value<'_>,
    max_chars: Option<u32>,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    match value {
        Value::Text { raw, escaped: false } => {
            check_length(raw, max_chars)?;
            put(raw, out)
        }
        Value::Text { raw, escaped: true } => put_with(out, |out| {
            let start = out.len();
            unescape(raw, out).map_err(|bad| bad_escape(bad, raw))?;
            check_length(out.get(start..).unwrap_or_default(), max_chars)
        }),
        Value::Bytes(bytes) | Value::Plain(bytes) => {
            check_characters(bytes)?;
            check_length(bytes, max_chars)?;
            put(bytes, out)
        }
        _ => {
            let text: Cow<'_, [u8]> = show(value);
            check_length(&text, max_chars)?;
            put(&text, out)
        }
    }
}

/// `NAMEDATALEN`, less its end.
const MAX_NAME_BYTES: usize = 63;

pub(super) fn encode_name(literal: Literal<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let (Literal::Number(text) | Literal::Text(text)) = literal;
    check_characters(text)?;
    if text.len() > MAX_NAME_BYTES {
        // Postgres would cut it.
        let problem = format!("has {} bytes, name holds {MAX_NAME_BYTES}", text.len());
        return Err(refuse(Reason::OutOfRange, text, problem));
    }
    put(text, out)
}

/// Appends the one byte of a `"char"`; an empty string is the byte 0, as in Postgres.
pub(super) fn encode_char(literal: Literal<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let (Literal::Number(text) | Literal::Text(text)) = literal;
    let byte = match text {
        [] => 0,
        [byte @ 1..=127] => *byte,
        _ => {
            let problem = "expected one ASCII character (\"char\"); char(1) and text hold others";
            return Err(refuse(Reason::OutOfRange, text, problem));
        }
    };
    put_fixed::<1, 5>([byte], out);
    Ok(())
}

/// Appends XML as it stands; Postgres checks that it is well formed.
pub(super) fn encode_xml(literal: Literal<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let text = match literal {
        Literal::Text(text) => text,
        Literal::Number(text) => {
            return Err(refuse(Reason::WrongType, text, "expected a string (xml)"));
        }
    };
    check_characters(text)?;
    if !declares_utf8(text) {
        // `xml_recv` believes the declaration, and would read other characters than were sent.
        let problem = "declares an encoding, but a record's text is UTF-8; remove the declaration";
        return Err(refuse(Reason::InvalidText, text, problem));
    }
    put(text, out)
}

/// Whether the XML declaration, if there is one, names UTF-8 or no encoding.
fn declares_utf8(xml: &[u8]) -> bool {
    let Some(declaration) = xml.strip_prefix(b"<?xml") else { return true };
    let end = declaration.windows(2).position(|two| two == b"?>").unwrap_or(declaration.len());
    let declaration = declaration.get(..end).unwrap_or_default();
    let Some(at) = declaration.windows(8).position(|word| word == b"encoding") else { return true };
    let name = declaration.get(at + 8..).unwrap_or_default();
    let name = name.iter().skip_while(|byte| b" \t\r\n=\"'".contains(byte)).take(5);
    name.map(u8::to_ascii_lowercase).eq(*b"utf-8")
}

/// Checks that bytes of unknown origin are a text that Postgres can store.
pub(super) fn check_characters(bytes: &[u8]) -> Result<(), Rejection> {
    if let Err(error) = std::str::from_utf8(bytes) {
        let problem = format!("byte {} is not UTF-8; bytea would hold it", error.valid_up_to());
        return Err(refuse(Reason::InvalidText, bytes, problem));
    }
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        let problem = format!("byte {at} is U+0000, which Postgres cannot store as text");
        return Err(refuse(Reason::InvalidCharacter, bytes, problem));
    }
    Ok(())
}

/// Checks the length of UTF-8. Postgres would cut trailing spaces from a `varchar` that is too long
/// (`varchar_input`), and say nothing.
#[inline]
fn check_length(text: &[u8], max_chars: Option<u32>) -> Result<(), Rejection> {
    let Some(max_chars) = max_chars else { return Ok(()) };
    if text.len() <= max_chars as usize {
        return Ok(());
    }
    // Continuation bytes are 0x80 to 0xbf, the 64 least values of i8.
    let chars = text.iter().filter(|&&byte| byte as i8 >= -0x40).count();
    if chars <= max_chars as usize {
        return Ok(());
    }
    let problem = format!("has {chars} characters, varchar({max_chars}) holds {max_chars}");
    Err(refuse(Reason::OutOfRange, text, problem))
}
