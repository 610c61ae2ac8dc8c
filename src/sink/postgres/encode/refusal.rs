//! What a refused value is called in messages.

use std::{borrow::Cow, fmt::Display};

use crate::{
    format::json::BadEscape,
    rejection::{Reason, Rejection},
    row::Value,
};

/// Characters of a value that a message may show, escapes included.
const SHOWN_CHARS: usize = 40;

/// The rejection of `value`; `problem` goes on where the value ends.
#[cold]
pub(super) fn refuse(reason: Reason, value: &[u8], problem: impl Display) -> Rejection {
    Rejection::record(reason, format!("`{}`: {problem}", excerpt(value)))
}

/// The rejection of a string with an escape that stands for no character.
#[cold]
pub(super) fn bad_escape(bad: BadEscape, raw: &[u8]) -> Rejection {
    let problem = match bad {
        BadEscape::Null => "U+0000 is a character that Postgres cannot store".to_owned(),
        BadEscape::Surrogate(unit) => {
            format!("\\u{unit:04x} is half of a surrogate pair, not a character")
        }
        BadEscape::Unknown => {
            return refuse(Reason::Malformed, raw, "has an escape that JSON does not know");
        }
    };
    refuse(Reason::InvalidCharacter, raw, problem)
}

/// The text of a value that is not a string.
pub(super) fn show(value: Value<'_>) -> Cow<'_, [u8]> {
    match value {
        Value::Absent => Cow::Borrowed(b""),
        Value::Null => Cow::Borrowed(b"null"),
        Value::Bool(true) => Cow::Borrowed(b"true"),
        Value::Bool(false) => Cow::Borrowed(b"false"),
        Value::Number(text) | Value::Nested(text) => Cow::Borrowed(text),
        Value::Plain(text) | Value::Document(text) | Value::Bytes(text) => Cow::Borrowed(text),
        Value::Text { raw, .. } => Cow::Borrowed(raw),
    }
}

/// The beginning of `value`, safe to print.
pub(in super::super) fn excerpt(value: &[u8]) -> String {
    // A character has at most 4 bytes, and what is not UTF-8 becomes one character a byte or more.
    let beginning = value.get(..4 * SHOWN_CHARS).unwrap_or(value);
    let mut shown = String::new();
    let mut chars = 0;
    for character in String::from_utf8_lossy(beginning).chars() {
        let escaped = character.escape_debug();
        chars += escaped.len();
        if chars > SHOWN_CHARS {
            shown.push('…');
            break;
        }
        match character {
            '"' | '\'' => shown.push(character),
            _ => shown.extend(escaped),
        }
    }
    shown
}
