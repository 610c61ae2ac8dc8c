//! On records that Debezium 3.3.1 has made of Postgres 15 (tests/data/debezium).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::*;
use crate::{
    row::{Row, Value},
    selector::Pointer,
};

/// Schemas in each record; the connector's defaults.
const TYPED: &str = include_str!("../../../tests/data/debezium/typed.ndjson");
/// The same with `time.precision.mode = connect`.
const CONNECT: &str = include_str!("../../../tests/data/debezium/connect.ndjson");
/// No schemas, `decimal.handling.mode = string`.
const PLAIN: &str = include_str!("../../../tests/data/debezium/plain.ndjson");

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    key: &'a RawValue,
    value: &'a RawValue,
}

/// What a record does, and what the fields are in the notation of JSON.
type Answer = (Change, Vec<String>);

fn read_one(
    format: &mut DebeziumFormat,
    count: usize,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<Answer, Rejection> {
    let (topic, partition, offset, timestamp_ms, headers) = ("t", 0, 0, None, None);
    let record = Record { topic, partition, offset, timestamp_ms, key, value, headers };
    let mut spans = vec![Span::ABSENT; count];
    let change = format.decode(&record, &mut spans)?;
    let row = Row::new(format.text(&record), &spans, change);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let shown = (0..count).map(|index| match row.get(index) {
        Value::Absent => "-".to_owned(),
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Text { raw, .. } => format!("\"{}\"", text(raw)),
        Value::Number(raw) | Value::Nested(raw) => text(raw),
        other => panic!("{other:?}"),
    });
    Ok((change, shown.collect()))
}

fn selectors(names: &[&str]) -> Vec<Selector> {
    let selector =
        |name: &&str| Pointer::parse(name).map_or_else(|| Selector::from(*name), Selector::Pointer);
    names.iter().map(selector).collect()
}

fn read_all(lines: &str, names: &[&str]) -> Vec<Result<Answer, Rejection>> {
    let mut format = DebeziumFormat::new(&selectors(names));
    let read = |line| {
        let Line { key, value } = serde_json::from_str(line).unwrap();
        let some = |raw: &RawValue| (raw.get() != "null").then(|| raw.get().as_bytes().to_vec());
        read_one(&mut format, names.len(), some(key).as_deref(), some(value).as_deref())
    };
    lines.lines().map(read).collect()
}

/// The fields of the one record of which `/op` and `id` are these.
fn fields(lines: &str, op: &str, id: &str, names: &[&str]) -> Vec<String> {
    let names = [&["/op", "id"], names].concat();
    let found = read_all(lines, &names)
        .into_iter()
        .flatten()
        .find(|(_, fields)| fields[0] == format!("\"{op}\"") && fields[1] == id);
    found.unwrap().1.split_off(2)
}

#[test]
fn values_with_a_schema_are_what_columns_take() {
    let names = [
        "b", "i2", "i4", "f8", "n_free", "n_scaled", "n_domain", "m", "c", "by", "u", "d", "tm",
        "tm3", "ttz", "ts", "ts3", "tstz", "iv", "j", "jb", "ip", "bt", "b1", "pt", "r4", "e",
        "ia", "ta", "na", "o",
    ];
    let expected = [
        "true",
        "-32768",
        "2147483647",
        "0.1",
        "12345678901234567890.0123456789",
        "-12.3400",
        "99.95",
        "12.34",
        "\"c     \"",
        "\"AP8Q\"",
        "\"0a6f1f6e-5f6b-4c0e-9f0e-0123456789ab\"",
        "\"2026-01-31\"",
        "\"12:34:56.123456\"",
        "\"12:34:56.123\"",
        "\"10:34:56.5Z\"",
        "\"2026-01-31T12:00:00.123456Z\"",
        "\"2026-01-31T12:00:00.123Z\"",
        "\"2026-01-31T10:00:00.123456Z\"",
        "\"PT37091106.789000S\"",
        "{\"a\": [1, 2.50]}",
        "{\"b\": {\"c\": null}}",
        "\"10.1.2.3/24\"",
        "\"10101010\"",
        "true",
        "\"(1.5,-2.0)\"",
        "\"[1,5)\"",
        "\"happy\"",
        "[1,null,3]",
        "[\"a\",\"b c\",null]",
        "[1.5,2.25]",
        "4000000000",
    ];
    assert_eq!(fields(TYPED, "r", "1", &names), expected);
    let connect = fields(CONNECT, "r", "1", &["d", "tm", "ts", "n_scaled"]);
    let milliseconds = ["\"12:34:56.123\"", "\"2026-01-31T12:00:00.123Z\""];
    assert_eq!(connect, ["\"2026-01-31\"", milliseconds[0], milliseconds[1], "-12.3400"]);
}

#[test]
fn what_is_infinite_or_a_null_inside_of_json_stays_so() {
    let names = ["f4", "f8", "d", "tm3", "ts", "ts3", "tstz", "iv", "j", "jb", "n_scaled", "na"];
    let expected = [
        "\"NaN\"",
        "\"Infinity\"",
        "\"infinity\"",
        "\"24:00:00.000\"",
        "\"-infinity\"",
        "\"1900-01-01T00:00:00.000Z\"",
        "\"infinity\"",
        "\"PT-86400.000000S\"",
        "null",
        "\"s\"",
        "0.0000",
        "[]",
    ];
    assert_eq!(fields(TYPED, "c", "2", &names), expected);
    assert_eq!(fields(CONNECT, "c", "2", &["d", "ts"]), ["\"infinity\"", "\"-infinity\""]);
    // A document, and not the absence of one.
    let mut format = DebeziumFormat::new(&selectors(&["j", "b"]));
    let line = TYPED.lines().find(|line| line.contains("\"j\":\"null\"")).unwrap();
    let Line { value, .. } = serde_json::from_str(line).unwrap();
    let mut spans = [Span::ABSENT; 2];
    let record = Record {
        topic: "t",
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        value: Some(value.get().as_bytes()),
        headers: None,
    };
    format.decode(&record, &mut spans).unwrap();
    assert_eq!(Row::new(format.text(&record), &spans, Change::Put).get(0), Value::Nested(b"null"));
}

#[test]
fn values_without_a_schema_stay_as_they_are() {
    let names = ["n_free", "n_scaled", "d", "tm", "ts", "tstz", "iv", "jb", "pt"];
    let expected = [
        "\"12345678901234567890.0123456789\"",
        "\"-12.3400\"",
        "20484",
        "45296123456",
        "1769860800123456",
        "\"2026-01-31T10:00:00.123456Z\"",
        "\"P1Y2M3DT4H5M6.789S\"",
        r#""{\"b\": {\"c\": null}}""#,
        r#"{"x":1.5,"y":-2.0,"wkb":"AQEAAAAAAAAAAAD4PwAAAAAAAADA","srid":null}"#,
    ];
    assert_eq!(fields(PLAIN, "r", "1", &names), expected);
}

#[test]
fn every_event_is_a_row_a_delete_or_nothing() {
    for lines in [TYPED, PLAIN] {
        let read = read_all(lines, &["a", "b", "note", "/op"]);
        let pairs: Vec<String> = read
            .iter()
            .flatten()
            .filter(|(change, fields)| *change == Change::Nothing || fields[0] != "-")
            .map(|(change, fields)| format!("{change:?} {}", fields.join(" ")))
            .filter(|text| text.contains("one") || text.contains("two") || text.contains("nine"))
            .collect();
        assert_eq!(
            pairs,
            [
                r#"Put 1 "one" "snapshot" "r""#,
                r#"Put 2 "two" "live" "c""#,
                r#"Put 2 "two" "changed" "u""#,
                r#"Delete 1 "one" null "d""#,
                r#"Put 2 "two" "full" "u""#,
                r#"Delete 2 "two" "full" "d""#,
                r#"Put 9 "nine" "last" "c""#,
            ]
        );
        // Tombstones, heartbeats and a message in the log.
        let nothing = read.iter().flatten().filter(|(change, _)| *change == Change::Nothing);
        assert!(nothing.count() >= 4);
        let refused: Vec<_> = read.iter().filter_map(|read| read.as_ref().err()).collect();
        assert!(refused.iter().all(|refused| refused.reason == Reason::Unsupported));
        assert!(refused.iter().any(|refused| refused.message.contains("truncated")));
    }
}

#[test]
fn a_value_that_the_log_lacks_is_refused_where_it_is_asked_for() {
    let unavailable = |names: &[&str]| {
        let read = read_all(TYPED, names);
        read.into_iter()
            .filter_map(Result::err)
            .find(|r| r.message.contains("REPLICA IDENTITY FULL"))
    };
    assert_eq!(unavailable(&["id", "big"]).unwrap().reason, Reason::Unsupported);
    assert_eq!(unavailable(&["id", "t"]), None);
}

#[test]
fn a_delete_without_a_row_before_is_known_by_its_key() {
    let mut format = DebeziumFormat::new(&selectors(&["id", "name"]));
    let event = br#"{"before":null,"after":null,"op":"d"}"#;
    let key = br#"{"id":7}"#;
    let read = read_one(&mut format, 2, Some(key), Some(event)).unwrap();
    assert_eq!(read, (Change::Delete, vec!["7".to_owned(), "-".to_owned()]));
    let key = br#"{"schema":{"type":"struct","fields":[{"type":"bytes","field":"id",
        "name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"1"}}]},
        "payload":{"id":"CQ=="}}"#;
    let read = read_one(&mut format, 2, Some(key), Some(event)).unwrap();
    assert_eq!(read, (Change::Delete, vec!["0.9".to_owned(), "-".to_owned()]));
    for key in [None, Some(&b"no json"[..]), Some(b"7")] {
        let Ok((change, fields)) = read_one(&mut format, 2, key, Some(event)) else { continue };
        assert_eq!((change, fields), (Change::Delete, vec!["-".to_owned(), "-".to_owned()]));
    }
}

#[test]
fn the_rest_and_pointers_stand_side_by_side() {
    let mut all = selectors(&["a", "/source/table", "/after/a"]);
    let except = Arc::new(["a".to_owned()].into());
    all.insert(1, Selector::Rest { except });
    let mut format = DebeziumFormat::new(&all);
    let event = br#"{"source":{"table":"pairs"},"after":{"a":1,"b":"x","c":[2]},"op":"c"}"#;
    let (_, fields) = read_one(&mut format, 4, None, Some(event)).unwrap();
    assert_eq!(fields, ["1", r#"{"b":"x","c":[2]}"#, "\"pairs\"", "1"]);
}

#[test]
fn what_is_no_change_event_says_so() {
    let mut format = DebeziumFormat::new(&selectors(&["id"]));
    let mut refusal =
        |value: &str| read_one(&mut format, 1, None, Some(value.as_bytes())).unwrap_err();
    assert!(refusal(r#"{"id":1}"#).message.contains("format json"));
    assert!(refusal(r#"{"op":"c","after":null}"#).message.contains("`after`"));
    assert!(refusal(r#"{"op":"x","after":{}}"#).message.contains("op is `x`"));
    let long = format!(r#"{{"op":"{}","after":{{}}}}"#, "x".repeat(10_000));
    assert!(refusal(&long).message.len() < 100);
    assert_eq!(refusal("[]").reason, Reason::Malformed);
    let tombstone = br#"{"schema":null,"payload":null}"#;
    assert_eq!(read_one(&mut format, 1, None, Some(tombstone)).unwrap().0, Change::Nothing);
}

/// What becomes of the value of one event without a schema, read with these selectors.
fn one(selectors: &[Selector], value: &str) -> Result<Answer, Rejection> {
    let mut format = DebeziumFormat::new(selectors);
    read_one(&mut format, selectors.len(), None, Some(value.as_bytes()))
}

#[test]
fn a_null_behind_a_space_is_null() {
    for schema in [r#""schema":{"type":"struct","fields":[]},"#, ""] {
        let event =
            format!(r#"{{{schema}"payload":{{"op":"c","after":{{"id": 1, "note": null}}}}}}"#);
        let (_, found) = one(&selectors(&["id", "note"]), &event).unwrap();
        assert_eq!(found, ["1", "null"], "{schema}");
    }
}

#[test]
fn years_of_iso_are_those_of_people() {
    let read = |name: &str, value: &str| {
        let event = format!(
            r#"{{"schema":{{"type":"struct","fields":[{{"field":"after","type":"struct","fields":[
               {{"field":"at","type":"string","name":"io.debezium.time.{name}"}}]}}]}},
               "payload":{{"op":"c","after":{{"at":"{value}"}}}}}}"#
        );
        one(&selectors(&["at"]), &event).unwrap().1[0].clone()
    };
    for (name, value, expected) in [
        ("IsoDate", "2026-01-31Z", "2026-01-31"),
        ("IsoDate", "-0043-03-15Z", "0044-03-15 BC"),
        ("IsoDate", "0000-02-29Z", "0001-02-29 BC"),
        ("IsoDate", "+10000-01-01Z", "10000-01-01"),
        ("IsoTime", "12:00:00.5Z", "12:00:00.5"),
        ("IsoTimestamp", "-0043-03-15T12:00:00Z", "0044-03-15T12:00:00Z BC"),
        ("ZonedTimestamp", "0000-03-15T12:00:00Z", "0001-03-15T12:00:00Z BC"),
        ("ZonedTimestamp", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("ZonedTimestamp", "-infinity", "-infinity"),
    ] {
        assert_eq!(read(name, value), format!("\"{expected}\""), "{name}");
    }
}

#[test]
fn a_value_that_the_log_lacks_is_noticed_in_every_shape_and_place() {
    let pointer = [Selector::Pointer(Pointer::parse("/after/body").unwrap())];
    let rest = [Selector::Rest { except: Arc::new(["id".to_owned()].into()) }];
    for lacking in [
        r#""__debezium_unavailable_value""#,
        r#"["b68a35a7-17ad-35b3-af2a-ae46edb4545a"]"#,
        r#"["X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="]"#,
        r#"{"__debezium_unavailable_value":"__debezium_unavailable_value"}"#,
        r#""{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}""#,
    ] {
        let event = format!(r#"{{"op":"u","after":{{"id":1,"body":{lacking}}}}}"#);
        for selectors in [&selectors(&["body"])[..], &pointer, &rest] {
            let rejection = one(selectors, &event).unwrap_err();
            assert_eq!(rejection.reason, Reason::Unsupported, "{lacking} {selectors:?}");
        }
        assert!(one(&selectors(&["id"]), &event).is_ok());
    }
}

#[test]
fn days_that_the_log_lacks_are_no_days() {
    let numbers: Vec<String> = b"__debezium_unavailable_value".iter().map(u8::to_string).collect();
    let event = format!(
        r#"{{"schema":{{"type":"struct","fields":[{{"field":"after","type":"struct","fields":[
           {{"field":"days","type":"array","items":{{"type":"int32","name":"io.debezium.time.Date"}}}}]}}]}},
           "payload":{{"op":"u","after":{{"days":[{}]}}}}}}"#,
        numbers.join(",")
    );
    let rejection = one(&selectors(&["days"]), &event).unwrap_err();
    assert_eq!(rejection.reason, Reason::Unsupported);
}

#[test]
fn a_row_that_has_a_column_of_times_is_no_heartbeat() {
    assert_eq!(one(&selectors(&["id"]), r#"{"ts_ms":1}"#).unwrap().0, Change::Nothing);
    let rejection = one(&selectors(&["id"]), r#"{"id":1,"ts_ms":1700000000000}"#).unwrap_err();
    assert_eq!(rejection.reason, Reason::Malformed);
}
