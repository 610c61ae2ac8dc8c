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

mod bytea;
mod decimal;
mod json;
mod metadata;
mod number;
mod numeric;
mod refusal;
mod text;
mod time;
mod uuid;
mod walk;

use std::fmt::Debug;

use super::column::{Column, ColumnType, Feed};
use crate::{
    batch::Layout,
    format::json::unescape,
    record::Record,
    rejection::{Reason, Rejection},
    row::{Row, Value},
};
use refusal::{bad_escape, refuse, show};

pub(super) use refusal::excerpt as shown;
pub use walk::rows;

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
        column_type: &'static str,
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
        let mut encoder =
            Self { columns: Vec::new(), defaulted: Vec::new(), scratch: Scratch::default() };
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

    /// All columns, in order.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().map(|c| &c.column)
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
        Feed::Field(index) => value(column, row.get(index), &mut scratch.text, out),
        Feed::Metadata(metadata) => metadata::encode(column, metadata, record, scratch, out),
        Feed::Constant => null(column, Value::Absent, out),
    }
}

/// Appends the field that a value of the configuration makes.
///
/// # Errors
/// When the column cannot hold it.
pub fn constant(column: &Column, constant: Value<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    value(column, constant, &mut Vec::new(), out)
}

/// Appends the length and the bytes of one value.
#[inline(always)]
fn value(
    column: &Column,
    value: Value<'_>,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let column_type = column.column_type;
    match (column_type, value) {
        (_, Value::Absent | Value::Null) => return null(column, value, out),
        (ColumnType::Text { max_chars }, _) => return text::encode(value, max_chars, out),
        (ColumnType::Json, _) => return json::encode(value, out),
        (ColumnType::Jsonb, _) => return json::encode_binary(value, out),
        (ColumnType::Bytea, Value::Bytes(bytes)) => return put(bytes, out),
        (ColumnType::Bool, Value::Bool(value)) => {
            number::put_bool(value, out);
            return Ok(());
        }
        _ => {}
    }
    let literal = literal(column_type, value, scratch)?;
    match column_type {
        ColumnType::Bool => number::encode_bool(literal, out),
        ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => {
            number::encode_integer(column_type, literal, out)
        }
        ColumnType::Float4 => number::encode_float4(literal, out),
        ColumnType::Float8 => number::encode_float8(literal, out),
        ColumnType::Numeric { limits } => numeric::encode(literal, limits, out),
        ColumnType::Uuid => uuid::encode(literal, out),
        ColumnType::Date => time::encode_date(literal, column.epoch_unit, out),
        ColumnType::Timestamp => time::encode_timestamp(literal, column.epoch_unit, false, out),
        ColumnType::Timestamptz => time::encode_timestamp(literal, column.epoch_unit, true, out),
        // Json, Jsonb and Text do not get here.
        _ => bytea::encode(literal, out),
    }
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
            type_name(column.column_type)
        );
        return Err(Rejection::record(Reason::MissingValue, message));
    }
    out.extend_from_slice(&NULL);
    Ok(())
}

/// A value that has to be read as the column's type.
#[derive(Clone, Copy, Debug)]
enum Literal<'a> {
    /// A number, in the grammar of JSON.
    Number(&'a [u8]),
    /// A text, or bytes that may be one.
    Text(&'a [u8]),
}

#[inline(always)]
fn literal<'a>(
    column_type: ColumnType,
    value: Value<'a>,
    scratch: &'a mut Vec<u8>,
) -> Result<Literal<'a>, Rejection> {
    match value {
        Value::Number(text) => Ok(Literal::Number(text)),
        Value::Text { raw, escaped: false } | Value::Plain(raw) | Value::Bytes(raw) => {
            Ok(Literal::Text(raw))
        }
        Value::Text { raw, escaped: true } => {
            scratch.clear();
            unescape(raw, scratch).map_err(|bad| bad_escape(bad, raw))?;
            Ok(Literal::Text(scratch))
        }
        Value::Bool(_) | Value::Nested(_) | Value::Absent | Value::Null => {
            Err(refuse(Reason::WrongType, &show(value), wanted(column_type)))
        }
    }
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
    time::encode_timestamp(Literal::Text(text.as_bytes()), None, true, &mut Vec::new()).is_ok()
}

/// The type's name in messages.
fn type_name(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Bool => "boolean",
        ColumnType::Int2 => "smallint",
        ColumnType::Int4 => "integer",
        ColumnType::Int8 => "bigint",
        ColumnType::Float4 => "real",
        ColumnType::Float8 => "double precision",
        ColumnType::Numeric { .. } => "numeric",
        ColumnType::Text { max_chars: None } => "text",
        ColumnType::Text { max_chars: Some(_) } => "varchar",
        ColumnType::Uuid => "uuid",
        ColumnType::Date => "date",
        ColumnType::Timestamp => "timestamp",
        ColumnType::Timestamptz => "timestamp with time zone",
        ColumnType::Json => "json",
        ColumnType::Jsonb => "jsonb",
        ColumnType::Bytea => "bytea",
    }
}

/// What a value of the wrong JSON type should have been.
fn wanted(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Bool => "expected true or false (boolean)",
        ColumnType::Int2 => "expected an integer (smallint)",
        ColumnType::Int4 => "expected an integer (integer)",
        ColumnType::Int8 => "expected an integer (bigint)",
        ColumnType::Float4 => "expected a number (real)",
        ColumnType::Float8 => "expected a number (double precision)",
        ColumnType::Numeric { .. } => "expected a number (numeric)",
        ColumnType::Uuid => "expected a string (uuid)",
        ColumnType::Date => "expected a string like \"2026-01-31\" (date)",
        ColumnType::Timestamp => "expected a string like \"2026-01-31T12:00:00\" (timestamp)",
        ColumnType::Timestamptz => {
            "expected a string like \"2026-01-31T12:00:00Z\" (timestamp with time zone)"
        }
        ColumnType::Bytea => "expected a string, \"\\\\x\" and hexadecimal or base64 (bytea)",
        ColumnType::Text { .. } | ColumnType::Json | ColumnType::Jsonb => type_name(column_type),
    }
}

#[cfg(test)]
mod tests;
