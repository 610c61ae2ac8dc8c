//! U+0000, which Postgres cannot store in texts and in `jsonb`: left out, or replaced by U+FFFD.

use crate::{row::Value, sink::postgres::column::OnNul};

/// The value without U+0000; `text` is where it is written.
pub(super) fn mend<'a>(value: Value<'a>, on_nul: OnNul, text: &'a mut Vec<u8>) -> Value<'a> {
    let (escape, character): (&[u8], &[u8]) = match on_nul {
        OnNul::DeadLetter => return value,
        OnNul::Strip => (b"", b""),
        OnNul::Replace => (br"\ufffd", "\u{fffd}".as_bytes()),
    };
    match value {
        Value::Text { raw, escaped: true } => {
            replace_escapes(raw, escape, text);
            Value::Text { raw: text, escaped: true }
        }
        // Outside of its strings, JSON has no backslashes.
        Value::Nested(json) => {
            replace_escapes(json, escape, text);
            Value::Nested(text)
        }
        Value::Plain(raw) => {
            replace_bytes(raw, character, text);
            Value::Plain(text)
        }
        Value::Bytes(raw) => {
            replace_bytes(raw, character, text);
            Value::Bytes(text)
        }
        _ => value,
    }
}

fn replace_escapes(raw: &[u8], replacement: &[u8], text: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        let (plain, escape) = rest.split_at(at);
        text.extend_from_slice(plain);
        // An escaped backslash is two bytes, so that what follows it is not taken for an escape.
        let (written, length) = match escape.strip_prefix(br"\u0000") {
            Some(_) => (replacement, 6),
            None => (escape.get(..2).unwrap_or(escape), 2),
        };
        text.extend_from_slice(written);
        rest = escape.get(length..).unwrap_or_default();
    }
    text.extend_from_slice(rest);
}

fn replace_bytes(raw: &[u8], replacement: &[u8], text: &mut Vec<u8>) {
    for (index, part) in raw.split(|&byte| byte == 0).enumerate() {
        if index > 0 {
            text.extend_from_slice(replacement);
        }
        text.extend_from_slice(part);
    }
}
