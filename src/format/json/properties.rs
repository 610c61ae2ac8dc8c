//! Random payloads, read as serde_json reads them.

use proptest::prelude::*;

use super::{
    tests::{FIELDS, LEARNT, format, record},
    *,
};
use crate::row::{Row, Value};

/// JSON with every construct, white space and doubled keys; no lone surrogates, which serde_json
/// refuses already as grammar.
fn json() -> impl Strategy<Value = String> {
    let number = r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?";
    let text = r#"([ -!#-\[\]-~é€😀]|\\["\\/bfnrt]|\\u00[0-9a-fA-F]{2}|\\ud83d\\uDE00){0,12}"#;
    let space = "[ \n\r\t]{0,2}";
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        number,
        text.prop_map(|text| format!("\"{text}\"")),
    ];
    let key = prop_oneof![
        Just("a".to_owned()),
        Just(r"\u0061".to_owned()),
        Just("b".to_owned()),
        Just("long_field_name".to_owned()),
        Just("é".to_owned()),
        text
    ];
    let value = leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec((space, inner.clone(), space), 0..6).prop_map(|values| {
                let values: Vec<_> = values.iter().map(|(l, v, r)| format!("{l}{v}{r}")).collect();
                format!("[{}]", values.join(","))
            }),
            object(key.clone(), inner),
        ]
    });
    let key = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("long_field_name".to_owned()),
        Just("é".to_owned()),
        text
    ];
    (space, object(key, value), space).prop_map(|(left, value, right)| left + &value + &right)
}

fn object(
    key: impl Strategy<Value = String>,
    value: impl Strategy<Value = String>,
) -> impl Strategy<Value = String> {
    let space = "[ \n\r\t]{0,1}";
    prop::collection::vec((key, space, space, value, space), 0..6).prop_map(|members| {
        let members: Vec<String> =
            members.iter().map(|(k, s, t, v, u)| format!("\"{k}\"{s}:{t}{v}{u}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

/// Compares with serde_json: what is accepted, and the values that the spans mark.
fn agrees_with_serde_json(format: &mut JsonFormat, payload: &[u8]) -> Result<(), TestCaseError> {
    let mut spans = [Span::ABSENT; FIELDS.len()];
    let ours = format.decode(&record(Some(payload)), &mut spans);
    let theirs = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(payload);
    let Ok(theirs) = theirs else {
        let error = theirs.unwrap_err().to_string();
        // Range and surrogates are the business of the column, not of the grammar.
        let semantic = error.contains("number out of range") || error.contains("surrogate")
            // What serde_json says of half a pair.
            || error.contains("unexpected end of hex escape");
        prop_assert!(ours.is_err() || semantic, "accepted, but serde_json says: {}", error);
        return Ok(());
    };
    prop_assert!(ours.is_ok(), "{:?}, but serde_json accepts", ours);
    let row = Row::new(payload, &spans, Change::Put);
    for (index, name) in FIELDS.iter().enumerate() {
        let text = match row.get(index) {
            Value::Absent => None,
            Value::Null => Some(b"null".to_vec()),
            Value::Bool(value) => Some(value.to_string().into_bytes()),
            Value::Number(text) | Value::Nested(text) => Some(text.to_vec()),
            Value::Bytes(_) | Value::Plain(_) | Value::Document(_) => unreachable!("not in JSON"),
            Value::Text { raw, escaped } => {
                prop_assert_eq!(escaped, raw.contains(&b'\\'));
                Some([b"\"", raw, b"\""].concat())
            }
        };
        let ours = text.map(|text| serde_json::from_slice::<serde_json::Value>(&text).unwrap());
        prop_assert_eq!(ours.as_ref(), theirs.get(*name), "field {}", name);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn json_is_read_as_serde_json_reads_it(payloads in prop::collection::vec(json(), 1..4)) {
        let mut format = format(&FIELDS);
        for payload in payloads.iter().flat_map(|payload| [payload; LEARNT]) {
            agrees_with_serde_json(&mut format, payload.as_bytes())?;
        }
    }

    #[test]
    fn broken_json_is_refused_as_serde_json_refuses_it(
        payload in json(),
        mutations in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..3, prop_oneof![any::<u8>(), prop::sample::select(
                &b"{}[],:\"\\ \n0123456789+-.eEtrufalsn\xc3\xa9\xe2\x82"[..])]),
            1..4,
        ),
    ) {
        let mut format = format(&FIELDS);
        for _ in 0..LEARNT {
            format.decode(&record(Some(payload.as_bytes())), &mut [Span::ABSENT; FIELDS.len()]).ok();
        }
        let mut bytes = payload.into_bytes();
        for (index, action, byte) in mutations {
            let at = index.index(bytes.len());
            match action {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ if bytes.len() > 1 => { bytes.remove(at); }
                _ => {}
            }
        }
        agrees_with_serde_json(&mut format, &bytes)?;
    }

    #[test]
    fn unescaped_text_is_what_serde_json_makes_of_it(text in any::<String>(), ascii in any::<bool>()) {
        let mut json = serde_json::to_string(&text).unwrap();
        if ascii {
            json = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            json = format!("\"{json}\"");
        }
        validate(json.as_bytes()).unwrap();
        let raw = &json.as_bytes()[1..json.len() - 1];
        let mut out = Vec::new();
        let result = unescape(raw, &mut out);
        prop_assert_eq!(check(raw), result);
        if text.contains('\0') {
            prop_assert_eq!(result, Err(BadEscape::Null));
        } else {
            prop_assert_eq!(result, Ok(()));
            prop_assert_eq!(out, text.into_bytes());
        }
    }

    #[test]
    fn a_break_is_found_as_byte_by_byte(bytes in prop::collection::vec(
        prop_oneof![any::<u8>(), prop::sample::select(&b"\"\\\x1f \x80\xa2\xdc!]"[..])], 0..40)) {
        let slow = bytes.iter().position(|&b| b < b' ' || b == b'"' || b == b'\\');
        let mut seen = 0;
        let at = find_break(&bytes, 0, &mut seen);
        prop_assert_eq!(at, slow.unwrap_or(bytes.len()));
        prop_assert!(bytes[..at].is_ascii() || seen & 0x8080_8080_8080_8080 != 0);
    }
}
