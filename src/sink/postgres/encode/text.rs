//! `text` and `varchar(n)`.

use std::borrow::Cow;

use super::{bad_escape, put, put_with, refuse, show};
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
