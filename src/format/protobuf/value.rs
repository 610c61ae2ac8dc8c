//! Messages to JSON text, and what Google's own types stand for.

use std::{fmt, io::Write as _};

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value};

use crate::format::{
    calendar::put_timestamp,
    json::{put_hex, put_string},
    number::{put_double, put_float, put_integer},
};

/// As deep as JSON may be.
const MAX_DEPTH: u32 = 128;

/// More levels than JSON may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooDeep;

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {MAX_DEPTH} levels")
    }
}

/// Appends a message as an object of its fields, or as what it stands for.
pub(super) fn put_message(
    message: &DynamicMessage,
    depth: u32,
    out: &mut Vec<u8>,
) -> Result<(), TooDeep> {
    if depth > MAX_DEPTH {
        return Err(TooDeep);
    }
    let descriptor = message.descriptor();
    if let Some(name) = descriptor.full_name().strip_prefix("google.protobuf.")
        && put_well_known(name, message, depth, out)?
    {
        return Ok(());
    }
    out.push(b'{');
    let start = out.len();
    for field in descriptor.fields() {
        if field.supports_presence() && !message.has_field(&field) {
            continue;
        }
        if out.len() > start {
            out.push(b',');
        }
        put_string(field.name().as_bytes(), out);
        out.push(b':');
        put_value(&field, &message.get_field(&field), depth, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn put_value(
    field: &FieldDescriptor,
    value: &Value,
    depth: u32,
    out: &mut Vec<u8>,
) -> Result<(), TooDeep> {
    match value {
        Value::Bool(value) => put_integer(value, out),
        Value::I32(value) => put_integer(value, out),
        Value::I64(value) => put_integer(value, out),
        Value::U32(value) => put_integer(value, out),
        Value::U64(value) => put_integer(value, out),
        Value::F32(value) => put_float(*value, out),
        Value::F64(value) => put_double(*value, out),
        Value::String(text) => put_string(text.as_bytes(), out),
        Value::Bytes(bytes) => {
            out.extend_from_slice(br#""\\x"#);
            put_hex(bytes, out);
            out.push(b'"');
        }
        Value::EnumNumber(number) => put_enum(&field.kind(), *number, out),
        Value::Message(message) => put_message(message, depth + 1, out)?,
        Value::List(values) => {
            out.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                put_value(field, value, depth + 1, out)?;
            }
            out.push(b']');
        }
        Value::Map(entries) => {
            let kind = field.kind();
            let values = kind.as_message().map(|entry| entry.map_entry_value_field());
            // In an order that does not change from one reading to the next.
            let mut sorted: Vec<(String, &Value)> =
                entries.iter().map(|(key, value)| (key_text(key), value)).collect();
            sorted.sort_by(|left, right| left.0.cmp(&right.0));
            out.push(b'{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                put_string(key.as_bytes(), out);
                out.push(b':');
                put_value(values.as_ref().unwrap_or(field), value, depth + 1, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// An enum's name; the number of one that the schema does not have.
fn put_enum(kind: &Kind, number: i32, out: &mut Vec<u8>) {
    let known = kind.as_enum().and_then(|kind| kind.get_value(number));
    match (kind.as_enum().map(|kind| kind.full_name()), known) {
        (Some("google.protobuf.NullValue"), _) => out.extend_from_slice(b"null"),
        (_, Some(value)) => put_string(value.name().as_bytes(), out),
        (_, None) => put_integer(number, out),
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// Appends what one of Google's types stands for; false for a type that stands for itself.
fn put_well_known(
    name: &str,
    message: &DynamicMessage,
    depth: u32,
    out: &mut Vec<u8>,
) -> Result<bool, TooDeep> {
    match name {
        "Timestamp" => {
            let (seconds, nanos) = seconds_and_nanos(message);
            out.push(b'"');
            put_timestamp(seconds, 0, "", out);
            let _ = write!(out, ".{:09}Z\"", nanos.clamp(0, 999_999_999));
        }
        "Duration" => {
            let (seconds, nanos) = seconds_and_nanos(message);
            let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
            let (seconds, nanos) = (seconds.unsigned_abs(), nanos.unsigned_abs());
            let _ = write!(out, "\"PT{sign}{seconds}.{nanos:09}S\"");
        }
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
        | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue" | "Struct" | "ListValue" => {
            let Some(field) = message.descriptor().fields().next() else { return Ok(false) };
            put_value(&field, &message.get_field(&field), depth, out)?;
        }
        "Value" => {
            let descriptor = message.descriptor();
            match descriptor.fields().find(|field| message.has_field(field)) {
                Some(field) => put_value(&field, &message.get_field(&field), depth, out)?,
                None => out.extend_from_slice(b"null"),
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn seconds_and_nanos(message: &DynamicMessage) -> (i64, i32) {
    let field = |name| message.get_field_by_name(name);
    let seconds = field("seconds").and_then(|seconds| seconds.as_i64()).unwrap_or(0);
    (seconds, field("nanos").and_then(|nanos| nanos.as_i32()).unwrap_or(0))
}
