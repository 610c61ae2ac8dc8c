use super::*;
use crate::{record::Headers, row::Change, sink::postgres::column::Metadata as M};

const TEXT: ColumnType = ColumnType::Text { max_chars: None };

struct List(Vec<(&'static str, Option<&'static [u8]>)>);

impl Headers for List {
    fn for_each(&self, visit: &mut dyn FnMut(&str, Option<&[u8]>)) {
        for (name, value) in &self.0 {
            visit(name, *value);
        }
    }
}

fn encode_metadata(
    column_type: ColumnType,
    metadata: M,
    record: &Record<'_>,
) -> Result<Option<Vec<u8>>, Rejection> {
    let column = Column { feed: Feed::Metadata(metadata), ..column(column_type) };
    let mut encoder = RowEncoder::new(vec![column]).unwrap();
    let mut out = Vec::new();
    encoder.encode(record, &Row::new(b"", &[], Change::Put), Layout::default(), &mut out)?;
    Ok(fields(&out).remove(0).remove(0))
}

#[test]
fn the_position_of_a_record_is_a_number() {
    let record = record(b"{}");
    for (metadata, value) in [(M::Partition, 3_i64), (M::Offset, 42)] {
        let get = |column_type| encode_metadata(column_type, metadata, &record).unwrap().unwrap();
        assert_eq!(get(ColumnType::Int8), value.to_be_bytes());
        assert_eq!(get(ColumnType::Int4), (value as i32).to_be_bytes());
        assert_eq!(get(ColumnType::Int2), (value as i16).to_be_bytes());
        assert_eq!(get(ColumnType::Numeric { limits: None })[8..], (value as u16).to_be_bytes());
    }
    for (offset, limits, fits) in [
        (i64::MIN, None, true),
        (i64::MAX, Some((19, 0)), true),
        (999, Some((3, 0)), true),
        (1_000, Some((3, 0)), false),
        (0, Some((3, 5)), true),
    ] {
        let numeric = ColumnType::Numeric { limits };
        let ours = encode_metadata(numeric.clone(), M::Offset, &Record { offset, ..record });
        let text = encode(numeric, &format!("{offset}.0e0"));
        assert_eq!(ours.is_ok(), fits, "{offset}");
        // The same digits, but for the scale.
        let digits = |field: &[u8]| [&field[..6], &field[8..]].concat();
        assert_eq!(ours.ok().flatten().as_deref().map(digits), text.ok().as_deref().map(digits));
    }
    let far = Record { offset: i64::from(i32::MAX) + 1, ..record };
    let rejection = encode_metadata(ColumnType::Int4, M::Offset, &far).unwrap_err();
    assert_eq!(rejection.reason, Reason::OutOfRange);
}

#[test]
fn the_time_of_a_record_is_a_time_or_an_epoch() {
    let record = record(b"{}");
    let us: i64 = 1_767_323_045_678_000 - 946_684_800_000_000;
    let get = |column_type| encode_metadata(column_type, M::Timestamp, &record).unwrap().unwrap();
    assert_eq!(get(ColumnType::Timestamptz), us.to_be_bytes());
    assert_eq!(get(ColumnType::Timestamp), us.to_be_bytes());
    assert_eq!(get(ColumnType::Date), (us.div_euclid(86_400_000_000) as i32).to_be_bytes());
    assert_eq!(get(ColumnType::Int8), 1_767_323_045_678_i64.to_be_bytes());
    for (unit, value) in [(EpochUnit::S, 1_767_323_045), (EpochUnit::Us, 1_767_323_045_678_000)] {
        let column = Column {
            reading: Reading { epoch_unit: Some(unit), ..Reading::default() },
            feed: Feed::Metadata(M::Timestamp),
            ..column(ColumnType::Int8)
        };
        let field = encode_row(vec![column], b"{}").unwrap().remove(0).unwrap();
        assert_eq!(field, i64::to_be_bytes(value));
    }
    let none = Record { timestamp_ms: None, ..record };
    assert_eq!(encode_metadata(ColumnType::Timestamptz, M::Timestamp, &none), Ok(None));
    let beyond = Record { timestamp_ms: Some(i64::MAX), ..record };
    for column_type in [ColumnType::Timestamptz, ColumnType::Timestamp, ColumnType::Date] {
        let rejection = encode_metadata(column_type, M::Timestamp, &beyond).unwrap_err();
        assert_eq!(rejection.reason, Reason::OutOfRange);
    }
}

#[test]
fn a_key_is_what_its_column_reads_in_it() {
    let with = |key| Record { key, ..record(b"{}") };
    let key = |column_type, key| encode_metadata(column_type, M::Key, &with(Some(key)));
    assert_eq!(key(TEXT, b"k1"), Ok(Some(b"k1".to_vec())));
    assert_eq!(key(ColumnType::Bytea, b"\xff\0"), Ok(Some(b"\xff\0".to_vec())));
    assert_eq!(key(ColumnType::Int4, b"17"), Ok(Some(17_i32.to_be_bytes().to_vec())));
    assert_eq!(key(ColumnType::Jsonb, b"{\"a\":1}"), Ok(Some(b"\x01{\"a\":1}".to_vec())));
    assert_eq!(key(ColumnType::Jsonb, b"k1").unwrap_err().reason, Reason::Malformed);
    assert_eq!(key(ColumnType::Int4, b"k1").unwrap_err().reason, Reason::InvalidText);
    assert_eq!(key(TEXT, b"\xff").unwrap_err().reason, Reason::InvalidText);
    assert_eq!(encode_metadata(TEXT, M::Key, &with(None)), Ok(None));
}

#[test]
fn topic_and_payload_are_texts() {
    let record = record(b"{\"a\":1}");
    assert_eq!(encode_metadata(TEXT, M::Topic, &record), Ok(Some(b"orders".to_vec())));
    let payload = |column_type| encode_metadata(column_type, M::Payload, &record).unwrap().unwrap();
    for column_type in [TEXT, ColumnType::Json, ColumnType::Bytea] {
        assert_eq!(payload(column_type), b"{\"a\":1}");
    }
    assert_eq!(payload(ColumnType::Jsonb), b"\x01{\"a\":1}");
    let tombstone = Record { value: None, ..record };
    assert_eq!(encode_metadata(ColumnType::Jsonb, M::Payload, &tombstone), Ok(None));
}

#[test]
fn headers_are_an_object_that_keeps_doubled_names_and_bytes() {
    let list = List(vec![
        ("trace", Some(b"a\"\\\n\x01\x1f")),
        ("b", Some(b"1")),
        ("trace", None),
        ("n", Some(&[0, 0, 1])),
        ("b", Some(b"2")),
        ("bad", Some(b"\xff")),
        ("é\"", Some("✓".as_bytes())),
    ]);
    let record = Record { headers: Some(&list), ..record(b"{}") };
    let expected = concat!(
        r#"{"b":["1","2"],"bad":"/w==","n":"AAAB","#,
        r#""trace":["a\"\\\n\u0001\u001f",null],"é\"":"✓"}"#
    );
    let get = |column_type| encode_metadata(column_type, M::Headers, &record).unwrap().unwrap();
    assert_eq!(String::from_utf8(get(ColumnType::Json)).unwrap(), expected);
    assert_eq!(get(TEXT), expected.as_bytes());
    assert_eq!(get(ColumnType::Jsonb), [b"\x01", expected.as_bytes()].concat());
    serde_json::from_str::<serde_json::Value>(expected).unwrap();

    let none = Record { headers: None, ..record };
    assert_eq!(encode_metadata(ColumnType::Json, M::Headers, &none), Ok(Some(b"{}".to_vec())));
}

#[test]
fn a_column_that_cannot_hold_the_fact_is_refused_at_the_start() {
    for (metadata, column_type, takes) in [
        (M::Topic, ColumnType::Int4, "text"),
        (M::Partition, TEXT, "integer"),
        (M::Offset, ColumnType::Bool, "bigint"),
        (M::Timestamp, ColumnType::Int4, "timestamptz"),
        (M::Headers, ColumnType::Bytea, "jsonb"),
        (M::Payload, ColumnType::Uuid, "bytea"),
    ] {
        let column = Column { feed: Feed::Metadata(metadata), ..column(column_type) };
        let message = RowEncoder::new(vec![column]).unwrap_err().to_string();
        assert!(message.contains("column c of type") && message.contains(takes), "{message}");
    }
}

proptest! {
    #[test]
    fn bytes_come_back_from_base64(bytes in prop::collection::vec(any::<u8>(), 1..40)) {
        let bytes = [&[0xff], &bytes[..]].concat();
        struct One<'a>(&'a [u8]);
        impl Headers for One<'_> {
            fn for_each(&self, visit: &mut dyn FnMut(&str, Option<&[u8]>)) {
                visit("h", Some(self.0));
            }
        }
        let record = Record { headers: Some(&One(&bytes)), ..record(b"{}") };
        let json = encode_metadata(ColumnType::Json, M::Headers, &record).unwrap().unwrap();
        let map: std::collections::BTreeMap<String, String> = serde_json::from_slice(&json).unwrap();
        let back = encode(ColumnType::Bytea, &format!("\"{}\"", map["h"])).unwrap();
        prop_assert_eq!(back, bytes);
    }
}
