//! Formats that are made into JSON first.

use serde_json::value::RawValue;
use tidegate::{
    config::CsvOptions,
    format::{DebeziumFormat, Format, avro, csv},
    registry,
    row::{Row, Span, Value},
    selector::{Pointer, Selector},
};

use crate::{Try, payloads::record, values};

fn options(delimiter: u8, ragged: bool) -> CsvOptions {
    let fields = ["a", "b", "c"].map(str::to_owned).to_vec();
    CsvOptions { fields, delimiter, quote: b'"', null: String::new(), ragged }
}

/// Cells that are quoted are read back; and any other line is read or refused.
pub(crate) fn lines() -> Try {
    let selectors = ["a", "b", "c"].map(Selector::from);
    let mut strict = csv(&options(b',', false), &selectors);
    let mut ragged = csv(&options(b';', true), &selectors);
    Box::new(move |input| {
        let mut spans = [Span::ABSENT; 3];
        for format in [&mut strict, &mut ragged] {
            if let Err(rejection) = format.decode(&record(input), &mut spans) {
                values::assert_shown(&rejection);
            }
        }
        let Ok(text) = std::str::from_utf8(input) else { return };
        let middle = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let (first, second) = text.split_at(middle);
        let cells = [first, second, ""].map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
        let line = cells.join(",");
        let record = record(line.as_bytes());
        let change = strict.decode(&record, &mut spans).expect("a line");
        let row = Row::new(strict.text(&record), &spans, change);
        for (index, cell) in [first, second, ""].into_iter().enumerate() {
            match row.get(index) {
                Value::Text { raw, .. } => {
                    let quoted = [b"\"", raw, b"\""].concat();
                    assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), cell);
                }
                Value::Document(document) => assert_eq!(document, cell.as_bytes()),
                other => panic!("{other:?}"),
            }
        }
    })
}

/// What is found is JSON, also where a schema has changed it.
pub(crate) fn debezium() -> Try {
    let pointer = |text| Selector::Pointer(Pointer::parse(text).unwrap());
    let selectors = ["id".into(), "n".into(), "d".into(), pointer("/op"), pointer("/source/lsn")];
    let mut format = DebeziumFormat::new(&selectors);
    Box::new(move |input| {
        let mut spans = [Span::ABSENT; 5];
        let record = record(input);
        let change = match format.decode(&record, &mut spans) {
            Ok(change) => change,
            Err(rejection) => return values::assert_shown(&rejection),
        };
        let row = Row::new(format.text(&record), &spans, change);
        for index in 0..spans.len() {
            let text = match row.get(index) {
                Value::Absent | Value::Null | Value::Bool(_) => continue,
                Value::Text { raw, .. } => [b"\"", raw, b"\""].concat(),
                Value::Number(text) | Value::Nested(text) => text.to_vec(),
                other => panic!("{other:?}"),
            };
            serde_json::from_slice::<&RawValue>(&text).expect("JSON");
        }
    })
}

const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[
    {"name":"n","type":["null","R"]},{"name":"l","type":{"type":"array","items":"long"}},
    {"name":"m","type":{"type":"map","values":["null","string","double"]}},
    {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"e","type":{"type":"enum","name":"E","symbols":["x","y"]}},
    {"name":"t","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;

fn parse(text: &str) -> Result<avro::Schema, String> {
    let (kind, references) = ("AVRO".to_owned(), Vec::new());
    avro::Schema::parse(&registry::Schema { kind, text: text.to_owned(), references })
}

/// Any bytes are a value or not; a value is JSON. Any text is a schema or not.
pub(crate) fn avro_values() -> Try {
    let schema = parse(SCHEMA).unwrap();
    let mut out = Vec::new();
    Box::new(move |input| {
        out.clear();
        if avro::put(&schema, input, &mut out).is_ok() && std::str::from_utf8(&out).is_ok() {
            serde_json::from_slice::<&RawValue>(&out).expect("JSON");
        }
        let Ok(schema) = parse(&String::from_utf8_lossy(input)) else { return };
        out.clear();
        let _ = avro::put(&schema, &input[..input.len().min(64)], &mut out);
    })
}
