use super::*;

const TEXT: ColumnType = ColumnType::Text { max_chars: None };

fn varchar(max_chars: u32) -> ColumnType {
    ColumnType::Text { max_chars: Some(max_chars) }
}

#[test]
fn strings_lose_their_escapes_and_other_values_are_their_json() {
    for (value, text) in [
        (r#""""#, ""),
        (r#""plain""#, "plain"),
        (r#""a\n\"\\\/\u00e9\ud83d\ude00z""#, "a\n\"\\/é😀z"),
        ("1.50", "1.50"),
        ("true", "true"),
        ("false", "false"),
        (r#"[1, "a\n"]"#, r#"[1, "a\n"]"#),
    ] {
        assert_eq!(encode(TEXT, value), Ok(text.as_bytes().to_vec()), "{value}");
    }
}

#[test]
fn characters_that_postgres_cannot_store_are_refused() {
    refused(TEXT, r#""a\u0000""#, Reason::InvalidCharacter, "U+0000");
    refused(TEXT, r#""a\ud800b""#, Reason::InvalidCharacter, "\\ud800 is half");
    refused(ColumnType::Uuid, r#""\u0000""#, Reason::InvalidCharacter, "U+0000");
    let rejection = encode_bytes(TEXT, b"a\0").unwrap_err();
    assert_eq!(rejection.reason, Reason::InvalidCharacter);
    let rejection = encode_bytes(TEXT, b"a\xff").unwrap_err();
    assert_eq!(rejection.reason, Reason::InvalidText);
    assert_eq!(encode_bytes(TEXT, "é".as_bytes()), Ok("é".as_bytes().to_vec()));
}

#[test]
fn varchar_counts_characters_and_does_not_cut_spaces() {
    assert!(encode(varchar(3), "\"é€😀\"").is_ok());
    assert!(encode(varchar(1), r#""\ud83d\ude00""#).is_ok());
    assert!(encode(varchar(4), "true").is_ok());
    for value in ["\"abcd\"", "\"abc \"", r#""abc\n""#, "1000", "[12]", "false"] {
        refused(varchar(3), value, Reason::OutOfRange, "varchar(3) holds 3");
    }
    assert_eq!(encode_bytes(varchar(3), b"abcd").unwrap_err().reason, Reason::OutOfRange);
}

#[test]
fn uuids_are_read_in_their_usual_forms() {
    let bytes: Vec<u8> = (0..16).map(|i| i * 17).collect();
    for text in [
        "00112233-4455-6677-8899-aabbccddeeff",
        "00112233445566778899aabbccddeeff",
        "{00112233-4455-6677-8899-AABBCCDDEEFF}",
        "00112233445566778899AABBCCDDEEFF",
    ] {
        assert_eq!(encode(ColumnType::Uuid, &format!("\"{text}\"")), Ok(bytes.clone()), "{text}");
    }
    for text in [
        "",
        "00112233-4455-6677-8899-aabbccddeef",
        "00112233-4455-6677-8899-aabbccddeefg",
        "0011223344556677-8899-aabb-ccddeeff-1",
        "00112233+4455+6677+8899+aabbccddeeff",
        "{00112233-4455-6677-8899-aabbccddeeff",
        "é0112233-4455-6677-8899-aabbccddeef",
    ] {
        refused(ColumnType::Uuid, &format!("\"{text}\""), Reason::InvalidText, "expected 32 hex");
    }
    refused(ColumnType::Uuid, "1", Reason::WrongType, "expected 32 hex");
}

#[test]
fn bytea_is_hexadecimal_or_base64() {
    for (text, bytes) in [
        (r"\\x", &b""[..]),
        (r"\\x00fFa0", b"\x00\xff\xa0"),
        ("", b""),
        ("Zg==", b"f"),
        ("Zg", b"f"),
        ("Zm8=", b"fo"),
        ("Zm8", b"fo"),
        ("Zm9v", b"foo"),
        ("-_+/", b"\xfb\xff\xbf"),
    ] {
        assert_eq!(encode(ColumnType::Bytea, &format!("\"{text}\"")), Ok(bytes.to_vec()), "{text}");
    }
    for text in
        [r"\\x0", r"\\xzz", "Zg=", "Z", "Zg===", "Zh==", "Zm9=", "Zg==Zg==", "Z m9v", "é==="]
    {
        refused(ColumnType::Bytea, &format!("\"{text}\""), Reason::InvalidText, "expected");
    }
    refused(ColumnType::Bytea, "1", Reason::WrongType, "expected a string");
    assert_eq!(encode_bytes(ColumnType::Bytea, b"\\x00\xff"), Ok(b"\\x00\xff".to_vec()));
}

proptest! {
    #[test]
    fn texts_come_back_as_serde_json_wrote_them(text in any::<String>(), max in 0_u32..20) {
        let json = serde_json::to_string(&text).unwrap();
        let result = encode(TEXT, &json);
        if text.contains('\0') {
            prop_assert_eq!(result.unwrap_err().reason, Reason::InvalidCharacter);
            return Ok(());
        }
        prop_assert_eq!(result.unwrap(), text.as_bytes());
        let fits = text.chars().count() <= max as usize;
        prop_assert_eq!(encode(varchar(max), &json).is_ok(), fits);
        prop_assert_eq!(encode_bytes(varchar(max), text.as_bytes()).is_ok(), fits);
    }

    #[test]
    fn bytes_come_back_from_hexadecimal(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        prop_assert_eq!(encode(ColumnType::Bytea, &format!("\"\\\\x{digits}\"")).unwrap(), bytes);
    }
}
