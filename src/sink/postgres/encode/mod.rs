//! Rows to the bytes of `COPY ... FROM STDIN (FORMAT binary)`.
//!
//! A value either gets into its column exactly, or its record is refused with the column, the value
//! and what was expected: nothing is cut, rounded (but by a declared scale or precision, as Postgres
//! does it) or guessed. The format: <https://www.postgresql.org/docs/current/sql-copy.html>, the
//! fields as the `*recv` functions of the types read them.
//!
//! What every field goes through is `inline(always)`: left to the compiler, which of these calls
//! remain depends on how it cuts the crate into units, and a row of 9 columns costs up to a third
//! more (see the bench `codec`).

mod array;
mod bits;
mod bytea;
mod composite;
mod decimal;
mod interval;
mod json;
mod label;
mod members;
mod metadata;
mod money;
mod network;
mod nul;
mod number;
mod numeric;
mod parts;
mod point;
mod range;
mod refusal;
mod text;
mod time;
mod type_name;
mod uuid;
mod value;
mod walk;

use std::fmt::Debug;

use super::column::{Column, ColumnType, Feed, Metadata, OnNul, Reading};
use crate::{
    batch::Layout,
    record::Record,
    rejection::{Reason, Rejection},
    row::{Row, Value},
};
use refusal::{bad_escape, refuse, show};
use type_name::type_name;
use value::{Literal, literal, part, typed};

pub(super) use refusal::excerpt as shown;
pub use walk::{cell, rows};

/// What comes before the rows: the signature, no flags, no extension.
pub const HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What comes after the rows.
pub const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// The length that stands for NULL.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// Postgres allocates a field in one piece, of less than 1 GiB (`MaxAllocSize`).
const MAX_FIELD_BYTES: usize = 0x3fff_ffff - 1;

/// Why a list of columns cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncoderError {
    /// The format counts the fields of a row in 16 bits.
    #[error("{count} columns: binary COPY has at most 32767; map fewer fields")]
    TooManyColumns {
        /// How many.
        count: usize,
    },
    /// A [`Layout`] has 64 bits.
    #[error(
        "{count} columns have a default: at most 64 can be left to Postgres; \
         drop the default of some, or leave them out of the mapping"
    )]
    TooManyDefaults {
        /// How many.
        count: usize,
    },
    /// The column's type cannot hold that fact.
    #[error(
        "column {column} of type {column_type} cannot hold the record's {metadata}; it takes {takes}"
    )]
    Metadata {
        /// The column.
        column: String,
        /// Its type.
        column_type: String,
        /// What was mapped to it.
        metadata: &'static str,
        /// The types that would do.
        takes: &'static str,
    },
}

/// Encodes rows for the columns of one table.
#[derive(Debug)]
pub struct RowEncoder {
    columns: Vec<EncodedColumn>,
    defaulted: Vec<usize>,
    scratch: Scratch,
    /// Whether U+0000 is left out or replaced in some column.
    mends: bool,
}

#[derive(Debug)]
struct EncodedColumn {
    column: Column,
    /// Its bit in a [`Layout`]; 0 if it has no default.
    absent_bit: u64,
}

/// Memory that is kept from one value to the next.
#[derive(Debug, Default)]
struct Scratch {
    text: Vec<u8>,
    headers: metadata::HeaderList,
    parts: parts::Parts,
}

impl RowEncoder {
    /// An encoder for `columns`, in the order in which COPY names them.
    ///
    /// # Errors
    /// When a column cannot hold what it is fed, or there are too many.
    pub fn new(columns: Vec<Column>) -> Result<Self, EncoderError> {
        if i16::try_from(columns.len()).is_err() {
            return Err(EncoderError::TooManyColumns { count: columns.len() });
        }
        let mut encoder = Self {
            columns: Vec::new(),
            defaulted: Vec::new(),
            scratch: Scratch::default(),
            mends: columns.iter().any(|column| column.reading.on_nul != OnNul::DeadLetter),
        };
        for column in columns {
            let mut absent_bit = 0;
            match column.feed {
                Feed::Metadata(metadata) => metadata::check(&column, metadata)?,
                Feed::Field(field) if column.has_default => {
                    absent_bit = 1_u64.checked_shl(encoder.defaulted.len() as u32).unwrap_or(0);
                    encoder.defaulted.push(field);
                }
                Feed::Field(_) | Feed::Constant => {}
            }
            encoder.columns.push(EncodedColumn { column, absent_bit });
        }
        if encoder.defaulted.len() > 64 {
            return Err(EncoderError::TooManyDefaults { count: encoder.defaulted.len() });
        }
        Ok(encoder)
    }

    /// The layout of `row`: a bit for each column with a default, in table order, that is set where
    /// the record has no such field. Such columns are left out, so that Postgres applies the default.
    #[inline(always)]
    pub fn absent(&self, row: &Row<'_>) -> Layout {
        let mut bits = 0;
        for (bit, &field) in self.defaulted.iter().enumerate() {
            bits |= u64::from(row.get(field) == Value::Absent) << bit;
        }
        Layout(bits)
    }

    /// The columns that a COPY of rows with the set `absent` must name, in order.
    pub fn columns_for(&self, absent: Layout) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(move |c| c.absent_bit & absent.0 == 0).map(|c| &c.column)
    }

    /// Appends `row` to `out`, without the columns in `absent`, which is [`Self::absent`] of it.
    ///
    /// # Errors
    /// When a column cannot hold its value. `out` is then as it was.
    pub fn encode(
        &mut self,
        record: &Record<'_>,
        row: &Row<'_>,
        absent: Layout,
        out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        let start = out.len();
        let count = self.columns.len() as u16 - absent.0.count_ones() as u16;
        out.extend_from_slice(&count.to_be_bytes());
        for EncodedColumn { column, absent_bit } in &self.columns {
            if absent_bit & absent.0 != 0 {
                continue;
            }
            if let Err(mut rejection) = field(column, record, row, &mut self.scratch, out) {
                out.truncate(start);
                if self.mends && rejection.reason == Reason::InvalidCharacter {
                    return self.encode_mended(record, row, absent, out);
                }
                rejection.column = Some(column.name.clone());
                return Err(rejection);
            }
        }
        Ok(())
    }

    /// As [`Self::encode`], with U+0000 left out or replaced: a second try, so that the first one
    /// need not look for it.
    #[cold]
    fn encode_mended(
        &mut self,
        record: &Record<'_>,
        row: &Row<'_>,
        absent: Layout,
        out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        let start = out.len();
        let count = self.columns.len() as u16 - absent.0.count_ones() as u16;
        out.extend_from_slice(&count.to_be_bytes());
        for EncodedColumn { column, absent_bit } in &self.columns {
            if absent_bit & absent.0 != 0 {
                continue;
            }
            let found = match column.feed {
                Feed::Field(index) => Some(row.get(index)),
                Feed::Metadata(Metadata::Key) => record.key.map(Value::Bytes),
                Feed::Metadata(Metadata::Payload) => record.value.map(Value::Bytes),
                Feed::Metadata(_) | Feed::Constant => None,
            };
            let result = match found.filter(|_| nul::is_refused(&column.column_type)) {
                Some(found) => {
                    let mut text = self.scratch.parts.take();
                    let mended = nul::mend(found, column.reading.on_nul, &mut text);
                    let result = value(column, mended, &mut self.scratch, out);
                    self.scratch.parts.give(text);
                    result
                }
                None => field(column, record, row, &mut self.scratch, out),
            };
            if let Err(mut rejection) = result {
                out.truncate(start);
                rejection.column = Some(column.name.clone());
                return Err(rejection);
            }
        }
        Ok(())
    }
}

#[inline(always)]
fn field(
    column: &Column,
    record: &Record<'_>,
    row: &Row<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    match column.feed {
        Feed::Field(index) => value(column, row.get(index), scratch, out),
        Feed::Metadata(metadata) => metadata::encode(column, metadata, record, scratch, out),
        Feed::Constant => null(column, Value::Absent, out),
    }
}

/// Appends the field that a value of the configuration makes.
///
/// # Errors
/// When the column cannot hold it.
pub fn constant(column: &Column, constant: Value<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    value(column, constant, &mut Scratch::default(), out)
}

/// Appends the length and the bytes of one value of a column.
#[inline(always)]
fn value(
    column: &Column,
    value: Value<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    match value {
        Value::Absent | Value::Null => null(column, value, out),
        Value::Document(json) => document(column, json, scratch, out),
        _ => typed(&column.column_type, &column.reading, value, scratch, out),
    }
}

/// Appends a text that is JSON as well.
#[cold]
fn document(
    column: &Column,
    json: &[u8],
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let value = match column.column_type {
        ColumnType::Json | ColumnType::Jsonb | ColumnType::Composite(_) | ColumnType::Point => {
            Value::Nested(json)
        }
        // `{}` is an empty array as Postgres writes it.
        ColumnType::Array(_) if json.starts_with(b"[") => Value::Nested(json),
        _ => Value::Plain(json),
    };
    typed(&column.column_type, &column.reading, value, scratch, out)
}

/// Appends what stands for no value: the column's fallback, or NULL.
fn null(column: &Column, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    if let Some(field) = &column.fallback {
        out.extend_from_slice(field);
        return Ok(());
    }
    if column.not_null {
        let found = if value == Value::Null { "null" } else { "nothing" };
        let message = format!(
            "the record has {found} for it, and the column is NOT NULL; expected {}",
            type_name(&column.column_type)
        );
        return Err(Rejection::record(Reason::MissingValue, message));
    }
    out.extend_from_slice(&NULL);
    Ok(())
}

/// Appends a field of known size: its length, then its bytes, in one piece.
#[inline(always)]
fn put_fixed<const N: usize, const FIELD: usize>(bytes: [u8; N], out: &mut Vec<u8>) {
    const { assert!(FIELD == N + 4) };
    let mut field = [0; FIELD];
    let (length, value) = field.split_at_mut(4);
    length.copy_from_slice(&(N as u32).to_be_bytes());
    value.copy_from_slice(&bytes);
    out.extend_from_slice(&field);
}

/// Appends a field.
#[inline(always)]
fn put(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Rejection> {
    check_size(bytes.len())?;
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Appends a field whose length is only known once `write` has appended its bytes.
fn put_with(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), Rejection>,
) -> Result<(), Rejection> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    let size = out.len() - start - 4;
    check_size(size)?;
    if let Some(length) = out.get_mut(start..start + 4) {
        length.copy_from_slice(&(size as u32).to_be_bytes());
    }
    Ok(())
}

fn check_size(size: usize) -> Result<(), Rejection> {
    if size <= MAX_FIELD_BYTES {
        return Ok(());
    }
    let message = format!("the value has {size} bytes; Postgres holds less than 1 GiB in a field");
    Err(Rejection::record(Reason::OutOfRange, message))
}

/// Whether a column of type `date` takes the text.
pub(crate) fn is_date(text: &str) -> bool {
    time::encode_date(Literal::Text(text.as_bytes()), None, &mut Vec::new()).is_ok()
}

/// Whether a column of type `timestamptz` takes the text.
pub(crate) fn is_instant(text: &str) -> bool {
    time::encode_timestamp(
        Literal::Text(text.as_bytes()),
        &Reading::default(),
        true,
        &mut Vec::new(),
    )
    .is_ok()
}

#[cfg(test)]
mod tests;
