//! JSON objects.

mod escape;
mod fields;
mod scanner;
mod words;

use fields::Fields;
use scanner::{Malformed, Scanner};

pub(crate) use escape::{BadEscape, check, unescape};
pub(crate) use scanner::validate;
pub(crate) use words::find_break;

use super::Format;
use crate::{
    record::Record,
    rejection::{Reason, Rejection},
    row::{Change, Kind, Span},
};

/// Reads the top-level fields of a JSON object.
///
/// The whole payload is checked, strictly as RFC 8259: what gets through can be stored as `json`.
/// Of a field that comes twice the last one counts, as in `jsonb`. Half a surrogate pair (`\ud800`)
/// is grammatically a string; it is refused where it is used as text.
///
/// A tombstone deletes the row whose key fields are in the record's key, if that is a JSON object.
#[derive(Debug)]
pub struct JsonFormat {
    fields: Fields,
    key: Vec<u8>,
}

impl JsonFormat {
    /// A format that finds `fields`; each name once.
    pub fn new(fields: Vec<String>) -> Self {
        Self { fields: Fields::new(&fields), key: Vec::new() }
    }

    fn object(&mut self, payload: &[u8], spans: &mut [Span]) -> Result<(), Malformed> {
        let mut scanner = Scanner::new(payload);
        scanner.expect(b'{', "a JSON object")?;
        scanner.skip_space();
        if scanner.skip_byte(b'}') {
            return scanner.end();
        }
        let mut previous = None;
        loop {
            scanner.expect(b'"', "a field name in quotes")?;
            let field = self.key(&mut scanner, previous)?;
            scanner.skip_space();
            let value = scanner.value(1)?;
            if let Some(field) = field {
                if let Some(span) = spans.get_mut(field) {
                    *span = value;
                }
                previous = Some(field);
            }
            scanner.skip_space();
            if scanner.skip_byte(b',') {
                continue;
            }
            if scanner.skip_byte(b'}') {
                return scanner.end();
            }
            return Err(scanner.fault("',' or '}'"));
        }
    }

    /// Reads a key whose opening quote has been skipped, and its colon; the field of that name, if there is one.
    #[inline]
    fn key(
        &mut self,
        scanner: &mut Scanner<'_>,
        previous: Option<usize>,
    ) -> Result<Option<usize>, Malformed> {
        match self.fields.follower(previous) {
            Some((field, pattern)) if scanner.skip_pattern(pattern) => return Ok(Some(field)),
            _ => {}
        }
        let span = scanner.string()?;
        scanner.expect(b':', "':' after the field name")?;
        let mut name = scanner.text(span);
        if span.kind == Kind::EscapedText {
            self.key.clear();
            // A key with half a surrogate pair is nobody's name.
            if unescape(name, &mut self.key).is_err() {
                return Ok(None);
            }
            name = &self.key;
        }
        let field = self.fields.find(name);
        if let Some(field) = field {
            self.fields.learn(previous, field);
        }
        Ok(field)
    }
}

impl Format for JsonFormat {
    fn decode(&mut self, record: &Record<'_>, spans: &mut [Span]) -> Result<Change, Rejection> {
        spans.fill(Span::ABSENT);
        let Some(payload) = record.value else {
            let key = record.key.unwrap_or_default();
            if check_size(key).is_err() || self.object(key, spans).is_err() {
                // A key of another kind has no fields.
                spans.fill(Span::ABSENT);
            }
            return Ok(Change::Delete);
        };
        check_size(payload)?;
        self.object(payload, spans).map_err(|fault| rejection(payload, fault))?;
        Ok(Change::Put)
    }

    fn text<'a>(&'a self, record: &Record<'a>) -> &'a [u8] {
        record.value.or(record.key).unwrap_or_default()
    }
}

pub(super) fn check_size(payload: &[u8]) -> Result<(), Rejection> {
    if u32::try_from(payload.len()).is_ok() {
        return Ok(());
    }
    let message = format!("the payload has {} bytes, more than {}", payload.len(), u32::MAX);
    Err(Rejection::record(Reason::TooLarge, message))
}

/// Says what is wrong with `payload`; the frequent mistakes by name.
#[cold]
fn rejection(payload: &[u8], fault: Malformed) -> Rejection {
    let start = payload.trim_ascii_start();
    let found = match start.first() {
        _ if payload.is_empty() => {
            return Rejection::record(Reason::Malformed, "empty payload");
        }
        _ if payload.starts_with(b"\xef\xbb\xbf") => "a UTF-8 byte order mark",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b'-' | b'0'..=b'9') => "a number",
        _ if start.starts_with(b"null") => "null",
        _ if start.starts_with(b"true") || start.starts_with(b"false") => "a boolean",
        _ => return fault.rejection(payload),
    };
    let at = payload.len() - start.len();
    let message = format!("expected a JSON object, found {found} at byte {at}");
    Rejection::record(Reason::Malformed, message)
}

#[cfg(test)]
mod tests;
