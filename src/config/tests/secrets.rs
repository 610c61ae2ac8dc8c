use proptest::prelude::*;

use super::{super::*, FULL, URL, environment, full_with, parse};

#[test]
fn nothing_of_a_password_is_shown() {
    let text = full_with("\"fetch.wait.max.ms\" = \"50\"", "\"sasl.password\" = \"hunter2\"");
    let config = parse(&text).unwrap();
    for shown in [format!("{config:?}"), format!("{config:#?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("sasl.password"), "names may be shown");
    }
    assert!(!format!("{:?}", environment(&[])).contains("hunter2"));
    assert_eq!(Secret::new("hunter2").to_string(), "***");
}

#[test]
fn a_url_is_shown_without_its_password() {
    for (url, masked) in [
        (URL, "postgres://app:***@db.example:5433/shop"),
        ("postgres://app:hunter2@a,b:5433/shop", "postgres://app:***@a:5432,b:5433/shop"),
        ("postgresql://db/shop?password=hunter2&user=app", "postgres://app:***@db:5432/shop"),
        ("postgres://app:hunter2@db", "postgres://app:***@db:5432/"),
        ("hunter2", "postgres://***"),
        ("postgres://app:hun@ter2@db/shop", "postgres://***"),
        ("postgres://app:h@un/ter2@db/shop", "postgres://***"),
    ] {
        let sink = PostgresSink { url: Secret::new(url), writers: 4, ca_file: None };
        assert_eq!(sink.masked_url(), masked);
    }
}

/// Each of these has the password where no password belongs.
#[test]
fn no_error_shows_a_password() {
    let url = "postgres://app:hunter2@db/shop";
    let texts = [
        full_with("${env:DATABASE_URL}", "postgres://app:hunter2@db:port/shop"),
        full_with("${env:DATABASE_URL}", "postgres://app:hunter2#@db/shop?what=hunter2"),
        full_with("${env:DATABASE_URL}", "host=db password=hunter2"),
        full_with("${env:DATABASE_URL}", "postgres://app:hunter2${x@db/shop"),
        full_with("${env:DATABASE_URL}", "postgres://app:${hunter2}@db/shop"),
        full_with("\"${env:DATABASE_URL}\"", "\"postgres://app:hunter2@db"),
        full_with("\"${env:DATABASE_URL}\"", "postgres://app:hunter2@db"),
        full_with("\"${env:DATABASE_URL}\"", "\"hunter2\" hunter2"),
        full_with("kind = \"postgres\"", &format!("kind = \"{url}\"")),
        full_with("kind = \"postgres\"", "kind = \"${env:DATABASE_URL}\""),
        full_with("kind = \"postgres\"", "kind = \"${env:PASSWORD}\""),
        full_with("writers = 4", "writers = \"${env:PASSWORD}\""),
        full_with("sink = \"serving\"", "sink = \"${env:PASSWORD}\""),
        full_with("source = \"shop\"", "source = \"${env:PASSWORD}\""),
        full_with("table = \"orders_realtime\"", "table = \"a.b.${env:PASSWORD}\""),
        full_with("topics = [\"orders\"]", "topics = [\"${env:PASSWORD}\", \"${env:PASSWORD}\"]"),
        full_with("sink = \"archive\"", "sink = \"archive\"\ntable = \"${env:PASSWORD}\""),
        full_with("level = \"info\"", "level = \"${env:PASSWORD}\""),
        full_with("path = \"-\"", &format!("uri = \"{url}\"")),
        full_with("sink = \"serving\"", &format!("sink = \"{url}\"")),
        full_with("sink = \"serving\"", "sink = \"${env:DATABASE_URL}\""),
        full_with("source = \"shop\"", "source = \"${env:DATABASE_URL}\""),
        full_with("topics = [\"orders\"]", "topics = [\"${env:DATABASE_URL}\"]"),
        full_with("write = \"append\"", "write = \"${env:DATABASE_URL}\""),
        full_with("table = \"orders_realtime\"", "table = \"a.b.${env:DATABASE_URL}\""),
        full_with("level = \"info\"", "level = \"${env:DATABASE_URL}\""),
        full_with("\"localhost:9092\"", "\"${env:DATABASE_URL}:x\""),
        full_with(
            "[sinks.nowhere]",
            "[sinks.n2]\nkind = \"ndjson\"\npath = \"${env:DATABASE_URL}\"\n[sinks.n3]\n\
             kind = \"ndjson\"\npath = \"${env:DATABASE_URL}\"\n[sinks.nowhere]",
        ),
    ];
    for text in texts {
        let message = parse(&text).expect_err(&text).to_string();
        assert!(!message.contains("hunter2"), "{message}");
    }
}

fn mutated() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[\\[\\]{}=\"'.,#\\n\\\\$:0-9a-z -]{0,6}",
        any::<char>().prop_map(String::from),
        Just("[[".to_owned()),
        Just("${env:".to_owned()),
        Just("\"\"\"".to_owned()),
        Just("= {a = [1, 2".to_owned()),
    ];
    let cut = (0..FULL.len(), 0..40_usize, piece);
    proptest::collection::vec(cut, 1..6).prop_map(|cuts| {
        let mut text: Vec<char> = FULL.chars().collect();
        for (start, length, piece) in cuts {
            let start = start.min(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, piece.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_file_makes_it_panic_or_show_a_password(text in mutated()) {
        let shown = match parse(&text) {
            Ok(config) => format!("{config:?}"),
            Err(error) => error.to_string(),
        };
        prop_assert!(!shown.is_empty());
        prop_assert!(!shown.contains("hunter2"), "{}", shown);
    }

    #[test]
    fn no_override_makes_it_panic(flag in ".{0,40}", key in "[a-z_.\\[\\]0-9\"]{0,20}", value in ".{0,20}") {
        let flags = [flag, format!("{key}={value}"), format!("routes[0].{key}={value}")];
        let variable = format!("TIDEGATE__{}", key.to_uppercase());
        let variables = environment(&[(&variable, &value)]);
        let problem_count = Config::parse(FULL, "tidegate.toml", &flags, &variables)
            .map_or_else(|error| error.problem_count(), |_| 1);
        prop_assert!(problem_count > 0);
    }
}
