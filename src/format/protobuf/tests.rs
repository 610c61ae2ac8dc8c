use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;

use prost_reflect::{
    MapKey, MessageDescriptor, Value,
    prost::{Message as _, bytes::Bytes},
};
use serde_json::{json, value::RawValue};

use super::*;
use crate::registry;

const TEXT: &str = r#"
    syntax = "proto3";
    package shop;
    import "money.proto";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/duration.proto";
    import "google/protobuf/wrappers.proto";
    import "google/protobuf/struct.proto";
    message Order {
        enum State { NEW = 0; PAID = 1; }
        message Line { string sku = 1; uint64 count = 2; }
        int64 order_id = 1;
        sint32 small = 2;
        double weight = 3;
        float ratio = 4;
        bool express = 5;
        string note = 6;
        bytes raw = 7;
        State state = 8;
        repeated Line lines = 9;
        map<string, int32> counts = 10;
        optional string coupon = 11;
        oneof payer { string name = 12; int64 number = 13; }
        Money total = 14;
        google.protobuf.Timestamp at = 15;
        google.protobuf.Duration took = 16;
        google.protobuf.Int64Value maybe = 17;
        google.protobuf.Struct extra = 18;
        repeated sfixed32 packed = 19;
        Order part = 20;
    }
    message Other { int32 x = 1; }"#;
const MONEY: &str = "syntax = \"proto3\"; package shop; message Money { string currency = 1; }";

fn schema() -> Schema {
    let (name, text) = ("money.proto".to_owned(), MONEY.to_owned());
    Schema::parse(&registry::Schema {
        kind: "PROTOBUF".to_owned(),
        text: TEXT.to_owned(),
        references: vec![registry::Reference { name, text }],
    })
    .unwrap()
}

fn order() -> (Schema, MessageDescriptor) {
    let schema = schema();
    let order = schema.message(&[0]).unwrap().0;
    (schema, order)
}

fn text(message: &DynamicMessage) -> String {
    let mut out = Vec::new();
    put_message(message, 0, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn read(descriptor: &MessageDescriptor, bytes: &[u8]) -> serde_json::Value {
    let message = DynamicMessage::decode(descriptor.clone(), bytes).unwrap();
    serde_json::from_str(&text(&message)).unwrap()
}

#[test]
fn a_field_with_presence_is_absent_and_one_without_has_its_default() {
    let (_, order) = order();
    assert_eq!(
        text(&DynamicMessage::new(order)),
        r#"{"order_id":0,"small":0,"weight":0,"ratio":0,"express":false,"note":"","raw":"\\x","state":"NEW","lines":[],"counts":{},"packed":[]}"#
    );
}

#[test]
fn google_s_own_types_are_what_they_stand_for() {
    let (_, order) = order();
    let at = field(&[0x7a], &[8, 1, 16, 5]);
    let minus = [&[8][..], &(-1_i64).to_bytes(), &[16], &(-500_000_000_i64).to_bytes()].concat();
    let took = field(&[0x82, 1], &minus);
    let maybe = field(&[0x8a, 1], &[8, 7]);
    let values = [
        &field(&[10], &[8, 0])[..],
        &field(&[10], &field(&[26], b"x")),
        &field(&[10], &[&[17][..], &1.5_f64.to_le_bytes()].concat()),
        &field(&[10], &[32, 1]),
        &field(&[10], &[]),
    ]
    .concat();
    let entry = [field(&[10], b"a"), field(&[18], &field(&[50], &values))].concat();
    let extra = field(&[0x92, 1], &field(&[10], &entry));
    let found = read(&order, &[at, took, maybe, extra].concat());
    assert_eq!(found["at"], "1970-01-01T00:00:01.000000005Z");
    assert_eq!(found["took"], "PT-1.500000000S");
    assert_eq!(found["maybe"], 7);
    assert_eq!(found["extra"], json!({"a": [null, "x", 1.5, true, null]}));
}

/// A field with a length: its tag, and what it holds.
fn field(tag: &[u8], body: &[u8]) -> Vec<u8> {
    [tag, &(body.len() as i64).to_bytes(), body].concat()
}

/// A number as a varint.
trait ToBytes {
    fn to_bytes(self) -> Vec<u8>;
}

impl ToBytes for i64 {
    fn to_bytes(self) -> Vec<u8> {
        let (mut bits, mut bytes) = (self as u64, Vec::new());
        while bits > 0x7f {
            bytes.push(bits as u8 | 0x80);
            bits >>= 7;
        }
        bytes.push(bits as u8);
        bytes
    }
}

#[test]
fn the_frame_says_which_message_it_is() {
    let schema = schema();
    let name =
        |bytes: &[u8]| schema.message(bytes).map(|(m, rest)| (m.name().to_owned(), rest.len()));
    assert_eq!(name(&[0, 9]).unwrap(), ("Order".to_owned(), 1));
    assert_eq!(name(&[2, 2]).unwrap(), ("Other".to_owned(), 0));
    assert_eq!(name(&[4, 0, 0, 9, 9]).unwrap(), ("Line".to_owned(), 2));
    assert_eq!(name(&[2, 8]).unwrap_err(), "the schema has no message 4 there");
    for bytes in [&[][..], &[2], &[4, 0], &[1], &[0xff; 12]] {
        name(bytes).unwrap_err();
    }
}

#[test]
fn what_cannot_be_compiled_or_nests_too_deep_says_so() {
    let parse = |text: &str| {
        Schema::parse(&registry::Schema {
            kind: "PROTOBUF".to_owned(),
            text: text.to_owned(),
            references: Vec::new(),
        })
    };
    assert!(parse(TEXT).unwrap_err().contains("money.proto"));
    parse("message {").unwrap_err();
    let (_, order) = order();
    let mut bytes = Vec::new();
    for _ in 0..200 {
        bytes = field(&[0xa2, 1], &bytes);
    }
    DynamicMessage::decode(order, bytes.as_slice()).unwrap_err();
}

proptest! {
    /// Written by another implementation, read by this one.
    #[test]
    fn what_was_written_is_read(
        id: i64, small: i32, weight in -1e300_f64..1e300, express: bool, note in "\\PC{0,9}",
        raw in vec(any::<u8>(), 0..20), state in 0..3_i32, packed in vec(any::<i32>(), 0..5),
        counts in prop::collection::hash_map("[a-c]{0,2}", any::<i32>(), 0..4),
        skus in vec("[a-z]{0,3}", 0..4), coupon in prop::option::of("[a-z]{0,3}"),
    ) {
        let (_, order) = order();
        let line = order.child_messages().next().unwrap();
        let mut message = DynamicMessage::new(order.clone());
        let mut set = |name: &str, value| message.set_field_by_name(name, value);
        set("order_id", Value::I64(id));
        set("small", Value::I32(small));
        set("weight", Value::F64(weight));
        set("express", Value::Bool(express));
        set("note", Value::String(note.clone()));
        set("raw", Value::Bytes(Bytes::from(raw.clone())));
        set("state", Value::EnumNumber(state));
        set("packed", Value::List(packed.iter().map(|n| Value::I32(*n)).collect()));
        let pair = |(key, value): (&String, &i32)| (MapKey::String(key.clone()), Value::I32(*value));
        set("counts", Value::Map(counts.iter().map(pair).collect()));
        let lines = skus.iter().map(|sku| {
            let mut message = DynamicMessage::new(line.clone());
            message.set_field_by_name("sku", Value::String(sku.clone()));
            message.set_field_by_name("count", Value::U64(u64::MAX));
            Value::Message(message)
        });
        set("lines", Value::List(lines.collect()));
        if let Some(coupon) = &coupon {
            set("coupon", Value::String(coupon.clone()));
        }
        let bytes = message.encode_to_vec();
        let found = read(&order, &bytes);
        // serde_json's own reading of a float may be off by a little.
        let text = text(&DynamicMessage::decode(order, bytes.as_slice()).unwrap());
        let raw_text: BTreeMap<String, &RawValue> = serde_json::from_str(&text).unwrap();
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        let state = ["NEW", "PAID"].get(state as usize).map_or(json!(state), |name| json!(name));
        let lines: Vec<_> = skus.iter().map(|sku| json!({"sku": sku, "count": u64::MAX})).collect();
        prop_assert_eq!(raw_text["weight"].get().parse::<f64>().unwrap(), weight);
        let mut expected = json!({
            "order_id": id, "small": small, "weight": found["weight"], "ratio": 0, "express": express,
            "note": note, "raw": format!("\\x{hex}"), "state": state, "lines": lines,
            "counts": counts, "packed": packed,
        });
        if let Some(coupon) = coupon {
            expected["coupon"] = json!(coupon);
        }
        prop_assert_eq!(found, expected);
    }
}
