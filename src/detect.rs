//! What the fields of a route are, judged by a sample of its records.
//!
//! The types are the narrowest that lose nothing of what the sample shows: integers become bigint
//! (numeric beyond it), decimals numeric, texts that all read as a uuid, a date or a time with zone
//! that type, lists of such values an array, other nested values jsonb. A later record that does not fit becomes a dead letter.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::sink::postgres::encode::{is_date, is_instant};

/// The payload of one sampled record.
pub type Sample = Vec<u8>;

/// One field that the sample shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectedField {
    /// The field's name, and the column's.
    pub name: String,
    /// The column's type in SQL.
    pub sql_type: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Bigint,
    Numeric,
    Uuid,
    Date,
    Timestamptz,
    Text,
    Jsonb,
    /// A list of such values; `None` while it has been empty.
    Array(Option<Scalar>),
}

/// What a list may hold to be an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scalar {
    Boolean,
    Bigint,
    Numeric,
    Uuid,
    Date,
    Timestamptz,
    Text,
}

impl Kind {
    fn sql_type(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Bigint => "bigint",
            Self::Numeric => "numeric",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::Timestamptz => "timestamptz",
            Self::Text => "text",
            Self::Jsonb | Self::Array(None) => "jsonb",
            Self::Array(Some(Scalar::Boolean)) => "boolean[]",
            Self::Array(Some(Scalar::Bigint)) => "bigint[]",
            Self::Array(Some(Scalar::Numeric)) => "numeric[]",
            Self::Array(Some(Scalar::Uuid)) => "uuid[]",
            Self::Array(Some(Scalar::Date)) => "date[]",
            Self::Array(Some(Scalar::Timestamptz)) => "timestamptz[]",
            Self::Array(Some(Scalar::Text)) => "text[]",
        }
    }

    /// A list of values of this kind: an array, if it can be one.
    fn array_of(self) -> Self {
        Self::Array(Some(match self {
            Self::Boolean => Scalar::Boolean,
            Self::Bigint => Scalar::Bigint,
            Self::Numeric => Scalar::Numeric,
            Self::Uuid => Scalar::Uuid,
            Self::Date => Scalar::Date,
            Self::Timestamptz => Scalar::Timestamptz,
            Self::Text => Scalar::Text,
            Self::Jsonb | Self::Array(_) => return Self::Jsonb,
        }))
    }

    /// The kind that takes the values of both.
    fn widen(self, other: Self) -> Self {
        let text_like =
            |kind| matches!(kind, Self::Uuid | Self::Date | Self::Timestamptz | Self::Text);
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Bigint, Self::Numeric) | (Self::Numeric, Self::Bigint) => Self::Numeric,
            (a, b) if text_like(a) && text_like(b) => Self::Text,
            (Self::Array(None), Self::Array(some)) | (Self::Array(some), Self::Array(None)) => {
                Self::Array(some)
            }
            (Self::Array(Some(a)), Self::Array(Some(b))) => {
                Self::array_of(a.kind().widen(b.kind()))
            }
            _ => Self::Jsonb,
        }
    }
}

impl Scalar {
    fn kind(self) -> Kind {
        match self {
            Self::Boolean => Kind::Boolean,
            Self::Bigint => Kind::Bigint,
            Self::Numeric => Kind::Numeric,
            Self::Uuid => Kind::Uuid,
            Self::Date => Kind::Date,
            Self::Timestamptz => Kind::Timestamptz,
            Self::Text => Kind::Text,
        }
    }
}

/// The fields of the sampled records, in the order in which they are first seen. Samples that are
/// not JSON objects show nothing.
pub fn detect(samples: &[Sample]) -> Vec<DetectedField> {
    judge(samples, kind_of, Kind::widen)
}

/// As [`detect`], for objects whose values are cells: texts, which may be those of numbers.
pub fn detect_cells(samples: &[Sample]) -> Vec<DetectedField> {
    judge(samples, cell_kind, |one, other| match one.widen(other) {
        // A text takes every cell as it is.
        Kind::Jsonb if one != Kind::Jsonb || other != Kind::Jsonb => Kind::Text,
        kind => kind,
    })
}

fn judge(
    samples: &[Sample],
    kind_of: impl Fn(&str) -> Option<Kind>,
    widen: impl Fn(Kind, Kind) -> Kind,
) -> Vec<DetectedField> {
    let mut fields: Vec<(String, Option<Kind>)> = Vec::new();
    for sample in samples {
        // Vec of pairs and not a map: the order of the fields is the order of the columns.
        let Ok(Object(object)) = serde_json::from_slice::<Object<'_>>(sample) else { continue };
        for (name, value) in object {
            // Postgres cuts a longer name silently, and no name may be empty or hold U+0000.
            if name.is_empty() || name.len() > 63 || name.contains('\0') {
                continue;
            }
            let kind = kind_of(value.get());
            match fields.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => {
                    *known = match (*known, kind) {
                        (Some(a), Some(b)) => Some(widen(a, b)),
                        (a, b) => a.or(b),
                    };
                }
                None => fields.push((name, kind)),
            }
        }
    }
    fields
        .into_iter()
        // Only ever null: text takes whatever comes, as its JSON text.
        .map(|(name, kind)| DetectedField { name, sql_type: kind.unwrap_or(Kind::Text).sql_type() })
        .collect()
}

/// The fields of a JSON object that have a value, each with the type that its value shows.
pub fn columns(object: &[u8]) -> Vec<(String, &'static str)> {
    let Ok(Object(members)) = serde_json::from_slice::<Object<'_>>(object) else {
        return Vec::new();
    };
    let typed = members
        .into_iter()
        .filter_map(|(name, value)| kind_of(value.get()).map(|kind| (name, kind.sql_type())));
    // Of a field that comes twice the last one counts.
    BTreeMap::from_iter(typed).into_iter().collect()
}

/// The names of the fields of a JSON object.
pub fn field_names(object: &[u8]) -> Vec<String> {
    let object = serde_json::from_slice::<Object<'_>>(object);
    object
        .map(|Object(members)| members.into_iter().map(|(name, _)| name).collect())
        .unwrap_or_default()
}

/// Whether a field of a JSON object has a value.
pub fn has_value(object: &[u8]) -> bool {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = bool;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a JSON object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
            let mut has_value = false;
            while let Some((_, value)) = map.next_entry::<serde::de::IgnoredAny, &RawValue>()? {
                has_value |= value.get() != "null";
            }
            Ok(has_value)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(object);
    serde::Deserializer::deserialize_map(&mut deserializer, Visitor).unwrap_or(true)
}

/// A JSON object as pairs, in order.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Object<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Object(pairs))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// `None` for null.
fn kind_of(value: &str) -> Option<Kind> {
    match value.as_bytes().first()? {
        b'n' => None,
        b't' | b'f' => Some(Kind::Boolean),
        b'"' => Some(text_kind(serde_json::from_str::<String>(value).unwrap_or_default().as_str())),
        b'{' => Some(Kind::Jsonb),
        b'[' => Some(list_kind(value)),
        _ if value.parse::<i64>().is_ok() => Some(Kind::Bigint),
        _ => Some(Kind::Numeric),
    }
}

/// As [`kind_of`], of a cell.
fn cell_kind(value: &str) -> Option<Kind> {
    let kind = kind_of(value)?;
    if kind != Kind::Text {
        return Some(kind);
    }
    let cell = serde_json::from_str::<String>(value).unwrap_or_default();
    // A number of JSON has no zeros before it, which a number of Postgres would lose.
    let is_scalar = cell.bytes().all(|byte| byte.is_ascii_graphic())
        && matches!(cell.as_bytes(), [b'-' | b'0'..=b'9', ..] | b"true" | b"false")
        && serde_json::from_str::<&RawValue>(&cell).is_ok();
    Some(if is_scalar { kind_of(&cell)? } else { kind })
}

/// Lists with nulls alone show no kind.
fn list_kind(value: &str) -> Kind {
    let elements = serde_json::from_str::<Vec<&RawValue>>(value).unwrap_or_default();
    let kinds = elements.iter().filter_map(|element| kind_of(element.get()));
    kinds.reduce(Kind::widen).map_or(Kind::Array(None), Kind::array_of)
}

fn text_kind(text: &str) -> Kind {
    if is_uuid(text) {
        Kind::Uuid
    } else if text.len() == 10 && is_date(text) {
        Kind::Date
    } else if text.len() >= 20 && is_instant(text) {
        Kind::Timestamptz
    } else {
        Kind::Text
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(samples: &[&str]) -> Vec<(String, &'static str)> {
        let samples: Vec<Sample> = samples.iter().map(|s| s.as_bytes().to_vec()).collect();
        detect(&samples).into_iter().map(|f| (f.name, f.sql_type)).collect()
    }

    fn one(values: &[&str]) -> &'static str {
        let samples: Vec<String> = values.iter().map(|v| format!("{{\"v\":{v}}}")).collect();
        types(&samples.iter().map(String::as_str).collect::<Vec<_>>())[0].1
    }

    #[test]
    fn fields_keep_the_order_in_which_they_are_seen() {
        let found = types(&["{\"b\":1,\"a\":true}", "not json", "{\"c\":null,\"a\":false}"]);
        let expected = [("b", "bigint"), ("a", "boolean"), ("c", "text")];
        assert_eq!(found, expected.map(|(name, sql)| (name.to_owned(), sql)));
    }

    #[test]
    fn only_fields_with_a_value_ask_for_a_column() {
        let object = br#"{"b":1,"a":null,"t":"2026-01-02T03:04:05Z","b":1.5}"#;
        let expected = [("b".to_owned(), "numeric"), ("t".to_owned(), "timestamptz")];
        assert_eq!(columns(object), expected);
        assert!(has_value(object));
        assert!(!has_value(br#"{"a": null ,"b":null}"#));
    }

    #[test]
    fn a_type_loses_nothing_of_what_the_sample_shows() {
        assert_eq!(one(&["1", "9223372036854775808"]), "numeric");
        assert_eq!(one(&["1", "2.50"]), "numeric");
        assert_eq!(one(&["\"0a6f1f6e-5f6b-4c0e-9f0e-0123456789ab\""]), "uuid");
        assert_eq!(one(&["\"2026-01-02\""]), "date");
        assert_eq!(one(&["\"2026-01-02T03:04:05.678Z\"", "null"]), "timestamptz");
        assert_eq!(one(&["\"2026-01-02T03:04:05\""]), "text");
        // ISO 8601 has these, too, but no column of type timestamptz would take them here.
        assert_eq!(one(&["\"2026-01-02T03:04:05,678Z\""]), "text");
        assert_eq!(one(&["\"2026-01-02T030405.678Z\""]), "text");
        assert_eq!(one(&["\"2026-01-02\"", "\"soon\""]), "text");
        assert_eq!(one(&["{\"x\":1}"]), "jsonb");
        assert_eq!(one(&["1", "\"one\""]), "jsonb");
    }

    #[test]
    fn cells_that_are_all_numbers_are_numbers_and_mixed_ones_are_texts() {
        let one = |cells: &[&str]| {
            let samples = cells.iter().map(|cell| format!("{{\"v\":{cell}}}").into_bytes());
            detect_cells(&samples.collect::<Vec<_>>())[0].sql_type
        };
        assert_eq!(one(&["\"12\"", "null", "\"-3\""]), "bigint");
        assert_eq!(one(&["\"12\"", "\"2.50\""]), "numeric");
        assert_eq!(one(&["\"true\"", "\"false\""]), "boolean");
        assert_eq!(one(&["\"2026-01-02\""]), "date");
        assert_eq!(one(&["{\"a\":1}", "{}"]), "jsonb");
        for cells in
            [["\"12\"", "\"007\""], ["\"12\"", "\"x\""], ["\"true\"", "\"1\""], ["[1]", "\"1\""]]
        {
            assert_eq!(one(&cells), "text", "{cells:?}");
        }
    }

    #[test]
    fn a_list_of_scalars_is_an_array_and_any_other_is_jsonb() {
        assert_eq!(one(&["[]", "[1,null]", "[]"]), "bigint[]");
        assert_eq!(one(&["[1]", "[2.5]"]), "numeric[]");
        assert_eq!(one(&["[true,false]"]), "boolean[]");
        assert_eq!(one(&["[\"2026-01-02\"]", "[\"soon\"]"]), "text[]");
        for list in ["[]", "[null]", "[[1]]", "[1,\"a\"]", "[{\"a\":1}]"] {
            assert_eq!(one(&[list]), "jsonb", "{list}");
        }
        assert_eq!(one(&["[1]", "1"]), "jsonb");
        assert_eq!(one(&["[1]", "[\"a\"]"]), "jsonb");
    }
}
