//! JSON that parsers disagree about: what is taken and what is not, beside what Postgres says.
//!
//! The grounds are those of the public parsing suites; the cases are our own. A value stands in the
//! field `v` of a record, on its way to a `json` and to a `jsonb` column.

use tidegate::{
    format::{Format, JsonFormat},
    record::Record,
    row::{Change, Row, Span},
    sink::postgres::{
        column::{Column, ColumnType, Feed, Reading},
        encode::RowEncoder,
    },
};

use crate::support::postgres;

/// Text that RFC 8259 has as JSON.
const VALID: &[&[u8]] = &[
    b"[]",
    b"[ ]",
    b"[\"\"]",
    b"[1,null,\"a\",{},[]]",
    b"[null,null,null]",
    b"[1\n]",
    b" [ 1 , 2 ] \t\r\n",
    b"{}",
    b"{\"a\":1,\"b\":2}",
    b"{\"\":0}",
    b"{\"a\":1,\"a\":2}",
    b"{\"a\":1,\"a\":1}",
    b"{\n\"a\"\n:\n1\n}",
    b"{\"least\":-1.0e+28,\"most\":1.0e+28}",
    b"0",
    b"-0",
    b"-0.0",
    b"-1",
    b"1e0",
    b"0e1",
    b"0e+1",
    b"1E22",
    b"1E-2",
    b"1E+2",
    b"123.456e78",
    b"-123123.5e-10",
    b"-0.000000000000000000000000000000000000000000000000000000000000000000000000000001",
    b"123456789012345678901234567890",
    b"true",
    b"false",
    b"null",
    b"\"\"",
    b"\" \"",
    b"\"a/*b*/c/*d//e\"",
    b"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    b"\"\\\\a\"",
    b"\"\\\\n\"",
    b"\"\\\\u0041\"",
    b"\"\\u0060\\u012a\\u12AB\"",
    b"\"\\u0012\"",
    b"\"\\uD801\\udc37\"",
    b"\"\\ud83d\\ude39\\ud83d\\udc8d\"",
    b"\"\\uDBFF\\uDFFF\"",
    b"\"\\uFFFF\"",
    b"\"\\uFDD0\"",
    b"\"\\u2028\\u2029\"",
    "\"\u{7f}\"".as_bytes(),
    "\"\u{2028}\u{2029}\"".as_bytes(),
    "\"é€𝄞\"".as_bytes(),
    "\"\u{10ffff}\"".as_bytes(),
    "\"\u{feff}\"".as_bytes(),
    "{\"é\":\"\u{e000}\"}".as_bytes(),
];

/// Text that is not.
const INVALID: &[&[u8]] = &[
    b"",
    b" ",
    b"[1 true]",
    b"[a\xe5]",
    b"[\"\":1]",
    b"[\"\"],",
    b"[,1]",
    b"[1,,2]",
    b"[\"x\",,]",
    b"[\"x\"]]",
    b"[\"\",]",
    b"[\"x\"",
    b"[x",
    b"[3[4]]",
    b"[\xff]",
    b"[1:2]",
    b"[,]",
    b"[-]",
    b"[   , \"\"]",
    b"[\"a\",\n4\n,1,",
    b"[1,]",
    b"[\"\x0ba\"\\f]",
    b"[*]",
    b"[\"\"",
    b"[{}",
    b"[fals]",
    b"[nul]",
    b"[tru]",
    b"truefalse",
    b"True",
    b"++1234",
    b"+1",
    b"+Inf",
    b"-01",
    b"-1.0.",
    b"-2.",
    b"-NaN",
    b".-1",
    b".2e-3",
    b"0.1.2",
    b"0.3e+",
    b"0.3e",
    b"0.e1",
    b"0E+",
    b"0E",
    b"1.0e-",
    b"1 000",
    b"1eE2",
    b"2.e3",
    b"9.e+",
    b"Inf",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    "\u{ff11}".as_bytes(),
    b"1+2",
    b"0x1",
    b"0x42",
    b"0e+-1",
    b"-123.123foo",
    b"123\xe5",
    b"1e1\xe5",
    b"-foo",
    b"- 1",
    b"-012",
    b"-.123",
    b"1ea",
    b"1.",
    b".123",
    b"1.2a-3",
    b"1.8011670033376514H-308",
    b"012",
    b"{\"x\", null}",
    b"{\"x\"::\"b\"}",
    "{🇨🇭}".as_bytes(),
    b"{\"a\":\"a\" 123}",
    b"{key: 'value'}",
    b"{\"\xb9\":\"0\",}",
    b"{\"a\" b}",
    b"{:\"b\"}",
    b"{\"a\" \"b\"}",
    b"{\"a\":",
    b"{\"a\"",
    b"{1:1}",
    b"{9999E9999:1}",
    b"{null:null,null:null}",
    b"{\"id\":0,,,,,}",
    b"{'a':0}",
    b"{\"id\":0,}",
    b"{\"a\":\"b\"}/**/",
    b"{\"a\":\"b\"}//",
    b"{\"a\":\"b\",,\"c\":\"d\"}",
    b"{a: \"b\"}",
    b"{\"a\":\"a",
    b"{ \"foo\" : \"bar\", \"a\" }",
    b"{\"a\":\"b\"}#",
    b"\"\\uD800\\\"",
    b"\"\\uD800\\u\"",
    b"\"\\uD800\\u1\"",
    b"\"\\uD800\\u1x\"",
    "é".as_bytes(),
    b"\"\\\0\"",
    b"\"\\x00\"",
    b"\"\\\\\\\"",
    b"\"\\\t\"",
    "\"\\🌀\"".as_bytes(),
    b"\"\\",
    b"\"\\u00A\"",
    b"\"\\uD834\\uDd\"",
    b"\"\\a\"",
    b"\"\\uqqqq\"",
    b"\"\\\xe5\"",
    b"\\u0020\"x\"",
    b"\\n",
    b"\"",
    b"'single'",
    b"abc",
    b"\"a\0a\"",
    b"\"new\nline\"",
    b"\"\t\"",
    b"\"\\UA66D\"",
    b"\"\"x",
    "\u{2060}1".as_bytes(),
    b"<.>",
    b"[<null>]",
    b"[1]x",
    b"[1]]",
    b"[\"asd]",
    "aå".as_bytes(),
    b"]",
    b"{\"x\": true,",
    b"[][]",
    b"[\0]",
    b"2@",
    b"{}}",
    b"{\"\":",
    b"{\"a\":/*comment*/\"b\"}",
    b"['",
    b"[,",
    b"[{",
    b"[\"a",
    b"{]",
    b"{,",
    b"{[",
    b"{\"a",
    b"{'a'",
    b"[\"\\{[\"\\{[\"\\{[\"\\{",
    b"*",
    b"1\x0c",
    b"\xef\xbb\xbf1",
    b"\xfe\xff\0\"\0a\0\"",
];

/// Text that the RFC leaves open: whether `json` takes it, and `jsonb`.
const OPEN: &[(&[u8], bool, bool)] = &[
    (
        b"0.4e00669999999999999999999999999999999999999999999999999999999999999999999999",
        true,
        false,
    ),
    (b"-1e+9999", true, true),
    (b"1e131072", true, false),
    (b"1.5e+9999", true, true),
    (b"123.456e-789", true, true),
    (b"123e-10000000", true, false),
    (b"-123123123123123123123123123123", true, true),
    (b"{\"\\uDFAA\":0}", true, false),
    (b"\"\\uDADA\"", true, false),
    (b"\"\\uD888\\u1234\"", true, false),
    (b"\"\\uD800\\n\"", true, false),
    (b"\"\\uD800\\uD800\\n\"", true, false),
    (b"\"\\uDd1e\\uD834\"", true, false),
    (b"\"\\uDFAA\"", true, false),
    (b"\"\\u0000\"", true, false),
    (b"{\"foo\\u0000bar\":42}", true, false),
    (b"\"\xe6\x97\xa5\xd1\x88\xfa\"", false, false),
    (b"\"\xed\xa0\x80\"", false, false),
    (b"\"\xff\"", false, false),
    (b"\"\x81\"", false, false),
    (b"\"\xf4\xbf\xbf\xbf\"", false, false),
    (b"\"\xc0\xaf\"", false, false),
    (b"\"\xfc\x83\xbf\xbf\xbf\xbf\"", false, false),
    (b"\"\xfc\x80\x80\x80\x80\x80\"", false, false),
    (b"\"\xe0\xff\"", false, false),
];

/// Whether the text reaches a `json` and a `jsonb` column, and is then the text that was sent.
fn is_taken(text: &[u8]) -> [bool; 2] {
    let payload = [b"{\"v\":", text, b"}"].concat();
    let record = Record {
        topic: "t",
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        value: Some(&payload),
        headers: None,
    };
    [ColumnType::Json, ColumnType::Jsonb].map(|column_type| {
        let version = usize::from(column_type == ColumnType::Jsonb);
        let column = Column {
            name: "v".to_owned(),
            column_type,
            not_null: false,
            has_default: false,
            reading: Reading::default(),
            feed: Feed::Field(0),
            fallback: None,
        };
        let mut encoder = RowEncoder::new(vec![column]).unwrap();
        let mut spans = [Span::ABSENT];
        if JsonFormat::new(&["v".into()]).decode(&record, &mut spans).is_err() {
            return false;
        }
        let row = Row::new(&payload, &spans, Change::Put);
        let mut out = Vec::new();
        if encoder.encode(&record, &row, encoder.absent(&row), &mut out).is_err() {
            return false;
        }
        let sent = text.trim_ascii();
        assert!(sent == b"null" || out[6 + version..] == *sent, "{}", text.escape_ascii());
        true
    })
}

#[test]
fn json_is_taken_as_the_rfc_has_it_and_as_postgres_does() {
    let url = postgres().create_database("conformance").unwrap();
    let sql = stack::Client::connect(&url).unwrap();
    sql.execute(
        "CREATE FUNCTION reads(t text, x bytea) RETURNS bool AS $$ BEGIN \
         IF t = 'json' THEN PERFORM convert_from(x, 'UTF8')::json; \
         ELSE PERFORM convert_from(x, 'UTF8')::jsonb; END IF; RETURN true; \
         EXCEPTION WHEN others THEN RETURN false; END $$ LANGUAGE plpgsql",
    )
    .unwrap();
    let theirs = |text: &[u8]| {
        let hex: String = text.iter().map(|byte| format!("{byte:02x}")).collect();
        ["json", "jsonb"].map(|column_type| {
            let ask = format!("SELECT reads('{column_type}', '\\x{hex}')::int");
            sql.query_one_i64(&format!("SELECT ({ask})::bigint")).unwrap() == 1
        })
    };
    let valid = VALID.iter().map(|text| (*text, [true, true]));
    let invalid = INVALID.iter().map(|text| (*text, [false, false]));
    let open = OPEN.iter().map(|(text, json, jsonb)| (*text, [*json, *jsonb]));
    for (text, expected) in valid.chain(invalid).chain(open) {
        assert_eq!(is_taken(text), expected, "{}", text.escape_ascii());
        assert_eq!(theirs(text), expected, "Postgres: {}", text.escape_ascii());
    }
}

#[test]
fn nesting_ends_at_128_levels_the_record_itself_included() {
    let nested = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
    assert_eq!(is_taken(&nested(127)), [true, true]);
    assert_eq!(is_taken(&nested(128)), [false, false]);
    assert_eq!(is_taken(&vec![b'['; 100_000]), [false, false]);
    assert_eq!(is_taken(&b"[{\"\":".repeat(50_000)), [false, false]);
}
