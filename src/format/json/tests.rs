use std::sync::Arc;

use super::*;
use crate::{
    row::{Row, Value},
    selector::Pointer,
};

pub(super) const FIELDS: [&str; 4] = ["a", "b", "long_field_name", "é"];

pub(super) fn record(payload: Option<&[u8]>) -> Record<'_> {
    Record {
        topic: "t",
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        value: payload,
        headers: None,
    }
}

pub(super) fn format(fields: &[&str]) -> JsonFormat {
    JsonFormat::new(&fields.iter().map(|&field| field.into()).collect::<Vec<_>>())
}

/// After so many records with the same text between their values, the last was compared with it.
pub(super) const LEARNT: usize = 3;

fn decode(payload: &[u8]) -> Result<[Span; FIELDS.len()], Rejection> {
    let mut spans = [Span::ABSENT; FIELDS.len()];
    format(&FIELDS).decode(&record(Some(payload)), &mut spans).map(|_| spans)
}

fn fault(payload: &[u8]) -> String {
    let rejection = decode(payload).unwrap_err();
    assert_eq!(rejection.reason, Reason::Malformed);
    rejection.message
}

#[test]
fn fields_are_found_with_their_kinds() {
    let payload = r#" { "x" : [1,{"a":2}] , "a" : -1.5e+3 ,"long_field_name":"q\"", "é":null } "#;
    let spans = decode(payload.as_bytes()).unwrap();
    let row = Row::new(payload.as_bytes(), &spans, Change::Put);
    assert_eq!(row.get(0), Value::Number(b"-1.5e+3"));
    assert_eq!(row.get(1), Value::Absent);
    assert_eq!(row.get(2), Value::Text { raw: br#"q\""#, escaped: true });
    assert_eq!(row.get(3), Value::Null);
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    let spans = decode(br#"{"a":1,"b":2,"a":{"b":3}}"#).unwrap();
    let row = Row::new(br#"{"a":1,"b":2,"a":{"b":3}}"#, &spans, Change::Put);
    assert_eq!(row.get(0), Value::Nested(br#"{"b":3}"#));
    assert_eq!(row.get(1), Value::Number(b"2"));
}

#[test]
fn a_key_with_escapes_is_its_field() {
    let payload = br#"{"\u0061":true,"\u00E9":false,"\ud800":1,"\u0000":2}"#;
    let spans = decode(payload).unwrap();
    assert_eq!(spans.map(|span| span.kind), [Kind::True, Kind::Absent, Kind::Absent, Kind::False]);
}

#[test]
fn what_was_learnt_of_a_name_with_a_quote_lets_nothing_through() {
    let mut format = format(&[r#"a"b"#, r"c\n"]);
    let mut spans = [Span::ABSENT; 2];
    let good = br#"{"a\"b":1,"c\\n":2,"long":"enough"}"#;
    for _ in 0..LEARNT {
        format.decode(&record(Some(good)), &mut spans).unwrap();
        assert_eq!(spans.map(|span| span.kind), [Kind::Number; 2]);
    }
    format.decode(&record(Some(br#"{"a"b":1,"long":"enough"}"#)), &mut spans).unwrap_err();
    format.decode(&record(Some(br#"{"a\"b":1,"c\n":2,"long":"enough"}"#)), &mut spans).unwrap();
    assert_eq!(spans.map(|span| span.kind), [Kind::Number, Kind::Absent]);
}

#[test]
fn fields_are_found_in_any_order_and_after_another_order() {
    let names: Vec<String> = (0..100).map(|i| format!("field_{i}_{}", "x".repeat(i % 7))).collect();
    let mut format = format(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut spans = vec![Span::ABSENT; names.len()];
    for step in [1, 99, 37, 1, 3].into_iter().flat_map(|step| [step; LEARNT]) {
        let members: Vec<String> = (0..names.len())
            .map(|i| (i * step) % names.len())
            .flat_map(|i| [format!("\"{}\":{i}", names[i]), format!("\"unknown_{i}\":0")])
            .collect();
        let payload = format!("{{{}}}", members.join(","));
        format.decode(&record(Some(payload.as_bytes())), &mut spans).unwrap();
        let row = Row::new(payload.as_bytes(), &spans, Change::Put);
        for i in 0..names.len() {
            assert_eq!(row.get(i), Value::Number(i.to_string().as_bytes()));
        }
    }
}

#[test]
fn a_field_that_is_left_out_is_absent_though_the_last_record_had_it() {
    let mut format = format(&FIELDS);
    let mut spans = [Span::ABSENT; FIELDS.len()];
    for _ in 0..LEARNT {
        format.decode(&record(Some(br#"{"a":1,"b":2,"long_field_name":3}"#)), &mut spans).unwrap();
    }
    format.decode(&record(Some(br#"{"a":1,"long_field_name":3}"#)), &mut spans).unwrap();
    assert_eq!(spans[1], Span::ABSENT);
    assert_eq!(spans[2].kind, Kind::Number);
}

#[test]
fn a_tombstone_deletes_the_row_of_its_key() {
    let found = |key: &'static [u8]| {
        let tombstone = Record { key: Some(key), ..record(None) };
        let mut format = format(&FIELDS);
        let mut spans = [Span { kind: Kind::True, ..Span::ABSENT }; FIELDS.len()];
        let change = format.decode(&tombstone, &mut spans).unwrap();
        assert_eq!(change, Change::Delete);
        let row = Row::new(format.text(&tombstone), &spans, change);
        format!("{:?} {:?}", row.get(0), row.get(1))
    };
    assert_eq!(found(br#"{"a":7,"k":8}"#), format!("{:?} Absent", Value::Number(b"7")));
    // A key that is no object has no fields, also where it begins like one.
    assert_eq!(found(br#"{"a":7,"#), "Absent Absent");
    assert_eq!(found(b"7"), "Absent Absent");
    assert_eq!(format(&FIELDS).decode(&record(None), &mut []).unwrap(), Change::Delete);
}

#[test]
fn what_is_no_object_is_named() {
    assert_eq!(fault(b""), "empty payload");
    for (payload, found) in [
        (&b" [1]"[..], "an array at byte 1"),
        (b"\"x\"", "a string at byte 0"),
        (b"-1", "a number at byte 0"),
        (b"null", "null at byte 0"),
        (b"false", "a boolean at byte 0"),
        (b"\xef\xbb\xbf{}", "a UTF-8 byte order mark at byte 0"),
    ] {
        assert_eq!(fault(payload), format!("expected a JSON object, found {found}"));
    }
    assert_eq!(fault(b"hello"), "invalid JSON at byte 0: expected a JSON object, found `hello`");
    assert_eq!(fault(b"  "), "invalid JSON at byte 2: expected a JSON object, found the end");
}

#[test]
fn a_message_shows_the_place_and_not_the_payload() {
    let message = fault(b"{\"a\": secret\xff\n0123456789012345678901234567890}");
    assert_eq!(
        message,
        "invalid JSON at byte 6: expected a value, found `secret\\xff\\n012345678901`"
    );
}

/// (payload, what is said; empty: accepted)
const CASES: &[(&str, &str)] = &[
    ("{}", ""),
    (" \t\r\n{} \t\r\n", ""),
    ("{ }", ""),
    (r#"{"":0}"#, ""),
    (r#"{"x":0}"#, ""),
    (r#"{"x":-0}"#, ""),
    (r#"{"x":-0.0e-0}"#, ""),
    (r#"{"x":1E400}"#, ""),
    (r#"{"x":123456789012345678901234567890}"#, ""),
    (r#"{"x":[[],{},[{}],""]}"#, ""),
    (r#"{"x":"\"\\\/\b\f\n\r\t\u00e9"}"#, ""),
    (r#"{"x":"\ud83d\ude00"}"#, ""),
    (r#"{"x":"\ud800"}"#, ""),
    (r#"{"x":"\u0000"}"#, ""),
    ("{\"x\":\"\u{7f}\u{2028}\"}", ""),
    (r#"{"x" : 1 , "y" : [ 1 , 2 ] }"#, ""),
    ("{", "byte 1: expected a field name in quotes"),
    ("{}}", "byte 2: expected the end"),
    ("{}{}", "byte 2: expected the end"),
    ("{}//", "byte 2: expected the end"),
    ("{}\0", "byte 2: expected the end"),
    ("\u{a0}{}", "byte 0: expected a JSON object"),
    ("\x0c{}", "byte 0: expected a JSON object"),
    ("{,}", "byte 1: expected a field name in quotes"),
    ("{x:1}", "byte 1: expected a field name in quotes"),
    ("{'x':1}", "byte 1: expected a field name in quotes"),
    ("{1:1}", "byte 1: expected a field name in quotes"),
    (r#"{"x"}"#, "byte 4: expected ':' after the field name"),
    (r#"{"x",}"#, "byte 4: expected ':' after the field name"),
    (r#"{"x" 1}"#, "byte 5: expected ':' after the field name"),
    (r#"{"x":}"#, "byte 5: expected a value"),
    (r#"{"x":,}"#, "byte 5: expected a value"),
    (r#"{"x":1,}"#, "byte 7: expected a field name in quotes"),
    (r#"{"x":1 "y":2}"#, "byte 7: expected ',' or '}'"),
    (r#"{"x":1]"#, "byte 6: expected ',' or '}'"),
    (r#"{"x":1"#, "byte 6: expected ',' or '}'"),
    (r#"{"x":[1}"#, "byte 7: expected ',' or ']'"),
    (r#"{"x":[1,]}"#, "byte 8: expected a value"),
    (r#"{"x":[,1]}"#, "byte 6: expected a value"),
    (r#"{"x":[1 2]}"#, "byte 8: expected ',' or ']'"),
    (r#"{"x":["a":1]}"#, "byte 9: expected ',' or ']'"),
    (r#"{"x":{"y":1]}"#, "byte 11: expected ',' or '}'"),
    (r#"{"x":{"y"}}"#, "byte 9: expected ':' after the field name"),
    (r#"{"x":{"y":1,}}"#, "byte 12: expected a field name in quotes"),
    (r#"{"x":[{"#, "byte 7: expected a field name in quotes"),
    (r#"{"x":["#, "byte 6: expected a value"),
    (r#"{"x":+1}"#, "byte 5: expected a value"),
    (r#"{"x":.5}"#, "byte 5: expected a value"),
    (r#"{"x":-}"#, "byte 6: expected a digit"),
    (r#"{"x":-x}"#, "byte 6: expected a digit"),
    (r#"{"x":1.}"#, "byte 7: expected a digit"),
    (r#"{"x":1.e1}"#, "byte 7: expected a digit"),
    (r#"{"x":1e}"#, "byte 7: expected a digit"),
    (r#"{"x":1e+}"#, "byte 8: expected a digit"),
    (r#"{"x":01}"#, "byte 6: expected ',' or '}'"),
    (r#"{"x":-01}"#, "byte 7: expected ',' or '}'"),
    (r#"{"x":0x1}"#, "byte 6: expected ',' or '}'"),
    (r#"{"x":1_000}"#, "byte 6: expected ',' or '}'"),
    (r#"{"x":NaN}"#, "byte 5: expected a value"),
    (r#"{"x":-Infinity}"#, "byte 6: expected a digit"),
    (r#"{"x":True}"#, "byte 5: expected a value"),
    (r#"{"x":tru}"#, "byte 5: expected true, false or null"),
    (r#"{"x":nul"#, "byte 5: expected true, false or null"),
    (r#"{"x":truex}"#, "byte 9: expected ',' or '}'"),
    (r#"{"x":'a'}"#, "byte 5: expected a value"),
    (r#"{"x":"a}"#, "byte 8: expected a closing quote"),
    (r#"{"x":"a\"}"#, "byte 10: expected a closing quote"),
    (r#"{"x":"\"#, "byte 7: expected one of \"\\/bfnrtu after a backslash"),
    (r#"{"x":"\a"}"#, "byte 7: expected one of \"\\/bfnrtu after a backslash"),
    (r#"{"x":"\U0041"}"#, "byte 7: expected one of \"\\/bfnrtu after a backslash"),
    (r#"{"x":"\u12"}"#, "byte 10: expected 4 hexadecimal digits after \\u"),
    (r#"{"x":"\u12g4"}"#, "byte 10: expected 4 hexadecimal digits after \\u"),
    (r#"{"x":"\u+123"}"#, "byte 8: expected 4 hexadecimal digits after \\u"),
    ("{\"x\":\"a\nb\"}", "byte 7: expected control characters in a string to be escaped"),
    ("{\"x\":\"\0\"}", "byte 6: expected control characters in a string to be escaped"),
    ("{\"x\":\"12345678\t\"}", "byte 14: expected control characters in a string to be escaped"),
    ("{\"x\t\":1}", "byte 3: expected control characters in a string to be escaped"),
    (r#"{"x":1,"x"}"#, "byte 10: expected ':' after the field name"),
];

#[test]
fn the_grammar_is_the_strict_one() {
    for (payload, said) in CASES {
        match decode(payload.as_bytes()) {
            Ok(_) => assert_eq!(*said, "", "{payload:?} was accepted"),
            Err(rejection) => {
                let said = format!("invalid JSON at {said}, found ");
                let message = rejection.message;
                assert!(message.starts_with(&said), "{payload:?}: {message}");
            }
        }
    }
}

#[test]
fn every_payload_that_is_cut_short_is_refused() {
    let payload = r#"{"a":"é\u00e9","b":[1,{"c":null}],"long_field_name":-1.5e-7}"#.as_bytes();
    decode(payload).unwrap();
    for end in 0..payload.len() {
        decode(&payload[..end]).unwrap_err();
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_refused_where_they_stand() {
    for bad in [&b"\xff"[..], b"\xc0\xaf", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
        let payload = [br#"{"a":"0123456789"#, bad, br#"","b":1}"#].concat();
        let message = fault(&payload);
        assert!(message.starts_with("invalid JSON at byte 16: expected UTF-8"), "{message}");
        decode(&[br#"{""#, bad, br#"":1}"#].concat()).unwrap_err();
    }
}

#[test]
fn depth_is_limited_and_costs_no_stack() {
    let nested = |levels: usize| {
        format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1)).into_bytes()
    };
    decode(&nested(128)).unwrap();
    assert!(fault(&nested(129)).contains("at most 128 levels"));
    fault(&b"{\"a\":".repeat(1_000_000));
}

#[test]
fn every_byte_but_a_digit_ends_the_digits() {
    for length in 0..20 {
        for byte in 0..=255_u8 {
            for rest in [&b""[..], b"0", b"01234567"] {
                let text = [&b"90817263549081726354"[..length], &[byte], rest].concat();
                let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
                assert_eq!(words::find_non_digit(&text, 0), digits, "{text:?}");
            }
        }
    }
}

#[test]
fn half_a_surrogate_pair_is_no_character() {
    for raw in
        [r"\ud800", r"\udc00", r"\ud800x", r"\ud800\u0041", r"\ud83d\ud83d\ude00", r"\ud83d\"]
    {
        assert!(matches!(unescape(raw.as_bytes(), &mut Vec::new()), Err(BadEscape::Surrogate(_))));
        assert!(matches!(check(raw.as_bytes()), Err(BadEscape::Surrogate(_))));
    }
}

fn selected(selectors: &[Selector], payload: &str) -> Vec<String> {
    select(&mut JsonFormat::new(selectors), selectors.len(), payload)
}

/// The same by a format that may have seen other records.
fn select(format: &mut JsonFormat, selectors: usize, payload: &str) -> Vec<String> {
    let mut spans = vec![Span::ABSENT; selectors];
    let record = record(Some(payload.as_bytes()));
    let change = format.decode(&record, &mut spans).unwrap();
    let row = Row::new(format.text(&record), &spans, change);
    let show = |value| match value {
        Value::Number(text) | Value::Nested(text) | Value::Text { raw: text, .. } => {
            String::from_utf8(text.to_vec()).unwrap()
        }
        other => format!("{other:?}"),
    };
    (0..selectors).map(|index| show(row.get(index))).collect()
}

fn pointer(text: &str) -> Selector {
    Selector::Pointer(Pointer::parse(text).unwrap())
}

fn rest(except: &[&str]) -> Selector {
    let except = except.iter().map(|&name| name.to_owned()).collect();
    Selector::Rest { except: Arc::new(except) }
}

#[test]
fn pointers_lead_into_objects_and_arrays() {
    let payload =
        r#"{"x":{"y":[10, {"z":"deep"}], "a/b":1, "q\"":2, "y2":{}}, "e":[], "s":"text"}"#;
    for (path, value) in [
        ("/x/y/1/z", "deep"),
        ("/x/y/0", "10"),
        ("/x/a~1b", "1"),
        ("/x/q\"", "2"),
        ("/x/y2", "{}"),
        ("/x/y", r#"[10, {"z":"deep"}]"#),
        ("/s", "text"),
        ("/x/y/2", "Absent"),
        ("/x/y/01", "Absent"),
        ("/x/y/-", "Absent"),
        ("/x/no", "Absent"),
        ("/x/y2/no", "Absent"),
        ("/e/0", "Absent"),
        ("/s/0", "Absent"),
        ("/no/x", "Absent"),
    ] {
        assert_eq!(selected(&[pointer(path)], payload), [value], "{path}");
    }
}

#[test]
fn a_field_may_be_wanted_as_a_whole_and_in_parts() {
    let selectors = [pointer("/x/b"), "x".into(), pointer("/x/a"), "a".into()];
    let found = selected(&selectors, r#"{"x":{"a":1,"b":2,"a":3},"a":4}"#);
    assert_eq!(found, ["2", r#"{"a":1,"b":2,"a":3}"#, "3", "4"]);
    // The last of two equal fields counts, also for what is not in it.
    assert_eq!(selected(&selectors, r#"{"x":{"a":1,"b":2},"x":{"b":5}}"#)[2], "Absent");
}

#[test]
fn a_name_may_be_spelt_in_many_ways() {
    let spelling = |name: &str| Selector::Spelling(name.to_owned());
    let selectors = [spelling("order_id"), spelling("sku"), "Exact".into(), rest(&["order_id"])];
    let found = |payload| selected(&selectors, payload);
    for payload in [
        r#"{"order_id":1,"sku":2,"Exact":3}"#,
        r#"{"orderId":1,"SKU":2,"Exact":3}"#,
        r#"{"Order-ID":1,"s_k_u":2,"Exact":3,"exact":4}"#,
        r#"{"\u006frderID":1,"Sku":2,"Exact":3}"#,
    ] {
        assert_eq!(found(payload)[..3], ["1", "2", "3"], "{payload}");
    }
    // Somebody else may ask for one of the spellings.
    let both = [spelling("Total"), "total".into()];
    assert_eq!(selected(&both, r#"{"total":5}"#), ["5", "5"]);
    assert_eq!(selected(&both, r#"{"TOTAL":5}"#), ["5", "Absent"]);
    // The very name counts before another spelling of it, and for who asks for it alone.
    let both = [spelling("id"), "id".into(), "ID".into()];
    assert_eq!(selected(&both, r#"{"id":1,"ID":2}"#), ["1", "1", "2"]);
    assert_eq!(selected(&both, r#"{"ID":2,"id":1}"#), ["1", "1", "2"]);
    assert_eq!(selected(&both, r#"{"Id":3}"#), ["3", "Absent", "Absent"]);
    // What names a spelling for a reason of its own does not make it unknown.
    let filtered = [spelling("order_id"), "orderId".into(), rest(&["order_id"])];
    assert_eq!(selected(&filtered, r#"{"orderId":7}"#), ["7", "7", "Absent"]);
    // What is known in another spelling is not in the rest.
    assert_eq!(found(r#"{"orderId":1,"order":2}"#)[3], r#"{"order":2}"#);
    // The same format takes every spelling, whatever it saw before.
    let selectors = [spelling("order_id"), spelling("b")];
    let mut format = JsonFormat::new(&selectors);
    let mut spans = [Span::ABSENT; 2];
    for payload in [r#"{"orderId":1,"b":2}"#, r#"{"orderId":1,"B":2}"#, r#"{"order_id":1,"b":2}"#] {
        for _ in 0..2 {
            format.decode(&record(Some(payload.as_bytes())), &mut spans).unwrap();
            assert_eq!(spans.map(|span| span.kind), [Kind::Number; 2], "{payload}");
        }
    }
}

#[test]
fn keys_without_end_take_no_spelling_from_its_field() {
    let selectors = [Selector::Spelling("order_id".to_owned()), rest(&["order_id"])];
    let mut format = JsonFormat::new(&selectors);
    let long = "k".repeat(1000);
    for n in 0..3 * 256 {
        let id = ["order_id", "orderId", "ORDER_ID"][n % 3];
        let unknown = format!(r#""{}{n}":{n}"#, if n % 100 == 0 { &*long } else { "k" });
        let text = format!(r#"{{{unknown},"{id}":7}}"#);
        let found = select(&mut format, selectors.len(), &text);
        assert_eq!(found, ["7".to_owned(), format!("{{{unknown}}}")]);
    }
}

#[test]
fn the_rest_is_what_nobody_knows_as_it_stands() {
    let selectors = ["a".into(), rest(&["a", "skipped"]), pointer("/n/x"), rest(&["n"])];
    let found = selected(&selectors, r#"{"skipped":0,"b" : "q\"", "n":{"x":7},"a":1,"é":[1, 2]}"#);
    assert_eq!(found[0], "1");
    assert_eq!(found[1], r#"{"b" : "q\"","n":{"x":7},"é":[1, 2]}"#);
    assert_eq!(found[2], "7");
    assert_eq!(found[3], r#"{"skipped":0,"b" : "q\"","a":1,"é":[1, 2]}"#);
    assert_eq!(selected(&selectors, r#"{"a":1,"skipped":2}"#)[1], "Absent");
}
