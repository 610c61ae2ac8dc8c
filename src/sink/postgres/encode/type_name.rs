//! The names of the types in messages, and what each takes.

use std::borrow::Cow;

use crate::sink::postgres::column::ColumnType;

/// The type's name in messages.
pub(super) fn type_name(column_type: &ColumnType) -> Cow<'_, str> {
    Cow::Borrowed(match column_type {
        ColumnType::Bool => "boolean",
        ColumnType::Int2 => "smallint",
        ColumnType::Int4 => "integer",
        ColumnType::Int8 => "bigint",
        ColumnType::Oid => "oid",
        ColumnType::Float4 => "real",
        ColumnType::Float8 => "double precision",
        ColumnType::Numeric { .. } => "numeric",
        ColumnType::Money { .. } => "money",
        ColumnType::Text { max_chars: None } => "text",
        ColumnType::Text { max_chars: Some(_) } => "varchar",
        ColumnType::Name => "name",
        ColumnType::Char => "\"char\"",
        ColumnType::Xml => "xml",
        ColumnType::Uuid => "uuid",
        ColumnType::Date => "date",
        ColumnType::Time => "time",
        ColumnType::Timetz => "time with time zone",
        ColumnType::Timestamp => "timestamp",
        ColumnType::Timestamptz => "timestamp with time zone",
        ColumnType::Interval => "interval",
        ColumnType::Json => "json",
        ColumnType::Jsonb => "jsonb",
        ColumnType::Bytea => "bytea",
        ColumnType::Inet => "inet",
        ColumnType::Cidr => "cidr",
        ColumnType::Macaddr => "macaddr",
        ColumnType::Macaddr8 => "macaddr8",
        ColumnType::Bit { .. } => "bit",
        ColumnType::Varbit { .. } => "bit varying",
        ColumnType::Point => "point",
        ColumnType::Enum(labels) => &labels.name,
        ColumnType::Composite(composite) => &composite.name,
        ColumnType::Unknown(name) => name,
        ColumnType::Array(array) => return format!("{}[]", type_name(&array.element)).into(),
        ColumnType::Range(bound) => return format!("range of {}", type_name(bound)).into(),
        ColumnType::Multirange(bound) => {
            return format!("multirange of {}", type_name(bound)).into();
        }
    })
}

/// What a value of the wrong JSON type should have been.
pub(super) fn wanted(column_type: &ColumnType) -> String {
    let wanted = match column_type {
        ColumnType::Bool => "true or false",
        ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 | ColumnType::Oid => "an integer",
        ColumnType::Float4
        | ColumnType::Float8
        | ColumnType::Numeric { .. }
        | ColumnType::Money { .. } => "a number",
        ColumnType::Date => "a string like \"2026-01-31\"",
        ColumnType::Time => "a string like \"12:00:00\"",
        ColumnType::Timetz => "a string like \"12:00:00+02:00\"",
        ColumnType::Timestamp => "a string like \"2026-01-31T12:00:00\"",
        ColumnType::Timestamptz => "a string like \"2026-01-31T12:00:00Z\"",
        ColumnType::Interval => "a string like \"P1DT2H\" or \"1 day 02:00:00\"",
        ColumnType::Bytea => "a string, \"\\\\x\" and hexadecimal or base64",
        ColumnType::Bit { .. } | ColumnType::Varbit { .. } => "a string of 0 and 1",
        ColumnType::Array(_) => "an array, or a string like \"{1,2}\"",
        ColumnType::Composite(_) => "an object by attribute, or an array of all attributes",
        ColumnType::Range(_) => {
            "a string like \"[1,5)\", an array of two bounds, or an object with lower and upper"
        }
        ColumnType::Multirange(_) => "an array of ranges, or a string like \"{[1,5),[7,9)}\"",
        ColumnType::Point => "an array [x, y], an object with x and y, or a string like \"(1,2)\"",
        _ => "a string",
    };
    format!("expected {wanted} ({})", type_name(column_type))
}
