use std::{fs, path::Path};

use super::{super::*, FULL, environment, full_with};

fn read(flags: &[&str], variables: &[(&str, &str)]) -> Result<Config, String> {
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    Config::parse(FULL, "tidegate.toml", &flags, &environment(variables))
        .map_err(|error| error.to_string())
}

fn refused(flags: &[&str], variables: &[(&str, &str)]) -> String {
    read(flags, variables).map(|_| ()).expect_err("must be refused")
}

fn kafka(config: &Config) -> &KafkaSource {
    let Source::Kafka(source) = &config.sources["shop"] else { panic!("a Kafka source") };
    source
}

#[test]
fn a_variable_overrides_the_file_and_a_flag_overrides_both() {
    let variable = [("TIDEGATE__BATCH__ROWS", "7")];
    assert_eq!(read(&[], &[]).unwrap().batch.rows, 20_000);
    assert_eq!(read(&[], &variable).unwrap().batch.rows, 7);
    assert_eq!(read(&["batch.rows=9"], &variable).unwrap().batch.rows, 9);
    assert_eq!(read(&["batch.rows=9", "batch.rows=10"], &variable).unwrap().batch.rows, 10);
}

#[test]
fn a_variable_finds_names_that_it_cannot_spell() {
    let text = full_with(
        "[[routes]]\nsource = \"backlog\"",
        "[sinks.Old-1]\nkind = \"null\"\n[[routes]]\nsource = \"backlog\"",
    )
    .replace("Old-1", "old-1");
    let more = [
        ("TIDEGATE__SINKS__OLD_1__KIND", "ndjson"),
        ("TIDEGATE__SINKS__OLD_1__PATH", "out"),
        ("TIDEGATE__SOURCES__SHOP__PROPERTIES__FETCH_WAIT_MAX_MS", "60"),
        ("TIDEGATE__sources__shop__PROPERTIES__CLIENT_ID", "true"),
        ("TIDEGATE__ROUTES__0__TO__0__TABLE", "x.y"),
    ];
    let config = Config::parse(&text, "etc/tidegate.toml", &[], &environment(&more)).unwrap();
    let Sink::Ndjson(old) = &config.sinks["old-1"] else { panic!("an NDJSON sink") };
    assert_eq!(old.path, Path::new("out"), "relative to the working directory");
    let found: Vec<_> =
        kafka(&config).properties.iter().map(|(n, v)| (n.as_str(), v.expose())).collect();
    assert_eq!(found, [("client.id", "true"), ("fetch.wait.max.ms", "60")]);
    let table = config.routes[0].to[0].table.as_ref().map(ToString::to_string);
    assert_eq!(table.as_deref(), Some("x.y"));
}

#[test]
fn a_flag_takes_any_type() {
    let config = read(
        &[
            "sources.shop.group=0123",
            "sources.shop.properties.fetch.wait.max.ms=70",
            "sources.shop.properties.\"check.crcs\"=true",
            "routes[0].topics=[\"a\", \"b\"]",
            "routes.1.name=\"night\"",
            "routes[0].to[0].columns={ a = { skip = true } }",
            "routes[0].to[1].sink=nowhere",
            "log.level=debug",
            "admin.listen=[::1]:80",
            "batch.age=5ms",
        ],
        &[],
    )
    .unwrap();
    assert_eq!(kafka(&config).group, "0123");
    assert_eq!(kafka(&config).properties["fetch.wait.max.ms"].expose(), "70");
    assert_eq!(kafka(&config).properties["check.crcs"].expose(), "true");
    assert_eq!(config.routes[0].topics, ["a", "b"]);
    assert_eq!(config.routes[1].name, "night");
    assert_eq!(config.routes[0].to[0].columns["a"], ColumnFeed::Skip);
    assert_eq!(config.routes[0].to[1].sink, "nowhere");
    assert_eq!(
        config.admin.listen.to_string(),
        "[::1]:80",
        "not a list, although it begins as one"
    );
}

#[test]
fn a_flag_may_add_a_sink() {
    let config = read(&["sinks.spare.kind=null"], &[]).unwrap();
    assert_eq!(config.sinks["spare"], Sink::Null);
}

#[test]
fn a_bad_override_is_named_as_it_was_given() {
    let flags = [
        (
            "batch.rows=none",
            "--set: batch.rows: expected an integer from 1 to 10000000, found `none`",
        ),
        ("batch.rowz=1", "--set: batch.rowz: unknown key; did you mean `rows`?"),
        ("batch=1", "--set: batch: expected a table, found `1`"),
        ("batch.rows.x=1", "--set: batch.rows.x: `batch.rows` is not a table"),
        ("batch", "--set: expected `key=value`, found `batch`"),
        (
            "batch..rows=1",
            "--set: expected a dotted key such as `sinks.serving.url` or `routes[0].format`, \
             found `batch..rows`",
        ),
        (
            "routes[2].format=raw",
            "--set: routes[2].format: `routes` is a list; expected a number from 0 to 1",
        ),
        (
            "sinks.servng.writers=2",
            "--set: sinks.servng: no sink is named `servng`; did you mean `serving`?",
        ),
        (
            "postgres://app:hunter2@db/shop",
            "--set: expected `key=value`, found a string (not shown: it may hold a password)",
        ),
    ];
    for (flag, expected) in flags {
        assert_eq!(refused(&[flag], &[]), expected, "{flag}");
    }
    let variables = [
        (
            "TIDEGATE__SINKS__SERVNG__URL",
            "sinks.servng: no sink is named `servng`; did you mean `serving`?",
        ),
        ("TIDEGATE__BATCH__ROWZ", "batch.rowz: unknown key; did you mean `rows`?"),
        ("TIDEGATE__BTCH__ROWS", "btch: unknown key; did you mean `batch`?"),
        ("TIDEGATE__", "expected a name such as TIDEGATE__BATCH__ROWS"),
        (
            "TIDEGATE__ROUTES__9__FORMAT",
            "routes.9.format: `routes` is a list; expected a number from 0 to 1",
        ),
    ];
    for (name, expected) in variables {
        assert_eq!(refused(&[], &[(name, "hunter2")]), format!("{name}: {expected}"));
    }
}

#[test]
fn a_name_that_means_two_things_is_refused() {
    let text = full_with(
        "[sinks.nowhere]",
        "[sinks.a-b]\nkind = \"null\"\n[sinks.a_b]\nkind = \"null\"\n[sinks.nowhere]",
    );
    let variables = environment(&[("TIDEGATE__SINKS__A_B__KIND", "null")]);
    let error = Config::parse(&text, "tidegate.toml", &[], &variables).unwrap_err();
    assert_eq!(
        error.to_string(),
        "TIDEGATE__SINKS__A_B__KIND: sinks.a_b.kind: means both `a-b` and `a_b`; use --set, which \
         tells them apart"
    );
}

#[test]
fn problems_stand_in_the_order_of_the_file_and_then_of_the_overrides() {
    let text = FULL.replace("rows = 20000", "rows = 0").replace("writers = 4", "writers = 0");
    let variables = environment(&[("TIDEGATE__BATCH__AGE", "x")]);
    let flags = ["log.level=loud".to_owned()];
    let error = Config::parse(&text, "tidegate.toml", &flags, &variables).unwrap_err();
    assert_eq!(error.problem_count(), 4);
    let places: Vec<_> =
        error.to_string().lines().map(|l| l.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(places, ["tidegate.toml:17", "tidegate.toml:50", "TIDEGATE__BATCH__AGE", "--set"]);
}

#[test]
fn references_are_replaced_in_any_text() {
    let more = [("HOST", "h"), ("EMPTY", ""), ("ROWS", "12")];
    let group = |text: &str| {
        let file = full_with("\"orders-speed-layer\"", &format!("{text:?}"));
        Config::parse(&file, "tidegate.toml", &[], &environment(&more))
            .map(|config| kafka(&config).group.clone())
            .map_err(|error| error.to_string())
    };
    for (text, expected) in [
        ("a-${env:HOST}-b-${env:HOST}", "a-h-b-h"),
        ("${env:NONE:-d}", "d"),
        ("x${env:NONE:-}", "x"),
        ("${env:EMPTY:-d}", "d"),
        ("x${env:EMPTY}", "x"),
        ("${env:HOST:-d}", "h"),
        ("$${env:HOST}", "${env:HOST}"),
        ("$$${env:HOST}", "$${env:HOST}"),
        ("$HOST $ {} }", "$HOST $ {} }"),
        ("${env:HOST}$${", "h${"),
    ] {
        assert_eq!(group(text).as_deref(), Ok(expected), "{text}");
    }
    let rows = full_with("rows = 20000", "rows = \"${env:ROWS}\"");
    let config = Config::parse(&rows, "tidegate.toml", &[], &environment(&more)).unwrap();
    assert_eq!(config.batch.rows, 12, "a reference has the type that its key asks for");
}

#[test]
fn a_file_reference_is_relative_to_the_configuration() {
    let folder = std::env::temp_dir().join(format!("tidegate-config-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("group"), "from a file\r\n").unwrap();
    let text = full_with("orders-speed-layer", "${file:group}");
    fs::write(folder.join("tidegate.toml"), text).unwrap();
    let config = Config::load(&folder.join("tidegate.toml"), &[], &environment(&[]));
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(kafka(&config.unwrap()).group, "from a file");
}
