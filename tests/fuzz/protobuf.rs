//! Messages of Protocol Buffers, and files that say what they are.

use serde_json::value::RawValue;
use tidegate::{format::protobuf, registry};

use crate::Try;

const SCHEMA: &str = r#"syntax = "proto3"; package p; import "google/protobuf/timestamp.proto";
    import "google/protobuf/struct.proto"; import "google/protobuf/wrappers.proto";
    message M { int64 a = 1; sint32 b = 2; double c = 3; string d = 4; bytes e = 5; repeated float f = 6;
    map<string, M> g = 7; optional bool h = 8; E i = 9; M j = 10; google.protobuf.Timestamp k = 11;
    google.protobuf.Value l = 12; google.protobuf.UInt64Value m = 13; fixed64 n = 14;
    message N { uint32 a = 1; } N o = 15; enum E { X = 0; Y = 1; } }"#;

/// Both kinds: files, and messages behind their place in the file.
pub(crate) const SEEDS: &[&str] = &[
    SCHEMA,
    "syntax = \"proto2\"; message A { required int32 x = 1; oneof y { string s = 2; A a = 3; } }",
    "\0\x08\x01\x10\x03\x19\0\0\0\0\0\0\x08\x40\x22\x02hi\x2a\x01\x7f",
    "\0\x32\x08\0\0\0\0\0\0\x40\x40\x3a\x07\x0a\x01k\x12\x02\x08\x05\x40\x01\x48\x01",
    "\0\x52\x04\x52\x02\x08\x02\x5a\x04\x08\x01\x10\x02\x62\x04\x1a\x02ab\x6a\x02\x08\x09",
    "\x04\0\0\x08\x05",
    "\0\x62\x0b\x32\x09\x0a\x07\x1a\x05\x22\x03\"\\\n",
    "\0\x71\x01\x02\x03\x04\x05\x06\x07\x08\x7a\x02\x08\x03",
];

pub(crate) const TOKENS: &[&str] = &[
    "message ",
    "{",
    "}",
    ";",
    "=",
    "1",
    "536870911",
    "0",
    "-1",
    "repeated ",
    "optional ",
    "oneof ",
    "map<",
    ">",
    "enum ",
    "import ",
    "reserved ",
    "extend ",
    "string ",
    "int64 ",
    "M ",
    "\"",
    "\0",
    "\x02",
    "\x08",
    "\x0a",
    "\x12",
    "\x52",
    "\x0b",
    "\x0c",
    "\x7f",
    "\u{80}",
];

/// Any bytes are a message or not; a message is JSON. Any text is a schema or not.
pub(crate) fn messages() -> Try {
    let schema = parse(SCHEMA).unwrap();
    let mut out = Vec::new();
    Box::new(move |input| {
        out.clear();
        if protobuf::put(&schema, input, &mut out).is_ok() {
            serde_json::from_slice::<&RawValue>(&out).expect("JSON");
        }
        // Compiling takes its time.
        let Ok(text) = std::str::from_utf8(input) else { return };
        let Some(schema) = text.contains("syntax").then(|| parse(text).ok()).flatten() else {
            return;
        };
        out.clear();
        let _ = protobuf::put(&schema, input.get(..64).unwrap_or(input), &mut out);
    })
}

fn parse(text: &str) -> Result<protobuf::Schema, String> {
    let (kind, references) = ("PROTOBUF".to_owned(), Vec::new());
    protobuf::Schema::parse(&registry::Schema { kind, text: text.to_owned(), references })
}
