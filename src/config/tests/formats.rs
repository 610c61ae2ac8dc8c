use super::{FULL, check, parse};
use crate::config::{CsvOptions, FormatKind};

const PIECE: &str = r#"format = "json""#;

fn format(text: &str) -> FormatKind {
    parse(&FULL.replacen(PIECE, text, 1)).unwrap().routes[0].format.clone()
}

#[test]
fn a_format_is_a_name_or_a_table_with_options() {
    assert_eq!(format("format = \"debezium\""), FormatKind::Debezium);
    assert_eq!(format("format = { kind = \"raw\" }"), FormatKind::Raw);
    let least = CsvOptions {
        fields: vec!["id".to_owned(), "name".to_owned()],
        delimiter: b',',
        quote: b'"',
        null: String::new(),
        ragged: false,
    };
    let text = "format = { kind = \"csv\", fields = [\"id\", \"name\"] }";
    assert_eq!(format(text), FormatKind::Csv(least.clone()));
    let text = "format = { kind = \"csv\", fields = [\"id\", \"name\"], delimiter = \"\\t\", \
                quote = \"'\", null = \"\\\\N\", ragged = true }";
    let all = CsvOptions {
        delimiter: b'\t',
        quote: b'\'',
        null: r"\N".to_owned(),
        ragged: true,
        ..least
    };
    assert_eq!(format(text), FormatKind::Csv(all));
}

#[test]
fn what_is_wrong_with_a_format_is_named() {
    check(&[
        (
            PIECE,
            "format = \"csv\"",
            "tidegate.toml:28: routes[0].format: csv needs the names of its cells: { kind = \"csv\", \
             fields = [\"id\", \"name\"] }",
        ),
        (
            PIECE,
            "format = { fields = [\"id\"] }",
            "tidegate.toml:28: routes[0].format.kind: missing; expected one of `json`, `debezium`, \
             `csv`, `raw`",
        ),
        (
            PIECE,
            "format = { kind = \"json\", delimiter = \";\" }",
            "tidegate.toml:28: routes[0].format.delimiter: unknown key; the only key is \
             `kind`",
        ),
        (
            PIECE,
            "format = { kind = \"csv\", fields = [] }",
            "tidegate.toml:28: routes[0].format.fields: expected a list of names such as \
             [\"id\", \"name\"], found an array",
        ),
        (
            PIECE,
            "format = { kind = \"csv\", fields = [\"id\", \"id\"] }",
            "tidegate.toml:28: routes[0].format.fields[1]: another cell has this name, too; rename one",
        ),
        (
            PIECE,
            "format = { kind = \"csv\", fields = [\"id\"], delimiter = \"||\" }",
            "tidegate.toml:28: routes[0].format.delimiter: expected one character of ASCII, found `||`",
        ),
        (
            PIECE,
            "format = { kind = \"csv\", fields = [\"id\"], delimiter = \"'\", quote = \"'\" }",
            "tidegate.toml:28: routes[0].format.quote: expected another character than the delimiter",
        ),
    ]);
}
