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
mod walk;

use std::fmt::Debug;

use super::column::{Column, ColumnType, Feed, Reading};
use crate::{
    batch::Layout,
    format::json::unescape,
    record::Record,
    rejection::{Reason, Rejection},
    row::{Row, Value},
};
use refusal::{bad_escape, refuse, show};
use type_name::{type_name, wanted};

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
        _ => typed(&column.column_type, &column.reading, value, scratch, out),
    }
}

/// Appends the length and the bytes of one value that is not NULL.
#[inline(always)]
fn typed(
    column_type: &ColumnType,
    reading: &Reading,
    value: Value<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    match (column_type, value) {
        (ColumnType::Text { max_chars }, _) => return text::encode(value, *max_chars, out),
        (ColumnType::Json, _) => return json::encode(value, out),
        (ColumnType::Jsonb, _) => return json::encode_binary(value, out),
        (ColumnType::Bytea, Value::Bytes(bytes)) => return put(bytes, out),
        (ColumnType::Bool, Value::Bool(value)) => {
            number::put_bool(value, out);
            return Ok(());
        }
        (
            ColumnType::Array(_)
            | ColumnType::Composite(_)
            | ColumnType::Range(_)
            | ColumnType::Multirange(_)
            | ColumnType::Point
            | ColumnType::Bit { .. }
            | ColumnType::Unknown(_),
            _,
        ) => return structured(column_type, reading, value, scratch, out),
        _ => {}
    }
    let literal = literal(column_type, value, &mut scratch.text)?;
    match column_type {
        ColumnType::Bool => number::encode_bool(literal, out),
        ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => {
            number::encode_integer(column_type, literal, out)
        }
        ColumnType::Float4 => number::encode_float4(literal, out),
        ColumnType::Float8 => number::encode_float8(literal, out),
        ColumnType::Numeric { limits } => numeric::encode(literal, *limits, out),
        ColumnType::Uuid => uuid::encode(literal, out),
        ColumnType::Date => time::encode_date(literal, reading.epoch_unit, out),
        ColumnType::Timestamp => time::encode_timestamp(literal, reading, false, out),
        ColumnType::Timestamptz => time::encode_timestamp(literal, reading, true, out),
        ColumnType::Bytea => bytea::encode(literal, out),
        _ => seldom(column_type, reading, literal, out),
    }
}

/// The types that few tables have, apart from the others so that those stay in few instructions.
#[inline(never)]
fn seldom(
    column_type: &ColumnType,
    reading: &Reading,
    literal: Literal<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    match column_type {
        ColumnType::Oid => number::encode_oid(literal, out),
        ColumnType::Money { digits } => money::encode(literal, *digits, out),
        ColumnType::Name => text::encode_name(literal, out),
        ColumnType::Char => text::encode_char(literal, out),
        ColumnType::Xml => text::encode_xml(literal, out),
        ColumnType::Time => time::encode_time(literal, reading.epoch_unit, out),
        ColumnType::Timetz => time::encode_timetz(literal, out),
        ColumnType::Interval => interval::encode(literal, reading.epoch_unit, out),
        ColumnType::Inet => network::encode_inet(literal, out),
        ColumnType::Cidr => network::encode_cidr(literal, out),
        ColumnType::Macaddr => network::encode_macaddr(literal, out),
        ColumnType::Macaddr8 => network::encode_macaddr8(literal, out),
        ColumnType::Varbit { max_bits } => bits::encode_varbit(literal, *max_bits, out),
        ColumnType::Enum(labels) => label::encode(literal, labels, out),
        // All others are encoded before there is a literal.
        _ => Err(Rejection::record(Reason::WrongType, "the column's type has no encoder")),
    }
}

/// The types that take more than a text or a number.
#[inline(never)]
fn structured(
    column_type: &ColumnType,
    reading: &Reading,
    value: Value<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    match column_type {
        ColumnType::Array(array) => array::encode(array, reading, value, scratch, out),
        ColumnType::Composite(composite) => {
            composite::encode(composite, reading, value, scratch, out)
        }
        ColumnType::Range(bound) => range::encode(bound, reading, value, scratch, out),
        ColumnType::Multirange(bound) => range::encode_multi(bound, reading, value, scratch, out),
        ColumnType::Point => point::encode(value, scratch, out),
        ColumnType::Bit { bits } => match value {
            Value::Bool(value) => bits::encode_bool(value, *bits, out),
            _ => bits::encode_bit(literal(column_type, value, &mut scratch.text)?, *bits, out),
        },
        _ => text::encode(value, None, out),
    }
}

/// A part of a value: an element, an attribute, a bound.
fn part(
    column_type: &ColumnType,
    reading: &Reading,
    value: Value<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    match value {
        Value::Absent | Value::Null => {
            out.extend_from_slice(&NULL);
            Ok(())
        }
        _ => typed(column_type, reading, value, scratch, out),
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
            type_name(&column.column_type)
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
    column_type: &ColumnType,
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
