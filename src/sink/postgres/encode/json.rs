//! `json` and `jsonb`: the text as it stands in the payload.

use super::{bad_escape, decimal::Decimal, numeric, put, put_with, refuse, show, text};
use crate::{
    format::json::{check, find_break, validate},
    rejection::{Reason, Rejection},
    row::Value,
};

/// The version of `jsonb`'s binary form, which is text (`jsonb_recv`).
const JSONB_VERSION: u8 = 1;

/// Numbers that are shorter and have no exponent are within numeric's limits.
const SHORT_NUMBER_BYTES: usize = 16_000;

pub(super) fn encode(value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    match value {
        Value::Text { raw, .. } => put_with(out, |out| {
            put_string(raw, out);
            Ok(())
        }),
        Value::Plain(text) => put_with(out, |out| {
            put_text(text, out);
            Ok(())
        }),
        Value::Bytes(bytes) => {
            check_grammar(bytes)?;
            put(bytes, out)
        }
        _ => put(&show(value), out),
    }
}

pub(super) fn encode_binary(value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    put_with(out, |out| {
        out.push(JSONB_VERSION);
        match value {
            Value::Text { raw, escaped } => {
                if escaped {
                    check(raw).map_err(|bad| bad_escape(bad, raw))?;
                }
                put_string(raw, out);
                return Ok(());
            }
            Value::Plain(text) => {
                text::check_characters(text)?;
                put_text(text, out);
                return Ok(());
            }
            Value::Bytes(bytes) => {
                check_grammar(bytes)?;
                check_contents(bytes)?;
            }
            Value::Number(text) | Value::Nested(text) => check_contents(text)?,
            _ => {}
        }
        out.extend_from_slice(&show(value));
        Ok(())
    })
}

/// Appends `text`, which is UTF-8, as a JSON string.
pub(super) fn put_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(br"\n"),
            b'\r' => out.extend_from_slice(br"\r"),
            b'\t' => out.extend_from_slice(br"\t"),
            0..0x20 => {
                let low = char::from_digit(u32::from(byte & 15), 16).unwrap_or('0') as u8;
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), low]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Appends a string that is in the notation of JSON already.
fn put_string(raw: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(raw);
    out.push(b'"');
}

fn check_grammar(bytes: &[u8]) -> Result<(), Rejection> {
    // Positions in JSON have 32 bits.
    if u32::try_from(bytes.len()).is_err() {
        return Err(refuse(Reason::OutOfRange, bytes, "is larger than 4 GiB"));
    }
    validate(bytes).map_err(|fault| fault.rejection(bytes))
}

/// Checks valid JSON for what `jsonb` cannot hold though `json` can: it stores strings as text and
/// numbers as numeric.
fn check_contents(json: &[u8]) -> Result<(), Rejection> {
    let mut rest = json;
    loop {
        let start = rest.iter().position(|&b| b == b'"' || b == b'-' || b.is_ascii_digit());
        let Some(token) = start.and_then(|start| rest.get(start..)) else { return Ok(()) };
        let length = if token.starts_with(b"\"") {
            let (end, escaped) = string_end(token);
            if escaped {
                let raw = token.get(1..end).unwrap_or_default();
                check(raw).map_err(|bad| bad_escape(bad, raw))?;
            }
            end + 1
        } else {
            let is_part = |b: &u8| matches!(b, b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E');
            let length = token.iter().position(|b| !is_part(b)).unwrap_or(token.len());
            check_number(token.get(..length).unwrap_or_default())?;
            length
        };
        rest = token.get(length..).unwrap_or_default();
    }
}

/// Where the string that begins `text` has its closing quote, and whether it has escapes.
fn string_end(text: &[u8]) -> (usize, bool) {
    let mut at = 1;
    let mut escaped = false;
    loop {
        at = find_break(text, at, &mut 0);
        if text.get(at) != Some(&b'\\') {
            return (at, escaped);
        }
        escaped = true;
        at += 2;
    }
}

fn check_number(text: &[u8]) -> Result<(), Rejection> {
    if text.len() < SHORT_NUMBER_BYTES && !text.iter().any(|b| matches!(b, b'e' | b'E')) {
        return Ok(());
    }
    if Decimal::parse(text).is_some_and(|decimal| numeric::is_in_range(&decimal)) {
        return Ok(());
    }
    let problem =
        "is a number beyond the range of numeric, which jsonb stores it as; json holds it";
    Err(refuse(Reason::OutOfRange, text, problem))
}
