//! Values that are made of parts: how they are written, and memory for their texts.

use super::{bad_escape, text::check_characters};
use crate::{
    format::json::{unescape, validate},
    rejection::Rejection,
    row::{Span, Value},
    sink::postgres::column::ColumnType,
};

/// Memory for parts inside parts, that is kept from one value to the next: one text for each level.
#[derive(Debug, Default)]
pub(super) struct Parts {
    texts: Vec<Vec<u8>>,
    /// Where the attributes of the composites stand that are being written, the innermost last.
    pub(super) spans: Vec<Span>,
}

impl Parts {
    /// An empty text, to be given back.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut text = self.texts.pop().unwrap_or_default();
        text.clear();
        text
    }

    pub(super) fn give(&mut self, text: Vec<u8>) {
        self.texts.push(text);
    }
}

impl ColumnType {
    /// A value of this type in Postgres' notation. A string is a JSON string wherever JSON is wanted,
    /// but here it is the document.
    pub(super) fn value_of<'a>(&self, text: &'a [u8]) -> Value<'a> {
        match self {
            Self::Json | Self::Jsonb => Value::Bytes(text),
            _ => Value::Plain(text),
        }
    }
}

/// What a value of several parts is written as.
#[derive(Clone, Copy, Debug)]
pub(super) enum Written<'a> {
    /// A JSON array.
    List(&'a [u8]),
    /// A JSON object.
    Object(&'a [u8]),
    /// A text in Postgres' notation.
    Text(&'a [u8]),
    /// A number or a boolean, which has no parts.
    Single,
}

impl<'a> Written<'a> {
    /// What `value` is. A string that is itself a JSON document, as in CSV, counts as that document,
    /// but one in braces only where `objects` are wanted: Postgres writes its arrays in braces, too.
    pub(super) fn of(
        value: Value<'a>,
        objects: bool,
        text: &'a mut Vec<u8>,
    ) -> Result<Self, Rejection> {
        let raw: &'a [u8] = match value {
            Value::Nested(json) if json.starts_with(b"[") => return Ok(Self::List(json)),
            Value::Nested(json) => return Ok(Self::Object(json)),
            Value::Text { raw, escaped: false } => raw,
            Value::Text { raw, escaped: true } => {
                unescape(raw, text).map_err(|bad| bad_escape(bad, raw))?;
                text
            }
            Value::Plain(raw) | Value::Document(raw) | Value::Bytes(raw) => {
                check_characters(raw)?;
                raw
            }
            Value::Absent | Value::Null | Value::Bool(_) | Value::Number(_) => {
                return Ok(Self::Single);
            }
        };
        let is_json = || u32::try_from(raw.len()).is_ok() && validate(raw).is_ok();
        Ok(match raw.trim_ascii_start().first() {
            Some(b'[') if is_json() => Self::List(raw),
            Some(b'{') if objects && is_json() => Self::Object(raw),
            _ => Self::Text(raw),
        })
    }
}

/// Reads a bound of a range or an attribute of a composite, up to one of `ends` outside of quotes, as
/// `range_parse_bound` and `record_in` do; appends its characters. Gives what follows, and whether
/// there was nothing at all, which is not the same as an empty string in quotes.
pub(super) fn read_quoted<'a>(
    written: &'a [u8],
    ends: &[u8],
    text: &mut Vec<u8>,
) -> Option<(&'a [u8], bool)> {
    let mut rest = written;
    let mut quoted = false;
    loop {
        rest = match rest {
            [byte, ..] if !quoted && ends.contains(byte) => {
                return Some((rest, rest.len() == written.len()));
            }
            [b'\\', byte, after @ ..] => {
                text.push(*byte);
                after
            }
            [b'"', b'"', after @ ..] if quoted => {
                text.push(b'"');
                after
            }
            [b'"', after @ ..] => {
                quoted = !quoted;
                after
            }
            [b'\\'] | [] => return None,
            [byte, after @ ..] => {
                text.push(*byte);
                after
            }
        };
    }
}

/// A space as Postgres skips it around the parts of a value (`array_isspace`).
pub(super) fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

pub(super) fn trim_start(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|&&byte| is_space(byte)).count();
    text.get(spaces..).unwrap_or_default()
}

pub(super) fn trim(text: &[u8]) -> &[u8] {
    let text = trim_start(text);
    let spaces = text.iter().rev().take_while(|&&byte| is_space(byte)).count();
    text.get(..text.len() - spaces).unwrap_or_default()
}
