//! Change events of Debezium, in the JSON of Kafka Connect, with a schema in each record or without.

mod base64;
mod convert;
mod schema;
#[cfg(test)]
mod tests;

use super::{
    Format, JsonFormat,
    json::{check_size, excerpt, members},
};
use crate::{
    record::Record,
    rejection::{Reason, Rejection},
    row::{Change, Kind, Span},
    selector::Selector,
};
use convert::{mark_documents, put_row};
use schema::Schemas;

/// What a connector sends for a value that was not in the log: an unchanged one that Postgres keeps
/// outside of its row. As a text, as bytes in base64 and hexadecimal, as an array of either, of numbers
/// and of uuids, and as pairs.
const UNAVAILABLE: [(Kind, &[u8]); 8] = [
    (Kind::Text, b"__debezium_unavailable_value"),
    (Kind::Text, b"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="),
    (Kind::Text, b"5f5f646562657a69756d5f756e617661696c61626c655f76616c7565"),
    (Kind::Nested, br#"["__debezium_unavailable_value"]"#),
    (
        Kind::Nested,
        b"[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,\
          108,117,101]",
    ),
    (Kind::Nested, br#"["X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="]"#),
    (Kind::Nested, br#"["b68a35a7-17ad-35b3-af2a-ae46edb4545a"]"#),
    (Kind::Nested, br#"{"__debezium_unavailable_value":"__debezium_unavailable_value"}"#),
];

/// Pairs, where they come as a text that holds JSON.
const UNAVAILABLE_PAIRS: &[u8] =
    br#"{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}"#;

/// Reads change events: a row as it is after the change, or the key of one that is gone.
///
/// - Fields and the rest are those of the row: of `after`, or for a delete of `before`, or else of
///   the record's key. A pointer addresses the envelope (`/op`, `/source/lsn`, `/before/name`).
/// - Where the record carries its schema, values are turned into what columns take by the semantic
///   types of Debezium and Kafka Connect. Behind a pointer they stay as they are.
/// - Tombstones, which follow a delete that has done their work, heartbeats and messages that
///   somebody put into the log (`op = "m"`) concern no row.
/// - A truncation is refused, as no row can say it; and a value that Debezium does not have, as it
///   would overwrite one that is there.
#[derive(Debug)]
pub struct DebeziumFormat {
    /// The parts of a record that there may be, and those of its envelope.
    parts: JsonFormat,
    row: Selection,
    envelope: Selection,
    schemas: Schemas,
    /// The row, with the envelope behind it if a pointer looks there.
    text: Vec<u8>,
    scratch: Vec<u8>,
}

/// The selectors that look at one part of a record.
#[derive(Debug)]
struct Selection {
    format: JsonFormat,
    /// Which of the record's spans are theirs.
    places: Vec<usize>,
    /// Those of the record's spans that hold several fields.
    rests: Vec<usize>,
    spans: Vec<Span>,
}

/// `schema`, `payload`, `before`, `after`, `op`, `ts_ms`.
type Parts = [Span; 6];

impl DebeziumFormat {
    /// A format that answers `selectors`; each once.
    pub fn new(selectors: &[Selector]) -> Self {
        let parts = ["schema", "payload", "before", "after", "op", "ts_ms"];
        let is_pointer = |selector: &Selector| matches!(selector, Selector::Pointer(_));
        Self {
            parts: JsonFormat::new(&parts.map(Selector::from)),
            row: Selection::new(selectors, |selector| !is_pointer(selector)),
            envelope: Selection::new(selectors, is_pointer),
            schemas: Schemas::default(),
            text: Vec::new(),
            scratch: Vec::new(),
        }
    }

    fn parts(&mut self, text: &[u8]) -> Result<Parts, Rejection> {
        let mut spans = [Span::ABSENT; 6];
        self.parts.read(text, &mut spans)?;
        Ok(spans)
    }

    /// Puts a row into the text, as the schema of its record would have it; says whether anything was
    /// to be converted.
    fn put_row(&mut self, row: &[u8], schema: Option<&[u8]>) -> bool {
        let meaning = schema.and_then(|schema| self.schemas.find(schema));
        let schema = meaning.map(|meaning| &meaning.row).filter(|row| !row.is_empty());
        match schema {
            Some(schema) => put_row(row, schema, &mut self.scratch, &mut self.text),
            None => self.text.extend_from_slice(row),
        }
        schema.is_some()
    }

    /// Puts the row that a delete names into the text: from the key of a record whose connector does
    /// not send what was before. As [`Self::put_row`].
    fn put_key(&mut self, key: &[u8]) -> bool {
        let Ok([schema, payload, ..]) = self.parts(key) else { return false };
        match (schema.kind, payload.kind) {
            (Kind::Nested, Kind::Nested) => {
                let key_row = slice(key, payload);
                if let Some(meaning) = self.schemas.find(slice(key, schema)) {
                    put_row(key_row, &meaning.key, &mut self.scratch, &mut self.text);
                    return true;
                }
                self.text.extend_from_slice(key_row);
            }
            _ => self.text.extend_from_slice(key),
        }
        false
    }
}

impl Selection {
    fn new(selectors: &[Selector], is_mine: impl Fn(&Selector) -> bool) -> Self {
        let mine = selectors.iter().enumerate().filter(|(_, selector)| is_mine(selector));
        let (places, mine): (Vec<usize>, Vec<Selector>) =
            mine.map(|(place, selector)| (place, selector.clone())).unzip();
        let spans = vec![Span::ABSENT; mine.len()];
        let is_rest = |selector: &Selector| matches!(selector, Selector::Rest { .. });
        let rests = places.iter().zip(&mine).filter(|(_, selector)| is_rest(selector));
        let rests = rests.map(|(place, _)| *place).collect();
        Self { format: JsonFormat::new(&mine), places, rests, spans }
    }

    /// Finds the selected values of `text`, which begins at `start` of the record's text.
    fn read(&mut self, text: &[u8], start: usize, spans: &mut [Span]) -> Result<(), Rejection> {
        self.format.read(text, &mut self.spans)?;
        for (place, found) in self.places.iter().zip(&self.spans) {
            let shift = if matches!(found.kind, Kind::Absent) { 0 } else { start as u32 };
            if let Some(span) = spans.get_mut(*place) {
                let (start, end) = (found.start + shift, found.end + shift);
                *span = Span { kind: found.kind, start, end };
            }
        }
        Ok(())
    }
}

impl Format for DebeziumFormat {
    fn decode(&mut self, record: &Record<'_>, spans: &mut [Span]) -> Result<Change, Rejection> {
        spans.fill(Span::ABSENT);
        let Some(value) = record.value else { return Ok(Change::Nothing) };
        let mut envelope = value;
        let mut parts = self.parts(value)?;
        let [schema, payload, ..] = parts;
        match payload.kind {
            Kind::Nested => {
                envelope = slice(value, payload);
                parts = self.parts(envelope)?;
            }
            // What the converter makes of a tombstone, if it is told to add schemas.
            Kind::Null if matches!(schema.kind, Kind::Null | Kind::Absent) => {
                return Ok(Change::Nothing);
            }
            _ => {}
        }
        let [_, _, before, after, op, heartbeat] = parts;
        // A heartbeat tells the time and nothing else; a row may well have such a column.
        if heartbeat.kind == Kind::Number && members(envelope).count() == 1 {
            return Ok(Change::Nothing);
        }
        let (change, row) = match operation(slice(envelope, op), op.kind)? {
            Change::Put => (Change::Put, after),
            Change::Delete => (Change::Delete, before),
            Change::Nothing => return Ok(Change::Nothing),
        };
        self.text.clear();
        let schema = (schema.kind == Kind::Nested).then(|| slice(value, schema));
        let is_converted = match (row.kind, change) {
            (Kind::Nested, _) => self.put_row(slice(envelope, row), schema),
            (_, Change::Delete) => self.put_key(record.key.unwrap_or_default()),
            _ => return Err(malformed("row in `after`")),
        };
        if !self.text.is_empty() {
            self.row.read(&self.text, 0, spans)?;
            self.row.format.append_rests(&mut self.text);
            if is_converted {
                mark_documents(&self.text, spans);
            }
        }
        if !self.envelope.places.is_empty() {
            let start = self.text.len();
            self.text.extend_from_slice(envelope);
            check_size(&self.text)?;
            self.envelope.read(envelope, start, spans)?;
        }
        if change == Change::Put {
            check_available(&self.text, spans, &self.row.rests)?;
        }
        Ok(change)
    }

    fn text<'a>(&'a self, _record: &Record<'a>) -> &'a [u8] {
        &self.text
    }
}

/// What an operation does, by its letter.
fn operation(op: &[u8], kind: Kind) -> Result<Change, Rejection> {
    match (kind, op) {
        (Kind::Text, b"c" | b"u" | b"r") => Ok(Change::Put),
        (Kind::Text, b"d") => Ok(Change::Delete),
        (Kind::Text, b"m") => Ok(Change::Nothing),
        (Kind::Text, b"t") => Err(Rejection::record(
            Reason::Unsupported,
            "the source's table was truncated, which no row can say: empty the target by hand and drop \
             this letter, or leave truncations out (the connector's skipped.operations = t)",
        )),
        (Kind::Text, other) => {
            let message = format!("op is `{}`; expected c, u, d, r, m or t", excerpt(other));
            Err(Rejection::record(Reason::Malformed, message))
        }
        _ => Err(malformed("`op`")),
    }
}

#[cold]
fn malformed(missing: &str) -> Rejection {
    let message = format!(
        "expected a change event of Debezium, found no {missing} in it; rows without an envelope \
         (ExtractNewRecordState) are of format json"
    );
    Rejection::record(Reason::Malformed, message)
}

/// Whether a value stands for one that the connector does not have.
fn is_unavailable(kind: Kind, value: &[u8]) -> bool {
    match kind {
        Kind::Text | Kind::Nested => UNAVAILABLE.contains(&(kind, value)),
        Kind::EscapedText => value == UNAVAILABLE_PAIRS,
        _ => false,
    }
}

/// Refuses a row that lacks one of the values that were asked for; `rests` are the spans that hold
/// several.
fn check_available(text: &[u8], spans: &[Span], rests: &[usize]) -> Result<(), Rejection> {
    let is_missing = |span: &Span| is_unavailable(span.kind, slice(text, *span));
    let mut rests = rests.iter().filter_map(|place| spans.get(*place));
    let lacks = |rest: &Span| {
        let rest = slice(text, *rest);
        members(rest).any(|(_, value)| is_unavailable(value.kind, slice(rest, value)))
    };
    if !spans.iter().any(is_missing) && !rests.any(lacks) {
        return Ok(());
    }
    Err(Rejection::record(
        Reason::Unsupported,
        "the event lacks a value that the update left as it was (__debezium_unavailable_value); let \
         the source log it: ALTER TABLE ... REPLICA IDENTITY FULL",
    ))
}

fn slice(text: &[u8], span: Span) -> &[u8] {
    text.get(span.start as usize..span.end as usize).unwrap_or_default()
}
