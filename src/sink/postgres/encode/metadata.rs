//! Columns that are fed from the record itself.

use std::ops::Range;

use super::{
    EncoderError, Scratch, json::put_text, null, number, numeric, put, refuse, text, time,
    type_name, value,
};
use crate::{
    record::{Headers, Record},
    rejection::{Reason, Rejection},
    row::Value,
    sink::postgres::column::{Column, ColumnType, EpochUnit, Metadata},
};

/// Refuses a column that cannot hold `metadata`.
pub(super) fn check(column: &Column, metadata: Metadata) -> Result<(), EncoderError> {
    use ColumnType::{
        Bytea, Date, Int2, Int4, Int8, Json, Jsonb, Numeric, Text, Timestamp, Timestamptz,
    };
    let column_type = &column.column_type;
    let integer = matches!(column_type, Int2 | Int4 | Int8 | Numeric { .. });
    let document = matches!(column_type, Text { .. } | Json | Jsonb);
    let (name, fits, takes) = match metadata {
        Metadata::Topic => ("topic", matches!(column_type, Text { .. }), "text"),
        Metadata::Partition => ("partition", integer, "integer, bigint, smallint or numeric"),
        Metadata::Offset => ("offset", integer, "bigint (or integer, smallint, numeric)"),
        Metadata::Timestamp => (
            "timestamp",
            matches!(column_type, Timestamptz | Timestamp | Date | Int8),
            "timestamptz, timestamp, date or bigint",
        ),
        // A key is bytes that its producer gave a meaning: whatever reads as the type is welcome.
        Metadata::Key => ("key", true, "any type"),
        Metadata::Headers => ("headers", document, "jsonb, json or text"),
        Metadata::Payload => {
            ("payload", document || *column_type == Bytea, "jsonb, json, text or bytea")
        }
    };
    if fits {
        return Ok(());
    }
    Err(EncoderError::Metadata {
        column: column.name.clone(),
        column_type: type_name(column_type).into_owned(),
        metadata: name,
        takes,
    })
}

pub(super) fn encode(
    column: &Column,
    metadata: Metadata,
    record: &Record<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let bytes = match metadata {
        Metadata::Partition => return integer(column, i64::from(record.partition), out),
        Metadata::Offset => return integer(column, record.offset, out),
        Metadata::Timestamp => return timestamp(column, record.timestamp_ms, out),
        Metadata::Headers => return headers(column, record.headers, scratch, out),
        Metadata::Topic => Some(record.topic.as_bytes()),
        Metadata::Key => record.key,
        Metadata::Payload => record.value,
    };
    value(column, bytes.map_or(Value::Null, Value::Bytes), scratch, out)
}

fn integer(column: &Column, integer: i64, out: &mut Vec<u8>) -> Result<(), Rejection> {
    match &column.column_type {
        ColumnType::Numeric { limits } => numeric::put_integer(integer, *limits, out),
        column_type => number::put_integer(column_type, integer, out),
    }
}

fn timestamp(column: &Column, ms: Option<i64>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let Some(ms) = ms else { return null(column, Value::Null, out) };
    match column.column_type {
        ColumnType::Date => time::put_date_ms(ms, out),
        ColumnType::Int8 => match in_unit(ms, column.reading.epoch_unit) {
            Some(units) => number::put_integer(&ColumnType::Int8, units, out),
            None => {
                let problem = "milliseconds are too many for a bigint in the declared epoch";
                Err(refuse(Reason::OutOfRange, ms.to_string().as_bytes(), problem))
            }
        },
        _ => time::put_timestamp_ms(ms, out),
    }
}

fn in_unit(ms: i64, unit: Option<EpochUnit>) -> Option<i64> {
    match unit {
        Some(EpochUnit::S) => Some(ms.div_euclid(1_000)),
        Some(EpochUnit::Ms) | None => Some(ms),
        Some(EpochUnit::Us) => ms.checked_mul(1_000),
        Some(EpochUnit::Ns) => ms.checked_mul(1_000_000),
    }
}

/// The headers of one record as JSON, piece by piece. Kept, so that it is allocated once.
#[derive(Debug, Default)]
pub(super) struct HeaderList {
    /// Names and values, as JSON.
    text: Vec<u8>,
    /// Where the name and the value of each header stand in `text`.
    entries: Vec<(Range<usize>, Range<usize>)>,
}

impl HeaderList {
    fn read(&mut self, headers: Option<&dyn Headers>) {
        self.text.clear();
        self.entries.clear();
        let Some(headers) = headers else { return };
        headers.for_each(&mut |name, value| {
            let name = append(&mut self.text, |text| put_text(name.as_bytes(), text));
            let value = append(&mut self.text, |text| put_json_value(value, text));
            self.entries.push((name, value));
        });
        // Equal names come to stand together, in the order in which they were sent.
        let text = &self.text;
        self.entries.sort_by_key(|(name, _)| &text[name.clone()]);
    }

    /// Writes an object: a value for each name, an array for a name that comes more than once.
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let name_of = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default();
        for (index, group) in
            self.entries.chunk_by(|a, b| name_of(&a.0) == name_of(&b.0)).enumerate()
        {
            if index > 0 {
                out.push(b',');
            }
            for (index, (name, value)) in group.iter().enumerate() {
                match index {
                    0 => {
                        out.extend_from_slice(name_of(name));
                        out.extend_from_slice(if group.len() > 1 { b":[" } else { b":" });
                    }
                    _ => out.push(b','),
                }
                out.extend_from_slice(name_of(value));
            }
            if group.len() > 1 {
                out.push(b']');
            }
        }
        out.push(b'}');
    }
}

/// Appends the headers; a record without any has an empty object.
fn headers(
    column: &Column,
    headers: Option<&dyn Headers>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    scratch.headers.read(headers);
    let mut object = std::mem::take(&mut scratch.text);
    object.clear();
    scratch.headers.write(&mut object);
    let result = match column.column_type {
        ColumnType::Json => put(&object, out),
        ColumnType::Text { max_chars } => text::encode(Value::Nested(&object), max_chars, out),
        _ => super::json::encode_binary(Value::Nested(&object), out),
    };
    scratch.text = object;
    result
}

fn append(text: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
    let start = text.len();
    write(text);
    start..text.len()
}

/// A header's value is a string; in base64 if it is not a text that Postgres can store, as 64-bit
/// numbers and the like.
fn put_json_value(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        None => out.extend_from_slice(b"null"),
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !bytes.contains(&0) => put_text(text.as_bytes(), out),
            _ => {
                out.push(b'"');
                put_base64(bytes, out);
                out.push(b'"');
            }
        },
    }
}

fn put_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * position) & 63) as usize];
            out.push(if position <= chunk.len() { letter } else { b'=' });
        }
    }
}
