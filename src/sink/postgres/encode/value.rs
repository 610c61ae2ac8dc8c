//! Which encoder a value goes to.

use super::{
    NULL, Scratch, array, bad_escape, bits, bytea, composite, interval, json, label, money,
    network, number, numeric, point, put, range, refuse, show, text, time, type_name::wanted, uuid,
};
use crate::{
    format::json::unescape,
    rejection::{Reason, Rejection},
    row::Value,
    sink::postgres::column::{ColumnType, Reading},
};

/// A value that has to be read as the column's type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Literal<'a> {
    /// A number, in the grammar of JSON.
    Number(&'a [u8]),
    /// A text, or bytes that may be one.
    Text(&'a [u8]),
}

#[inline(always)]
pub(super) fn literal<'a>(
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

/// Appends the length and the bytes of one value that is not NULL.
#[inline(always)]
pub(super) fn typed(
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
pub(super) fn part(
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
