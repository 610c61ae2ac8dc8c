use std::collections::{BTreeMap, HashMap};

use apache_avro::{Schema as Theirs, types::Value as Datum, writer::datum::GenericDatumWriter};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json, value::RawValue};

use super::{
    schema::Schema,
    value::{Fault, put},
};
use crate::registry::{self, Reference};

fn schema(text: &str) -> Schema {
    parse(text, &[]).unwrap()
}

fn parse(text: &str, references: &[(&str, &str)]) -> Result<Schema, String> {
    let reference =
        |(name, text): &(&str, &str)| Reference { name: (*name).into(), text: (*text).into() };
    Schema::parse(&registry::Schema {
        kind: "AVRO".to_owned(),
        text: text.to_owned(),
        references: references.iter().map(reference).collect(),
    })
}

fn read(schema: &Schema, bytes: &[u8]) -> Result<String, Fault> {
    let mut out = Vec::new();
    put(schema, bytes, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

/// The text of a value that the whole schema is.
fn one(text: &str, bytes: &[u8]) -> String {
    read(&schema(text), bytes).unwrap()
}

/// A number as Avro has it.
fn long(value: i64) -> Vec<u8> {
    let mut bits = (value << 1 ^ value >> 63) as u64;
    let mut bytes = Vec::new();
    while bits > 0x7f {
        bytes.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    bytes.push(bits as u8);
    bytes
}

#[test]
fn logical_types_are_what_columns_take() {
    let logical = |kind: &str, name: &str| format!(r#"{{"type":"{kind}","logicalType":"{name}"}}"#);
    let at = long(1_769_860_800_123_456);
    for (kind, name, bytes, expected) in [
        ("int", "date", long(20_484), r#""2026-01-31""#),
        ("int", "time-millis", long(45_296_123), r#""12:34:56.123""#),
        ("long", "time-micros", long(45_296_123_456), r#""12:34:56.123456""#),
        ("long", "timestamp-millis", long(-1), r#""1969-12-31T23:59:59.999Z""#),
        ("long", "timestamp-micros", at.clone(), r#""2026-01-31T12:00:00.123456Z""#),
        ("long", "timestamp-nanos", long(1), r#""1970-01-01T00:00:00.000000001Z""#),
        ("long", "local-timestamp-micros", at, r#""2026-01-31T12:00:00.123456""#),
        ("string", "uuid", [&[2][..], b"u"].concat(), r#""u""#),
        // One that does not fit its type is none.
        ("int", "timestamp-micros", long(7), "7"),
    ] {
        assert_eq!(one(&logical(kind, name), &bytes), expected, "{name}");
    }
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":20,"scale":4}"#;
    assert_eq!(one(decimal, &[6, 0xfe, 0x1d, 0xf8]), "-12.3400");
    let fixed = |size: u32, name: &str| {
        format!(r#"{{"type":"fixed","name":"f","size":{size},"logicalType":"{name}","scale":1}}"#)
    };
    assert_eq!(one(&fixed(2, "decimal"), &[0xff, 0xff]), "-0.1");
    assert_eq!(one(&fixed(16, "uuid"), &[0xab; 16]), format!("\"{}\"", "ab".repeat(16)));
    let months_days_ms = [14, 0, 0, 0, 3, 0, 0, 0, 0x15, 0xcd, 0x5b, 0x07];
    assert_eq!(one(&fixed(12, "duration"), &months_days_ms), r#""P14M3DT123456.789S""#);
    assert_eq!(one(&fixed(3, "none"), &[0, 0xff, 0x10]), r#""\\x00ff10""#);
}

#[test]
fn floats_read_as_themselves_again() {
    let double = |value: f64| one("\"double\"", &value.to_le_bytes());
    assert_eq!(double(0.1), "0.1");
    assert_eq!(double(-0.0), "-0");
    assert_eq!(double(1e300), "1e300");
    assert_eq!(double(5e-324), "5e-324");
    assert_eq!(double(f64::NAN), "\"NaN\"");
    assert_eq!(double(f64::NEG_INFINITY), "\"-Infinity\"");
    assert_eq!(one("\"float\"", &0.1_f32.to_le_bytes()), "0.1");
}

#[test]
fn names_are_found_by_namespace_and_by_reference() {
    let money = r#"{"type":"record","name":"Money","namespace":"shop.types","fields":[
        {"name":"cents","type":"long"}]}"#;
    let order = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
        {"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","PAID"]}},
        {"name":"before","type":["null","State"]},
        {"name":"total","type":"shop.types.Money"},
        {"name":"part","type":["null","Order"]}]}"#;
    let schema = parse(order, &[("shop.types.Money", money)]).unwrap();
    let bytes = [&[2, 2, 0][..], &long(995), &[0]].concat();
    let expected = r#"{"state":"PAID","before":"NEW","total":{"cents":995},"part":null}"#;
    assert_eq!(read(&schema, &bytes).unwrap(), expected);
    assert_eq!(parse(order, &[]).unwrap_err(), "no type is named shop.types.Money");
}

#[test]
fn what_is_no_value_of_the_schema_says_so() {
    assert_eq!(read(&schema("\"int\""), &long(1 << 31)), Err(Fault::Number(1 << 31)));
    assert_eq!(read(&schema("\"long\""), &[0xff; 11]), Err(Fault::End));
    assert_eq!(read(&schema("\"string\""), &[4, b'a']), Err(Fault::End));
    assert_eq!(read(&schema("\"string\""), &[1]), Err(Fault::Number(-1)));
    assert_eq!(read(&schema("\"boolean\""), &[2]), Err(Fault::Number(2)));
    assert_eq!(read(&schema("\"null\""), &[0]), Err(Fault::More(1)));
    assert_eq!(read(&schema(r#"["null","int"]"#), &[4]), Err(Fault::Number(2)));
}

#[test]
fn a_few_bytes_make_neither_a_deep_stack_nor_a_huge_text() {
    let endless = r#"{"type":"record","name":"A","fields":[{"name":"a","type":"A"}]}"#;
    assert_eq!(read(&schema(endless), &[]), Err(Fault::Depth));
    let nulls = r#"{"type":"array","items":"null"}"#;
    assert_eq!(read(&schema(nulls), &long(1 << 40)), Err(Fault::Size));
}

#[test]
fn blocks_may_tell_their_size_and_come_in_any_number() {
    let longs = schema(r#"{"type":"array","items":"long"}"#);
    let bytes = [&long(-2)[..], &long(2), &[2, 4], &long(1), &[6], &[0]].concat();
    assert_eq!(read(&longs, &bytes).unwrap(), "[1,2,3]");
    assert_eq!(read(&longs, &[0]).unwrap(), "[]");
}

const EVERYTHING: &str = r#"{"type":"record","name":"R","fields":[
    {"name":"b","type":"boolean"},{"name":"i","type":"int"},{"name":"l","type":"long"},
    {"name":"f","type":"float"},{"name":"d","type":"double"},{"name":"by","type":"bytes"},
    {"name":"s","type":"string"},{"name":"e","type":{"type":"enum","name":"E","symbols":["x","y","z"]}},
    {"name":"a","type":{"type":"array","items":"long"}},
    {"name":"m","type":{"type":"map","values":"string"}},
    {"name":"u","type":["null","long","string"]}]}"#;

#[derive(Clone, Debug)]
struct Fields {
    scalars: (bool, i32, i64, f32, f64),
    bytes: Vec<u8>,
    text: String,
    symbol: usize,
    longs: Vec<i64>,
    map: HashMap<String, String>,
    union: Option<Result<i64, String>>,
}

fn fields() -> impl Strategy<Value = Fields> {
    let finite = |value: &f64| value.is_finite();
    let scalars = (
        any::<bool>(),
        any::<i32>(),
        any::<i64>(),
        -1e30_f32..1e30,
        any::<f64>().prop_filter("finite", finite),
    );
    let map = prop::collection::hash_map("\\PC{0,6}", "\\PC{0,6}", 0..4);
    let union = prop::option::of(prop_oneof![any::<i64>().prop_map(Ok), ".{0,5}".prop_map(Err)]);
    (scalars, vec(any::<u8>(), 0..40), ".{0,20}", 0..3_usize, vec(any::<i64>(), 0..9), map, union)
        .prop_map(|(scalars, bytes, text, symbol, longs, map, union)| Fields {
            scalars,
            bytes,
            text,
            symbol,
            longs,
            map,
            union,
        })
}

proptest! {
    /// Written by another implementation, read by this one.
    #[test]
    fn what_was_written_is_read(given in fields()) {
        let (b, i, l, f, d) = given.scalars;
        let symbol = ["x", "y", "z"][given.symbol];
        let union = match &given.union {
            None => (0, Datum::Null),
            Some(Ok(value)) => (1, Datum::Long(*value)),
            Some(Err(text)) => (2, Datum::String(text.clone())),
        };
        let record = vec![
            ("b", Datum::Boolean(b)), ("i", Datum::Int(i)), ("l", Datum::Long(l)),
            ("f", Datum::Float(f)), ("d", Datum::Double(d)), ("by", Datum::Bytes(given.bytes.clone())),
            ("s", Datum::String(given.text.clone())), ("e", Datum::Enum(given.symbol as u32, symbol.into())),
            ("a", Datum::Array(given.longs.iter().map(|long| Datum::Long(*long)).collect())),
            ("m", Datum::Map(given.map.iter().map(|(k, v)| (k.clone(), Datum::String(v.clone()))).collect())),
            ("u", Datum::Union(union.0, Box::new(union.1))),
        ];
        let record = record.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let theirs = Theirs::parse_str(EVERYTHING).unwrap();
        let writer = GenericDatumWriter::builder(&theirs).build().unwrap();
        let bytes = writer.write_value_to_vec(Datum::Record(record)).unwrap();

        let text = read(&schema(EVERYTHING), &bytes).unwrap();
        let found: Value = serde_json::from_str(&text).unwrap();
        let hex: String = given.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let union = match given.union {
            None => Value::Null,
            Some(Ok(value)) => json!(value),
            Some(Err(text)) => json!(text),
        };
        // serde_json's own reading of a float may be off by a little.
        let raw: BTreeMap<String, &RawValue> = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(raw["f"].get().parse::<f32>().unwrap(), f);
        prop_assert_eq!(raw["d"].get().parse::<f64>().unwrap(), d);
        let expected = json!({"b": b, "i": i, "l": l, "f": found["f"], "d": found["d"],
            "by": format!("\\x{hex}"), "s": given.text, "e": symbol, "a": given.longs, "m": given.map,
            "u": union});
        prop_assert_eq!(&found, &expected);
        for end in 0..bytes.len() {
            prop_assert!(read(&schema(EVERYTHING), &bytes[..end]).is_err());
        }
    }
}
