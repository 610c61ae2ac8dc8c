use super::{FULL, check, parse, problems};
use crate::config::{CsvOptions, FormatKind, Login, Secret};

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
             `avro`, `protobuf`, `csv`, `raw`",
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

/// FULL with an Avro route and these registries.
fn with_registries(format: &str, registries: &str) -> String {
    FULL.replacen(PIECE, &format!("format = {format}"), 1) + registries
}

#[test]
fn a_registry_is_named_or_the_only_one() {
    let main = "[registries.main]\nurl = \"http://localhost:8081/\"\n";
    let other = "[registries.other]\nurl = \"https://r/api\"\nca_file = \"ca.pem\"\nuser = \"u\"\n\
                 password = \"${env:PASSWORD}\"\n";
    let both = format!("{main}{other}");
    for (format, registries, name) in [
        ("\"avro\"", main, "main"),
        ("{ kind = \"avro\" }", other, "other"),
        ("{ kind = \"avro\", registry = \"main\" }", &both, "main"),
        ("{ kind = \"avro\", registry = \"other\" }", &both, "other"),
    ] {
        let config = parse(&with_registries(format, registries)).unwrap();
        let FormatKind::Avro(registry) = &config.routes[0].format else { panic!("no avro") };
        assert_eq!(registry, &config.registries[name]);
        assert!(!format!("{config:?}").contains("hunter2"));
    }
    let config = parse(&with_registries("\"avro\"", other)).unwrap();
    let settings = config.registries["other"].settings();
    assert_eq!(settings.url, "https://r/api");
    let password = Secret::new("hunter2");
    assert_eq!(settings.login, Some(Login::Basic { user: "u".to_owned(), password }));
    let unused = parse(&with_registries("\"json\"", main)).unwrap();
    assert_eq!(unused.warnings, ["registries.main: no route has a format with it"]);
}

#[test]
fn what_is_wrong_with_a_registry_is_named() {
    let problem = |format: &str, registries: &str| problems(&with_registries(format, registries));
    let avro = "\"avro\"";
    assert_eq!(
        problem(avro, ""),
        "tidegate.toml:28: routes[0].format: schemas come from a registry, and there is none; add a \
         [registries.<name>]"
    );
    let registry = |text: &str| problem(avro, &format!("[registries.main]\n{text}\n"));
    for (text, expected) in [
        ("url = \"localhost:8081\"", "expected a URL such as \"http://localhost:8081\""),
        ("url = \"http://u:hunter2@r\"", "a URL with a login in it; put that into `user`"),
        ("url = \"https://r\"", "ca_file: missing; https:// needs the certificates"),
        ("url = \"http://r\"\nuser = \"u\"", "a user and a password go together"),
        ("url = \"http://r\"\ntoken = \"t\"\nuser = \"u\"", "either a token, or a user and a"),
        ("url = \"http://r\"\nusr = \"u\"", "unknown key; did you mean `user`?"),
        ("", "registries.main.url: missing; expected a URL"),
    ] {
        let found = registry(text);
        assert!(found.contains(expected) && !found.contains("hunter2"), "{text}: {found}");
    }
    let two = "[registries.a]\nurl = \"http://a\"\n[registries.b]\nurl = \"http://b\"\n";
    assert!(problem(avro, two).contains("there are several registries; name one"));
    let slip = problem("{ kind = \"avro\", registry = \"c\" }", two);
    assert!(slip.contains("no registry is named `c`"), "{slip}");
}
