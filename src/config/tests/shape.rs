use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use tracing::level_filters::LevelFilter;

use super::{super::*, FULL, URL, full_with, parse, problems};
use crate::{
    selector::{Pointer, Selector},
    sink::postgres::column::{EpochUnit, Metadata, OnNul},
};

const LEAST: &str = r#"
[sources.lines]
kind = "ndjson"
path = "-"
[sinks.nowhere]
kind = "null"
[[routes]]
source = "lines"
to = [{ sink = "nowhere" }]
"#;

fn field(name: &str, epoch: Option<EpochUnit>) -> ColumnFeed {
    ColumnFeed::Value { selector: name.into(), epoch, zone: None, default: None }
}

fn columns_of(columns: &str) -> BTreeMap<String, ColumnFeed> {
    let text = full_with("kafka_offset = { metadata = \"offset\" }", columns);
    parse(&text).unwrap().routes[0].to[0].columns.clone()
}

#[test]
fn every_key_arrives_in_its_field() {
    let config = parse(FULL).unwrap();
    let properties = [("fetch.wait.max.ms".to_owned(), Secret::new("50"))].into();
    let shop = KafkaSource {
        brokers: "localhost:9092".to_owned(),
        group: "orders-speed-layer".to_owned(),
        start: Start::Earliest,
        commit_interval: Duration::from_secs(1),
        properties,
    };
    let backlog = NdjsonSource { path: PathBuf::from("orders.ndjson") };
    assert_eq!(config.sources["shop"], Source::Kafka(shop));
    assert_eq!(config.sources["backlog"], Source::Ndjson(backlog));
    let serving =
        PostgresSink { url: Secret::new(URL), writers: 4, ca_file: Some(PathBuf::from("ca.pem")) };
    assert_eq!(config.sinks["serving"], Sink::Postgres(serving));
    assert_eq!(config.sinks["archive"], Sink::Ndjson(NdjsonSink { path: PathBuf::from("-") }));
    assert_eq!(config.sinks["nowhere"], Sink::Null);
    let age = Some(Duration::from_millis(100));
    assert_eq!(config.batch, Batch { age, ..Batch::default() });
    assert_eq!(config.memory, Memory::default());
    assert_eq!(config.admin, Admin::default());
    assert_eq!(config.shutdown, Shutdown::default());
    assert_eq!(config.log, Log::default());
    assert_eq!(config.warnings, [] as [&str; 0]);
}

#[test]
fn a_route_arrives_with_its_targets() {
    let config = parse(FULL).unwrap();
    let columns = [
        ("kafka_offset".to_owned(), ColumnFeed::Metadata(Metadata::Offset)),
        ("total".to_owned(), field("amount", None)),
        ("created_at".to_owned(), field("ts", Some(EpochUnit::Ms))),
        ("internal_note".to_owned(), ColumnFeed::Skip),
    ];
    let archive = Target {
        sink: "archive".to_owned(),
        table: None,
        format: FormatKind::Json,
        write: Write::default(),
        delivery: Delivery::AtLeastOnce,
        on_missing_table: OnMissingTable::Fail,
        growth: Growth::default(),
        partitions: None,
        dead_letters: DeadLetters::Table,
        on_nul: OnNul::DeadLetter,
        matching: Matching::Exact,
        columns: BTreeMap::new(),
        filter: None,
    };
    let serving = Target {
        sink: "serving".to_owned(),
        table: Some(TableName { schema: None, name: "orders_realtime".to_owned() }),
        delivery: Delivery::ExactlyOnce,
        dead_letters: DeadLetters::Topic("orders-dead".to_owned()),
        columns: columns.into(),
        ..archive.clone()
    };
    let shop = Route {
        name: "shop-1".to_owned(),
        source: "shop".to_owned(),
        topics: vec!["orders".to_owned()],
        format: FormatKind::Json,
        max_record_bytes: 1 << 20,
        max_dead_letter_percent: 50,
        to: vec![serving, archive],
    };
    assert_eq!(config.routes[0], shop);
    assert_eq!(config.routes[1].topics, ["backlog"], "a file's topic is its source's name");
    assert_eq!(config.routes[1].name, "backlog-1");
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.batch.bytes, 4 << 20);
    assert_eq!(config.batch.rows, 20_000);
    assert_eq!(config.batch.age, None);
    assert_eq!(config.memory.budget, 128 << 20);
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9187");
    assert_eq!(config.shutdown.drain, Duration::from_secs(10));
    assert_eq!(config.log, Log { format: LogFormat::Auto, level: LevelFilter::INFO });
    assert_eq!(config.routes[0].max_record_bytes, 1 << 20);

    let text = full_with("group = \"orders-speed-layer\"\nstart = \"earliest\"\n", "");
    let config = parse(&text.replace("writers = 4\nca_file = \"ca.pem\"\n", "")).unwrap();
    let Source::Kafka(shop) = &config.sources["shop"] else { panic!("a Kafka source") };
    assert_eq!((shop.group.as_str(), shop.start), ("tidegate-shop", Start::Earliest));
    let Sink::Postgres(serving) = &config.sinks["serving"] else { panic!("a Postgres sink") };
    assert_eq!((serving.writers, &serving.ca_file), (6, &None));
}

#[test]
fn a_group_may_begin_at_a_time() {
    for start in [
        "start = 2026-01-31T01:00:00.5+01:00",
        "start = \"2026-01-31T01:00:00.5+01:00\"",
        "start = \"2026-01-31T00:00:00.5Z\"",
    ] {
        let config = parse(&full_with("start = \"earliest\"", start)).unwrap();
        let Source::Kafka(shop) = &config.sources["shop"] else { panic!("a Kafka source") };
        assert_eq!(shop.start, Start::Timestamp(1_769_817_600_500), "{start}");
    }
}

#[test]
fn properties_may_be_numbers_and_need_no_quotes() {
    let properties = "fetch.wait.max.ms = 50\nsecurity.protocol = \"ssl\"\n\
                      \"check.crcs\" = true\n\"a.b\" = 0x10\n\"c.d\" = 1.50";
    let config = parse(&full_with("\"fetch.wait.max.ms\" = \"50\"", properties)).unwrap();
    let Source::Kafka(shop) = &config.sources["shop"] else { panic!("a Kafka source") };
    let found: Vec<_> = shop.properties.iter().map(|(n, v)| (n.as_str(), v.expose())).collect();
    let expected = [
        ("a.b", "16"),
        ("c.d", "1.50"),
        ("check.crcs", "true"),
        ("fetch.wait.max.ms", "50"),
        ("security.protocol", "ssl"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_column_may_be_fed_from_its_own_field_in_another_unit() {
    assert_eq!(columns_of("ts = { epoch = \"us\" }")["ts"], field("ts", Some(EpochUnit::Us)));
    let zone = Some(jiff::tz::TimeZone::get("Europe/Berlin").unwrap());
    let expected = ColumnFeed::Value { selector: "ts".into(), epoch: None, zone, default: None };
    assert_eq!(columns_of("ts = { zone = \"Europe/Berlin\" }")["ts"], expected);
}

#[test]
fn nul_may_be_left_out_or_replaced() {
    for (text, on_nul) in [("strip", OnNul::Strip), ("replace", OnNul::Replace)] {
        let letters = "dead_letters = { topic = \"orders-dead\" }";
        let config = parse(&FULL.replace(letters, &format!("on_nul = \"{text}\""))).unwrap();
        assert_eq!(config.routes[0].to[0].on_nul, on_nul);
    }
}

#[test]
fn a_column_may_be_fed_from_inside_a_field_or_from_nothing() {
    let fed = columns_of(
        "city = { pointer = \"/address/city\", default = \"?\" }\nsource = { constant = \"web\" }\n\
         version = { constant = 1_000 }\nratio = { constant = +1_0.50 }\nlive = { constant = true }\n\
         worst = { constant = inf }\nextra = { rest = true }\nn = { default = -1 }",
    );
    let city = Selector::Pointer(Pointer::parse("/address/city").unwrap());
    let default = Some(Constant::Text("?".to_owned()));
    assert_eq!(fed["city"], ColumnFeed::Value { selector: city, epoch: None, zone: None, default });
    let constant = |name: &str| match &fed[name] {
        ColumnFeed::Constant(constant) => constant.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(constant("source"), Constant::Text("web".to_owned()));
    assert_eq!(constant("version"), Constant::Number("1000".to_owned()));
    assert_eq!(constant("ratio"), Constant::Number("10.50".to_owned()));
    assert_eq!(constant("live"), Constant::Boolean(true));
    assert_eq!(constant("worst"), Constant::Text("inf".to_owned()));
    assert_eq!(fed["extra"], ColumnFeed::Rest);
    let default = Some(Constant::Number("-1".to_owned()));
    assert_eq!(
        fed["n"],
        ColumnFeed::Value { selector: "n".into(), epoch: None, zone: None, default }
    );
}

#[test]
fn a_table_may_have_a_schema_and_quotes() {
    let name = |schema: Option<&str>, name: &str| TableName {
        schema: schema.map(str::to_owned),
        name: name.to_owned(),
    };
    for (text, expected) in [
        ("orders", Some(name(None, "orders"))),
        ("Orders", Some(name(None, "Orders"))),
        ("shop.orders", Some(name(Some("shop"), "orders"))),
        ("\"a.b\".\"c.d\"", Some(name(Some("a.b"), "c.d"))),
        ("\"a.b\"", Some(name(None, "a.b"))),
        ("", None),
        (".", None),
        ("a.", None),
        (".a", None),
        ("a.b.c", None),
        ("\"a\"b", None),
        ("\"a", None),
        ("a\"b", None),
        (&"é".repeat(32), None),
    ] {
        assert_eq!(TableName::parse(text), expected, "{text}");
    }
}

#[test]
fn broker_lists_are_tidied() {
    for (written, kept) in [
        ("a", "a"),
        ("a:1, b:2 ,c", "a:1,b:2,c"),
        ("[::1]:9092,[::2]", "[::1]:9092,[::2]"),
        ("SSL://a:9093", "SSL://a:9093"),
    ] {
        let text = full_with("\"localhost:9092\"", &format!("{written:?}"));
        let config = parse(&text).unwrap();
        let Source::Kafka(shop) = &config.sources["shop"] else { panic!("a Kafka source") };
        assert_eq!(shop.brokers, kept);
    }
}

#[test]
fn what_nobody_uses_is_a_warning() {
    let text = format!(
        "{LEAST}[sinks.spare]\nkind = \"null\"\n[sources.old]\nkind = \"ndjson\"\npath = \"old\"\n"
    );
    let expected = ["sources.old: no route reads from it", "sinks.spare: no route writes to it"];
    assert_eq!(parse(&text).unwrap().warnings, expected);
}

#[test]
fn certificates_without_tls_are_a_warning() {
    let text = full_with("${env:DATABASE_URL}", "${env:DATABASE_URL}?sslmode=disable");
    let expected = ["sinks.serving.ca_file has no effect: the URL says sslmode=disable"];
    assert_eq!(parse(&text).unwrap().warnings, expected);
}

#[test]
fn relative_paths_in_the_file_are_relative_to_its_folder() {
    let config = Config::parse(FULL, "etc/shop.toml", &[], &super::environment(&[])).unwrap();
    let Sink::Postgres(serving) = &config.sinks["serving"] else { panic!("a Postgres sink") };
    assert_eq!(serving.ca_file, Some(PathBuf::from("etc/ca.pem")));
    let Source::Ndjson(backlog) = &config.sources["backlog"] else { panic!("an NDJSON source") };
    assert_eq!(backlog.path, PathBuf::from("etc/orders.ndjson"));
    let Sink::Ndjson(archive) = &config.sinks["archive"] else { panic!("an NDJSON sink") };
    assert!(archive.is_stdout());
}

#[test]
fn an_empty_file_is_told_what_to_hold() {
    let message = problems("");
    assert_eq!(
        message,
        "tidegate.toml: sources: there is no source; add a [sources.<name>]\n\
         tidegate.toml: sinks: there is no sink; add a [sinks.<name>]\n\
         tidegate.toml: routes: there is no route; add a [[routes]]\n\
         \n\
         The smallest configuration:\n\
         \n\
         \x20   [sources.shop]\n\
         \x20   kind = \"kafka\"\n\
         \x20   brokers = \"localhost:9092\"\n\
         \x20   [sinks.serving]\n\
         \x20   kind = \"postgres\"\n\
         \x20   url = \"${env:DATABASE_URL}\"\n\
         \x20   [[routes]]\n\
         \x20   source = \"shop\"\n\
         \x20   topics = [\"orders\"]\n\
         \x20   to = [{ sink = \"serving\", table = \"orders\" }]"
    );
    let example = message.split_once("configuration:").unwrap().1;
    assert_eq!(parse(example).unwrap().routes.len(), 1, "the example is one that works");
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let error = Config::load(Path::new("no/such.toml"), &[], &Environment::default()).unwrap_err();
    let first = error.to_string().lines().next().unwrap().to_owned();
    assert_eq!(first, "no/such.toml: cannot be read: No such file or directory (os error 2)");
}

#[test]
fn no_depth_overflows_the_stack() {
    let deep_key = vec!["a"; 100_000].join(".");
    let brackets = "[".repeat(100_000);
    let most_key = vec!["a"; 16].join(".");
    let lines =
        |count| format!("a = {}1{}", format!("{{\n{most_key} =").repeat(count), "}".repeat(count));
    for text in [
        format!("{deep_key} = 1"),
        format!("[{deep_key}]"),
        format!("\"\\\".#\".{deep_key} = 1"),
        format!("a = {brackets}"),
        format!("a = {brackets}{}", "]".repeat(100_000)),
        lines(70),
        lines(100_000),
    ] {
        assert!(parse(&text).is_err());
    }
    let variable = format!("TIDEGATE__{}", vec!["A"; 100_000].join("__"));
    for flag in [format!("{deep_key}=1"), format!("a={brackets}"), format!("a={{{deep_key}=1}}")] {
        let variables = super::environment(&[(&variable, "1")]);
        assert!(Config::parse(FULL, "tidegate.toml", &[flag], &variables).is_err());
    }
}

#[test]
fn dots_in_texts_and_comments_are_no_depth() {
    let dots = ".".repeat(200);
    let text = format!("# {dots}\n{FULL}").replace("orders-speed-layer", &dots);
    assert!(parse(&text).is_ok());
}

#[test]
fn a_mapping_is_what_decides_the_rows_and_not_where_they_go() {
    let mapping = |from: &str, to: &str| {
        let text = FULL.replace(from, to);
        assert!(from.is_empty() || text != FULL, "'{from}' is not there");
        parse(&text).unwrap().routes[0].to[0].mapping()
    };
    let same = mapping("", "");
    assert_eq!(mapping("\"orders_realtime\"", "\"orders_2\""), same);
    assert_ne!(mapping("field = \"amount\"", "field = \"price\""), same);
    let route = |text: &str| {
        format!(
            "[[routes]]\nsource = \"lines\"\n{text}[[routes.to]]\nsink = \"pg\"\ntable = \"t\"\n"
        )
    };
    let of = |text: &str| {
        let head = "[sources.lines]\nkind = \"ndjson\"\npath = \"x\"\n[sinks.pg]\nkind = \"postgres\"\nurl = \"postgres://u@h/d\"\n";
        parse(&format!("{head}{}", route(text))).unwrap().routes[0].to[0].mapping()
    };
    assert_ne!(of("format = \"debezium\"\n"), of(""));
    assert_eq!(of("max_record_bytes = \"1KiB\"\n"), of(""));
}
