use super::*;

#[test]
fn json_is_the_text_as_it_stands() {
    for value in ["1.50", "true", "\"a\\n\\u00e9\"", "\"\"", "[1, 2 ]", r#"{"a":{"b":null}}"#] {
        assert_eq!(encode(ColumnType::Json, value), Ok(value.as_bytes().to_vec()));
        let binary = [b"\x01", value.as_bytes()].concat();
        assert_eq!(encode(ColumnType::Jsonb, value), Ok(binary));
    }
}

#[test]
fn jsonb_refuses_what_it_cannot_hold_and_json_takes_it() {
    for value in [
        r#""\u0000""#,
        r#"["\u0000"]"#,
        r#"{"\u0000":1}"#,
        r#"["a\\\u0000"]"#,
        r#"["\ud800"]"#,
        r#"["\ud800\\udc00"]"#,
        r#"["\"","\udc00"]"#,
    ] {
        assert!(encode(ColumnType::Json, value).is_ok(), "{value}");
        let rejection = encode(ColumnType::Jsonb, value).unwrap_err();
        assert_eq!(rejection.reason, Reason::InvalidCharacter, "{value}");
    }
    for value in ["1e131072", "[1E-16384]", r#"{"a":-1e999999}"#] {
        assert!(encode(ColumnType::Json, value).is_ok(), "{value}");
        refused(ColumnType::Jsonb, value, Reason::OutOfRange, "json holds it");
    }
    let long = format!("[{}]", "1".repeat(131_073));
    refused(ColumnType::Jsonb, &long, Reason::OutOfRange, "json holds it");
}

#[test]
fn jsonb_minds_the_parity_of_backslashes_and_what_stands_in_strings() {
    for value in [
        r#""\\u0000""#,
        r#"["\\\\u0000"]"#,
        r#"["\\ud800"]"#,
        r#"["\ud83d\ude00"]"#,
        r#"["1e999999","\"1e999999"]"#,
        "[1e131071,-1.5e-16382,0e99999999]",
    ] {
        assert!(encode(ColumnType::Jsonb, value).is_ok(), "{value}");
    }
}

#[test]
fn bytes_become_json_only_when_they_are_json() {
    for column_type in [ColumnType::Json, ColumnType::Jsonb] {
        assert!(encode_bytes(&column_type, b" [1,\"\xc3\xa9\"] ").is_ok());
        for bytes in [&b""[..], b"{", b"1 2", b"\"\xff\"", b"nul"] {
            let rejection = encode_bytes(&column_type, bytes).unwrap_err();
            assert_eq!(rejection.reason, Reason::Malformed, "{bytes:?}");
        }
    }
    assert!(encode_bytes(ColumnType::Json, br#""\u0000""#).is_ok());
    assert!(encode_bytes(ColumnType::Jsonb, br#""\u0000""#).is_err());
}
