mod json;
mod metadata;
mod number;
mod seldom;
mod structured;
mod text;
mod time;

use std::{borrow::Borrow, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    format::{Format, JsonFormat},
    row::{Change, Kind, Span},
    selector::Selector,
    sink::postgres::column::{
        ArrayType, Attribute, ColumnType, CompositeType, EnumType, EpochUnit, OnNul,
    },
};

fn column(column_type: ColumnType) -> Column {
    Column {
        name: "c".to_owned(),
        column_type,
        not_null: false,
        has_default: false,
        reading: Reading::default(),
        feed: Feed::Field(0),
        fallback: None,
    }
}

fn record(value: &[u8]) -> Record<'_> {
    Record {
        topic: "orders",
        partition: 3,
        offset: 42,
        timestamp_ms: Some(1_767_323_045_678),
        key: Some(b"k1"),
        value: Some(value),
        headers: None,
    }
}

/// The fields of the rows in `encoded`; `None` is NULL.
fn fields(encoded: &[u8]) -> Vec<Vec<Option<Vec<u8>>>> {
    rows(encoded)
        .map(|row| {
            let mut rest = &encoded[row][2..];
            let mut fields = Vec::new();
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                let length = i32::from_be_bytes(*length);
                let (field, after) = after.split_at(length.max(0) as usize);
                fields.push((length >= 0).then(|| field.to_vec()));
                rest = after;
            }
            fields
        })
        .collect()
}

/// Encodes `columns` from `payload`, decoded as JSON with the fields `v`, `w`, `x`...
fn encode_row(columns: Vec<Column>, payload: &[u8]) -> Result<Vec<Option<Vec<u8>>>, Rejection> {
    let names: Vec<Selector> = ["v", "w", "x", "y", "z"].map(Selector::from).to_vec();
    let mut spans = vec![Span::ABSENT; names.len()];
    JsonFormat::new(&names).decode(&record(payload), &mut spans).unwrap();
    let row = Row::new(payload, &spans, Change::Put);
    let mut encoder = RowEncoder::new(columns).unwrap();
    let absent = encoder.absent(&row);
    let mut out = b"before".to_vec();
    let result = encoder.encode(&record(payload), &row, absent, &mut out);
    assert!(out.starts_with(b"before"));
    if let Err(rejection) = result {
        assert_eq!(out, b"before", "a refused row leaves nothing behind");
        assert!(rejection.column.is_some());
        return Err(rejection);
    }
    let mut rows = fields(&out[6..]);
    assert_eq!(rows.len(), 1);
    Ok(rows.remove(0))
}

/// The field that JSON `value` becomes in `column`.
fn encode_in(column: Column, value: &str) -> Result<Vec<u8>, Rejection> {
    let fields = encode_row(vec![column], format!("{{\"v\":{value}}}").as_bytes())?;
    Ok(fields[0].clone().expect("not NULL"))
}

fn encode(column_type: impl Borrow<ColumnType>, value: &str) -> Result<Vec<u8>, Rejection> {
    encode_in(column(column_type.borrow().clone()), value)
}

/// Asserts that `value` is refused for `reason`, with a message that says `part`.
#[track_caller]
fn refused(column_type: impl Borrow<ColumnType>, value: &str, reason: Reason, part: &str) {
    let rejection = encode(column_type, value).expect_err(value);
    assert_eq!(rejection.reason, reason, "{value}: {rejection}");
    assert!(rejection.message.contains(part), "{value}: {rejection}");
}

/// The field that bytes of format raw become.
fn encode_bytes(column_type: impl Borrow<ColumnType>, bytes: &[u8]) -> Result<Vec<u8>, Rejection> {
    let spans = [Span { kind: Kind::Bytes, start: 0, end: bytes.len() as u32 }];
    let mut encoder = RowEncoder::new(vec![column(column_type.borrow().clone())]).unwrap();
    let mut out = Vec::new();
    let row = Row::new(bytes, &spans, Change::Put);
    encoder.encode(&record(bytes), &row, Layout::default(), &mut out)?;
    Ok(fields(&out)[0][0].clone().expect("not NULL"))
}

const TYPES: [ColumnType; 19] = [
    ColumnType::Bool,
    ColumnType::Int2,
    ColumnType::Int4,
    ColumnType::Int8,
    ColumnType::Float4,
    ColumnType::Float8,
    ColumnType::Numeric { limits: None },
    ColumnType::Numeric { limits: Some((12, 2)) },
    ColumnType::Numeric { limits: Some((3, 5)) },
    ColumnType::Numeric { limits: Some((3, -2)) },
    ColumnType::Text { max_chars: None },
    ColumnType::Text { max_chars: Some(5) },
    ColumnType::Uuid,
    ColumnType::Date,
    ColumnType::Timestamp,
    ColumnType::Timestamptz,
    ColumnType::Json,
    ColumnType::Jsonb,
    ColumnType::Bytea,
];

#[test]
fn a_row_is_its_count_and_its_fields_with_their_lengths() {
    let mut encoder = RowEncoder::new(vec![
        column(ColumnType::Int4),
        column(ColumnType::Text { max_chars: None }),
    ])
    .unwrap();
    let spans = [Span { kind: Kind::Number, start: 0, end: 2 }];
    let mut out = Vec::new();
    encoder
        .encode(&record(b""), &Row::new(b"42", &spans, Change::Put), Layout::default(), &mut out)
        .unwrap();
    assert_eq!(out, b"\0\x02\0\0\0\x04\0\0\0\x2a\0\0\0\x0242");
    assert_eq!(HEADER, *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    assert_eq!(TRAILER, [0xff, 0xff]);
}

#[test]
fn null_and_nothing_are_null_where_the_column_allows_it() {
    for column_type in TYPES {
        for payload in [&b"{\"v\":null}"[..], b"{}"] {
            let nullable = column(column_type.clone());
            let required = Column { not_null: true, ..nullable.clone() };
            assert_eq!(encode_row(vec![nullable], payload), Ok(vec![None]));
            let rejection = encode_row(vec![required], payload).unwrap_err();
            assert_eq!(rejection.reason, Reason::MissingValue);
            assert_eq!(rejection.column.as_deref(), Some("c"));
        }
    }
}

#[test]
fn an_absent_field_is_left_to_the_default_and_null_is_not() {
    let int = Column { feed: Feed::Field(1), ..column(ColumnType::Int4) };
    let default = |field| Column {
        name: format!("d{field}"),
        has_default: true,
        not_null: true,
        feed: Feed::Field(field),
        ..int.clone()
    };
    let columns = vec![default(0), int.clone(), default(2)];
    let some = |value: u8| Some(vec![0, 0, 0, value]);
    assert_eq!(encode_row(columns.clone(), br#"{"v":1,"x":3}"#), Ok(vec![some(1), None, some(3)]));
    assert_eq!(encode_row(columns.clone(), br#"{"x":3}"#), Ok(vec![None, some(3)]));
    assert_eq!(encode_row(columns.clone(), b"{}"), Ok(vec![None]));
    let rejection = encode_row(columns.clone(), br#"{"v":null}"#).unwrap_err();
    assert_eq!((rejection.reason, rejection.column.as_deref()), (Reason::MissingValue, Some("d0")));

    let encoder = RowEncoder::new(columns).unwrap();
    let spans = [Span::ABSENT, Span::ABSENT, Span { kind: Kind::True, start: 0, end: 0 }];
    let absent = encoder.absent(&Row::new(b"", &spans, Change::Put));
    assert_ne!(absent, Layout::default());
    let names: Vec<_> = encoder.columns_for(absent).map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["c", "d2"]);
    assert_eq!(encoder.columns_for(Layout::default()).count(), 3);
}

#[test]
fn more_than_64_defaults_are_refused_at_the_start() {
    let default = Column { has_default: true, ..column(ColumnType::Int4) };
    let encoder = RowEncoder::new(vec![default.clone(); 64]).unwrap();
    let absent = encoder.absent(&Row::new(b"", &[], Change::Put));
    assert_eq!(encoder.columns_for(absent).count(), 0);
    let error = RowEncoder::new(vec![default; 65]).unwrap_err();
    assert_eq!(error, EncoderError::TooManyDefaults { count: 65 });
    let error = RowEncoder::new(vec![column(ColumnType::Int4); 40_000]).unwrap_err();
    assert_eq!(error, EncoderError::TooManyColumns { count: 40_000 });
}

#[test]
fn rows_are_found_again_one_by_one() {
    let mut encoder =
        RowEncoder::new(vec![column(ColumnType::Text { max_chars: None }); 2]).unwrap();
    let mut out = Vec::new();
    let mut expected = Vec::new();
    for text in ["", "a", "bcd"] {
        let start = out.len();
        let spans = [Span { kind: Kind::Text, start: 0, end: text.len() as u32 }];
        let row = Row::new(text.as_bytes(), &spans, Change::Put);
        encoder.encode(&record(b""), &row, Layout::default(), &mut out).unwrap();
        expected.push(start..out.len());
    }
    assert_eq!(rows(&out).collect::<Vec<_>>(), expected);
    let whole = out.len();
    out.extend_from_slice(&TRAILER);
    assert_eq!(rows(&out).collect::<Vec<_>>(), expected);
    assert_eq!(rows(&out[..whole - 1]).collect::<Vec<_>>(), expected[..2]);
    assert_eq!(rows(b"").count(), 0);
}

#[test]
fn a_message_shortens_and_escapes_the_value() {
    let value = format!("\"{}\\n{}\"", "é".repeat(30), "x".repeat(1_000));
    let rejection = encode(ColumnType::Uuid, &value).unwrap_err();
    assert_eq!(
        rejection.to_string(),
        format!(
            "column c: `{}\\n{}…`: expected 32 hexadecimal digits, with 4 hyphens or without (uuid)",
            "é".repeat(30),
            "x".repeat(8)
        )
    );
    assert!(!encode_bytes(ColumnType::Uuid, &[0xff; 100]).unwrap_err().message.contains('\0'));
}

#[test]
fn booleans_are_booleans_or_their_words() {
    for (value, byte) in [
        ("true", 1),
        ("false", 0),
        ("\"true\"", 1),
        ("\"t\"", 1),
        ("\"f\"", 0),
        ("\"\\u0066alse\"", 0),
    ] {
        assert_eq!(encode(ColumnType::Bool, value), Ok(vec![byte]), "{value}");
    }
    refused(ColumnType::Bool, "1", Reason::WrongType, "expected true or false");
    refused(ColumnType::Bool, "[]", Reason::WrongType, "expected true or false");
    refused(ColumnType::Bool, "\"yes\"", Reason::InvalidText, "`yes`: expected");
}

#[test]
fn a_value_of_another_json_type_is_named() {
    for column_type in TYPES {
        let takes_all = matches!(
            column_type,
            ColumnType::Text { max_chars: None } | ColumnType::Json | ColumnType::Jsonb
        );
        let result = encode(&column_type, r#"{"a":[1]}"#);
        match result {
            Ok(_) => assert!(takes_all, "{column_type:?}"),
            Err(rejection) if matches!(column_type, ColumnType::Text { .. }) => {
                assert_eq!(rejection.reason, Reason::OutOfRange);
            }
            Err(rejection) => {
                assert_eq!(rejection.reason, Reason::WrongType);
                let expected = "`{\"a\":[1]}`: expected ";
                assert!(rejection.message.starts_with(expected), "{rejection}");
            }
        }
    }
}

#[test]
fn nul_is_left_out_or_replaced_where_that_is_declared() {
    let text = ColumnType::Text { max_chars: None };
    for (column_type, json, stripped, replaced) in [
        (&text, r#""a\u0000b""#, "ab", "a\u{fffd}b"),
        (&text, r#""\\u0000\u0000\n""#, "\\u0000\n", "\\u0000\u{fffd}\n"),
        (
            &ColumnType::Jsonb,
            r#"{"a\u0000":["\u0000x"]}"#,
            "\u{1}{\"a\":[\"x\"]}",
            "\u{1}{\"a\\ufffd\":[\"\\ufffdx\"]}",
        ),
    ] {
        refused(column_type, json, Reason::InvalidCharacter, "");
        for (on_nul, expected) in [(OnNul::Strip, stripped), (OnNul::Replace, replaced)] {
            let reading = Reading { on_nul, ..Reading::default() };
            let column = Column { reading, ..column(column_type.clone()) };
            assert_eq!(encode_in(column, json), Ok(expected.as_bytes().to_vec()), "{json}");
        }
    }
    let reading = Reading { on_nul: OnNul::Strip, ..Reading::default() };
    let rejection = encode_in(Column { reading, ..column(text) }, r#""\u0000\ud800""#).unwrap_err();
    assert_eq!(rejection.reason, Reason::InvalidCharacter);
}

fn any_column() -> impl Strategy<Value = Column> {
    use EpochUnit::{Ms, Ns, S, Us};
    (
        prop::sample::select(TYPES.to_vec()),
        any::<[bool; 2]>(),
        prop::sample::select(vec![None, Some(S), Some(Ms), Some(Us), Some(Ns)]),
        0_usize..4,
    )
        .prop_map(|(column_type, [not_null, has_default], epoch_unit, field)| Column {
            not_null,
            has_default,
            reading: Reading { epoch_unit, ..Reading::default() },
            feed: Feed::Field(field),
            ..column(column_type)
        })
}

fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        r#"[-+0-9.eE:TZ \\"ux{}\[\],a-f]{0,60}"#.prop_map(String::into_bytes),
        r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][-+]?[0-9]{1,12})?".prop_map(String::into_bytes),
        r"[0-9]{4,8}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,13})?(Z|[-+][0-9:]{2,6})?"
            .prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn no_bytes_make_the_encoder_panic_or_write_half_a_row(
        columns in prop::collection::vec(any_column(), 0..5),
        payload in any_payload(),
        marks in prop::collection::vec((0_usize..9, any::<[u32; 2]>()), 0..5),
    ) {
        use Kind::{Absent, Bytes, EscapedText, False, Nested, Null, Number, Text, True};
        let kinds = [Absent, Null, True, False, Number, Text, EscapedText, Nested, Bytes];
        let size = payload.len() as u32 + 1;
        let spans: Vec<Span> = marks
            .into_iter()
            .map(|(kind, [a, b])| (kind, a % size, b % size))
            .map(|(kind, a, b)| match a < b {
                // Often the whole payload, so that it has a chance to be read.
                true => Span { kind: kinds[kind], start: 0, end: size - 1 },
                false => Span { kind: kinds[kind], start: b, end: a },
            })
            .collect();
        let row = Row::new(&payload, &spans, Change::Put);
        let count = columns.len();
        let mut encoder = RowEncoder::new(columns).unwrap();
        let absent = encoder.absent(&row);
        let mut out = Vec::new();
        match encoder.encode(&record(&payload), &row, absent, &mut out) {
            Ok(()) => {
                prop_assert_eq!(rows(&out).collect::<Vec<_>>(), vec![(0..out.len())]);
                let columns = encoder.columns_for(absent).count();
                prop_assert!(columns <= count);
                prop_assert_eq!(fields(&out)[0].len(), columns);
            }
            Err(rejection) => {
                prop_assert!(out.is_empty());
                prop_assert!(rejection.message.chars().count() < 300, "{}", rejection);
            }
        }
    }
}
