use super::*;
use crate::row::{Row, Span, Value};

fn options() -> CsvOptions {
    CsvOptions {
        fields: ["a", "b", "c"].map(str::to_owned).to_vec(),
        delimiter: b',',
        quote: b'"',
        null: String::new(),
        ragged: false,
    }
}

/// What the three fields of a line are, in the notation of JSON.
fn read(options: &CsvOptions, line: &[u8]) -> Result<[String; 3], Rejection> {
    let mut format = csv(options, &["a".into(), "b".into(), "c".into()]);
    let record = Record {
        topic: "t",
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: Some(b"1,2,3"),
        value: Some(line),
        headers: None,
    };
    let mut spans = [Span::ABSENT; 3];
    let change = format.decode(&record, &mut spans)?;
    let row = Row::new(format.text(&record), &spans, change);
    let show = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ok([0, 1, 2].map(|index| match row.get(index) {
        Value::Absent => "absent".to_owned(),
        Value::Null => "null".to_owned(),
        Value::Text { raw, .. } => format!("\"{}\"", show(raw)),
        Value::Document(text) => show(text),
        other => panic!("{other:?}"),
    }))
}

#[test]
fn cells_are_strings_nulls_or_documents() {
    let cells = read(&options(), b"42,, x y \r\n").unwrap();
    assert_eq!(cells, ["\"42\"", "null", "\" x y \""]);
    let cells = read(&options(), b"\"\",\"say \"\"hi\"\",\nthen\",\"{\"\"k\"\":[1]}\"").unwrap();
    assert_eq!(cells, ["\"\"", r#""say \"hi\",\u000athen""#, r#"{"k":[1]}"#]);
    // No JSON, though it begins so: Postgres' own notation of arrays, say.
    assert_eq!(read(&options(), b"{1;2},[x,{").unwrap(), ["\"{1;2}\"", "\"[x\"", "\"{\""]);
}

#[test]
fn delimiter_quote_and_null_text_are_what_the_options_say() {
    let options =
        CsvOptions { delimiter: b'\t', quote: b'\'', null: r"\N".to_owned(), ..options() };
    assert_eq!(read(&options, b"\\N\t\t'\\N'").unwrap(), ["null", "\"\"", r#""\\N""#]);
    assert_eq!(
        read(&options, "é,\"\t'it''s'\t".as_bytes()).unwrap()[..2],
        [r#""é,\"""#, "\"it's\""]
    );
}

#[test]
fn a_line_of_another_length_is_refused_unless_that_is_allowed() {
    let short = read(&options(), b"1,2").unwrap_err();
    assert!(short.message.contains("2 cells") && short.message.contains("ragged"), "{short}");
    read(&options(), b"1,2,3,4").unwrap_err();
    read(&options(), b"").unwrap_err();
    let ragged = CsvOptions { ragged: true, ..options() };
    assert_eq!(read(&ragged, b"1,2").unwrap(), ["\"1\"", "\"2\"", "absent"]);
    assert_eq!(read(&ragged, b"1,2,3,4").unwrap(), ["\"1\"", "\"2\"", "\"3\""]);
    assert_eq!(read(&ragged, b"").unwrap(), ["null", "absent", "absent"]);
}

#[test]
fn what_is_no_line_says_where() {
    for (line, problem) in [
        (&b"1,2\"3,4"[..], "byte 3: a quote inside"),
        (b"1,\"2\"3,4", "byte 5: something between"),
        (b"1,\"2,3", "byte 6: the end of the line"),
        (b"1,2,3\n4,5,6", "byte 5: a second line"),
        (b"1,\xff,3", "byte 2: not UTF-8"),
    ] {
        let rejection = read(&options(), line).unwrap_err();
        assert_eq!(rejection.reason, Reason::Malformed);
        assert!(rejection.message.contains(problem), "{rejection}");
    }
}
