//! Formats, and what judges payloads as a whole.

use std::{collections::BTreeMap, path::Path};

use serde_json::value::RawValue;
use tidegate::{
    format::{Format, JsonFormat, RawFormat},
    record::Record,
    row::{Change, Row, Span, Value},
    selector::Selector,
    sink::{Target as _, ndjson::NdjsonSink, postgres::column::ColumnType},
};

use crate::{
    Try, types,
    values::{self, Encoding},
};

const FIELDS: [&str; 3] = ["a", "b", "c"];
/// Deeper than this, tidegate refuses what is JSON all the same.
const MAX_DEPTH: usize = 128;

pub(crate) fn record(value: &[u8]) -> Record<'_> {
    Record {
        topic: "t",
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        value: Some(value),
        headers: None,
    }
}

/// Takes what serde_json takes as an object, and finds the same fields in it.
pub(crate) fn json() -> Try {
    // It learns from one input for the next.
    let mut format = JsonFormat::new(&FIELDS.map(Selector::from));
    Box::new(move |input| {
        let mut spans = [Span::ABSENT; FIELDS.len()];
        let decoded = format.decode(&record(input), &mut spans);
        let is_object = input.trim_ascii_start().starts_with(b"{")
            && serde_json::from_slice::<&RawValue>(input).is_ok();
        if let Err(rejection) = &decoded {
            values::assert_shown(rejection);
            assert!(!is_object || depth(input) > MAX_DEPTH, "refused JSON: {rejection}");
            return;
        }
        assert!(is_object && depth(input) <= MAX_DEPTH, "took what is no JSON object");
        let row = Row::new(input, &spans, Change::Put);
        // serde_json refuses keys with half a surrogate pair, which are nobody's name here.
        let Ok(known) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(input) else {
            return;
        };
        for (index, name) in FIELDS.iter().enumerate() {
            let found = text(row.get(index));
            assert_eq!(found.as_deref(), known.get(*name).map(|v| v.get().as_bytes()), "{name}");
        }
    })
}

/// How deep brackets nest outside strings.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn text(value: Value<'_>) -> Option<Vec<u8>> {
    match value {
        Value::Absent => None,
        Value::Null => Some(b"null".to_vec()),
        Value::Bool(value) => Some(value.to_string().into_bytes()),
        Value::Text { raw, escaped } => {
            assert_eq!(escaped, raw.contains(&b'\\'));
            Some([b"\"", raw, b"\""].concat())
        }
        Value::Number(text) | Value::Nested(text) => Some(text.to_vec()),
        Value::Bytes(_) | Value::Plain(_) | Value::Document(_) => unreachable!("not in JSON"),
    }
}

/// Bytes as they are, into every type.
pub(crate) fn raw() -> Try {
    let mut format = RawFormat::new(&["value".into()]);
    let mut encodings = values::all(&types::all());
    Box::new(move |input| {
        let mut spans = [Span::ABSENT];
        format.decode(&record(input), &mut spans).unwrap();
        let row = Row::new(input, &spans, Change::Put);
        assert_eq!(row.get(0), Value::Bytes(input));
        for encoding in &mut encodings {
            let field = encoding.encode(&record(input), &row);
            if encoding.column_type == ColumnType::Bytea {
                assert_eq!(field.as_deref(), Some(input));
            }
        }
    })
}

/// One line of JSON, whatever the payload is.
pub(crate) fn ndjson() -> Try {
    let mut encoder = NdjsonSink::new("s", Path::new("-")).encoder(&[]).unwrap();
    let mut out = Vec::new();
    Box::new(move |input| {
        out.clear();
        let row = Row::new(input, &[], Change::Put);
        let encoded = encoder.encode(&record(input), &row, Default::default(), &mut out);
        assert_eq!(encoded.is_ok(), std::str::from_utf8(input).is_ok());
        if encoded.is_err() {
            assert!(out.is_empty());
            return;
        }
        let line = out.strip_suffix(b"\n").expect("a line");
        assert!(!line.contains(&b'\n'), "two lines");
        serde_json::from_slice::<&RawValue>(line).expect("JSON");
    })
}

/// A table that is made from samples takes the samples.
pub(crate) fn detect() -> Try {
    Box::new(|input| {
        let samples: Vec<Vec<u8>> =
            input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let fields = tidegate::detect::detect(&samples);
        let names: Vec<Selector> = fields.iter().map(|field| field.name.as_str().into()).collect();
        let types = fields.iter().map(|field| column_type(field.sql_type));
        let mut encodings: Vec<Encoding> = types
            .enumerate()
            .map(|(index, column_type)| Encoding::new(column_type, None, index))
            .collect();
        let mut format = JsonFormat::new(&names);
        let mut spans = vec![Span::ABSENT; fields.len()];
        for sample in &samples {
            if format.decode(&record(sample), &mut spans).is_err() {
                continue;
            }
            let row = Row::new(sample, &spans, Change::Put);
            for (index, encoding) in encodings.iter_mut().enumerate() {
                let taken = encoding.try_encode(&record(sample), &row);
                if let Err(rejection) = taken {
                    // No type of Postgres takes these.
                    let beyond =
                        ["U+0000", "surrogate", "beyond the range of numeric", "numeric has"];
                    let excused = beyond.iter().any(|reason| rejection.message.contains(reason));
                    assert!(excused, "{:?}: {rejection}", fields[index]);
                }
            }
        }
    })
}

fn column_type(sql_type: &str) -> ColumnType {
    if let Some(element) = sql_type.strip_suffix("[]") {
        // What the number is does not matter here.
        return types::array(column_type(element), 0, 1);
    }
    match sql_type {
        "boolean" => ColumnType::Bool,
        "bigint" => ColumnType::Int8,
        "numeric" => ColumnType::Numeric { limits: None },
        "uuid" => ColumnType::Uuid,
        "date" => ColumnType::Date,
        "timestamptz" => ColumnType::Timestamptz,
        "text" => ColumnType::Text { max_chars: None },
        "jsonb" => ColumnType::Jsonb,
        other => panic!("no type {other}"),
    }
}
