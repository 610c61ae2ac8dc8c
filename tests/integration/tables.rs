//! Tables: every type, everything that feeds a column, and every way in which a table can be wrong.

use crate::support::{Message, World, eventually, grid, postgres, produce, produce_with_header};

/// A route of the topic into table `t`; `more` stands behind it.
pub(crate) fn config(world: &World, more: &str) -> String {
    let to = format!("\"serving\"\ntable = \"t\"\n{more}");
    format!(
        "{}{}{}",
        world.source_config(""),
        world.sink_config("serving"),
        world.route_config(&to)
    )
}

/// Runs until `records` of partition 0 are durable in `t`.
pub(crate) fn write_all(world: &World, more: &str, records: i64) {
    let mut tidegate = world.run(&config(world, more), &[]);
    eventually("the checkpoint", || {
        assert!(tidegate.is_running(), "it ended:\n{}", tidegate.log());
        let sql = "SELECT coalesce(sum(next_offset), 0) FROM tidegate.checkpoints";
        match world.sql.query_one_i64(sql) {
            Ok(next) if next == records => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    tidegate.stop();
}

/// Column, type, JSON, and how Postgres shows it.
const TYPES: [(&str, &str, &str, &str); 51] = [
    ("c_bool", "boolean", "true", "t"),
    ("c_int2", "smallint", "-32768", "-32768"),
    ("c_int4", "integer", "2147483647", "2147483647"),
    ("c_int8", "bigint", "9223372036854775807", "9223372036854775807"),
    ("c_int8_text", "bigint", r#""-9223372036854775808""#, "-9223372036854775808"),
    ("c_float4", "real", "0.1", "0.1"),
    ("c_float8", "double precision", "1e-300", "1e-300"),
    ("c_float8_nan", "double precision", r#""NaN""#, "NaN"),
    (
        "c_numeric",
        "numeric",
        "123456789012345678901234567890.1234567890",
        "123456789012345678901234567890.1234567890",
    ),
    ("c_numeric_exponent", "numeric", "12.5e3", "12500"),
    ("c_money", "numeric(12,2)", "-9999999999.99", "-9999999999.99"),
    ("c_money_padded", "numeric(12,2)", "7", "7.00"),
    ("c_numeric_coarse", "numeric(5,-2)", "12345", "12300"),
    ("c_text", "text", r#""l\u00e9a \"q\" \\ \n\t \ud83c\udf81 ご""#, "léa \"q\" \\ \n\t 🎁 ご"),
    ("c_text_empty", "text", r#""""#, ""),
    ("c_text_nested", "text", r#"{"a": [1, 2]}"#, r#"{"a": [1, 2]}"#),
    ("c_varchar", "varchar(5)", r#""héllo""#, "héllo"),
    ("c_char", "char(4)", r#""ab""#, "ab  "),
    (
        "c_uuid",
        "uuid",
        r#""A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11""#,
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    ),
    ("c_date", "date", r#""2024-02-29""#, "2024-02-29"),
    ("c_timestamp", "timestamp", r#""2026-01-31T23:59:59.123456""#, "2026-01-31 23:59:59.123456"),
    ("c_timestamp_coarse", "timestamp(3)", r#""2026-01-31T23:59:59.9996""#, "2026-02-01 00:00:00"),
    (
        "c_timestamptz",
        "timestamptz",
        r#""2026-01-31T23:59:59.5+07:00""#,
        "2026-01-31 16:59:59.5+00",
    ),
    ("c_timestamptz_bc", "timestamptz", r#""infinity""#, "infinity"),
    ("c_epoch", "timestamptz", "1767225600123", "2026-01-01 00:00:00.123+00"),
    ("c_json", "json", r#"{"b" :1, "a": [null]}"#, r#"{"b" :1, "a": [null]}"#),
    ("c_jsonb", "jsonb", r#"{"b" :1, "a": [null, "\u00e9"]}"#, r#"{"a": [null, "é"], "b": 1}"#),
    ("c_bytea", "bytea", r#""AP9/""#, r"\x00ff7f"),
    ("c_bytea_hex", "bytea", r#""\\x00ff""#, r"\x00ff"),
    ("c_domain", "money_domain", "12.345", "12.35"),
    ("c_domain_text", "code_domain", r#""abc""#, "abc"),
    ("c_oid", "oid", "4294967295", "4294967295"),
    ("c_currency", "money", "-1234.5", "-$1,234.50"),
    ("c_name", "name", r#""tide""#, "tide"),
    ("c_byte", "\"char\"", r#""x""#, "x"),
    ("c_xml", "xml", r#""<a>\u00e9</a>""#, "<a>é</a>"),
    ("c_time", "time", r#""23:59:59.5""#, "23:59:59.5"),
    ("c_timetz", "timetz", r#""23:59:59+02:00""#, "23:59:59+02"),
    ("c_interval", "interval", r#""P1Y2M3DT4H5M6.5S""#, "1 year 2 mons 3 days 04:05:06.5"),
    ("c_inet", "inet", r#""10.1.2.3/24""#, "10.1.2.3/24"),
    ("c_cidr", "cidr", r#""2001:db8::/32""#, "2001:db8::/32"),
    ("c_macaddr", "macaddr", r#""08-00-2b-01-02-03""#, "08:00:2b:01:02:03"),
    ("c_bit", "bit(3)", r#""101""#, "101"),
    ("c_varbit", "bit varying(9)", r#""x1f""#, "00011111"),
    ("c_point", "point", r#"{"x":1.5,"y":2}"#, "(1.5,2)"),
    ("c_mood", "mood", r#""so-so""#, "so-so"),
    ("c_array", "numeric(5,2)[]", "[[1.005,null],[3,4]]", "{{1.01,NULL},{3.00,4.00}}"),
    ("c_domains", "code_domain[]", r#"["a",null]"#, "{a,NULL}"),
    ("c_pairs", "pair[]", r#"[{"label":"a b","n":1},[2,null]]"#, r#"{"(1,\"a b\")","(2,)"}"#),
    ("c_range", "int4range", r#"{"lower":1,"upper":5,"bounds":"[]"}"#, "[1,6)"),
    ("c_ranges", "datemultirange", r#"["[2026-01-01,2026-02-01)"]"#, "{[2026-01-01,2026-02-01)}"),
];

#[test]
fn every_type_reads_back_as_it_was_sent_and_null_as_null() {
    let world = World::bare("table-types", 1);
    world
        .sql
        .execute(
            "CREATE DOMAIN money_domain AS numeric(12,2) CHECK (VALUE < 1000); \
             CREATE DOMAIN short_domain AS varchar(3); \
             CREATE DOMAIN code_domain AS short_domain; \
             CREATE TYPE mood AS ENUM ('good', 'so-so'); CREATE TYPE pair AS (n int, label text)",
        )
        .unwrap();
    let columns: Vec<String> =
        TYPES.iter().map(|(name, sql_type, ..)| format!("{name} {sql_type}")).collect();
    world.sql.execute(&format!("CREATE TABLE t (n int, {})", columns.join(", "))).unwrap();
    let full: Vec<String> =
        TYPES.iter().map(|(name, _, json, _)| format!("\"{name}\":{json}")).collect();
    let nulls: Vec<String> = TYPES.iter().map(|(name, ..)| format!("\"{name}\":null")).collect();
    let messages = [
        Message::json(&format!("{{\"n\":1,{}}}", full.join(","))),
        Message::json(&format!("{{\"n\":2,{}}}", nulls.join(","))),
        Message::json("{\"n\":3, \"unknown\": [1, {\"deep\": true}]}"),
    ];
    produce(&world, &messages);
    write_all(&world, "[routes.to.columns]\nc_epoch = { epoch = \"ms\" }", 3);
    assert_eq!(world.rows("SELECT message FROM tidegate.dead_letters"), grid::<1>(&[]));
    world.sql.execute("SET timezone = 'UTC'").unwrap();
    let names: Vec<&str> = TYPES.iter().map(|(name, ..)| *name).collect();
    let rows = world.rows(&format!("SELECT {} FROM t ORDER BY n", names.join(", ")));
    for (index, (name, sql_type, _, expected)) in TYPES.iter().enumerate() {
        assert_eq!(rows[0][index], *expected, "{name} {sql_type}");
        assert_eq!(rows[1][index], "~", "{name} null");
        assert_eq!(rows[2][index], "~", "{name} absent");
    }
}

/// More columns than a cache line has bits, arrays and documents among them.
#[test]
fn a_table_of_200_columns_is_written_whole() {
    const KINDS: [(&str, &str, &str); 5] = [
        ("int", "7", "7"),
        ("text", "\"x\"", "x"),
        ("numeric(9,2)[]", "[1.5,null]", "{1.50,NULL}"),
        ("jsonb", "{\"a\":[1]}", "{\"a\": [1]}"),
        ("timestamptz", "\"2026-01-31T00:00:00Z\"", "2026-01-31 00:00:00+00"),
    ];
    let kinds = || (0..200).map(|index| (index, KINDS[index % KINDS.len()]));
    let world = World::bare("table-wide", 1);
    let columns: Vec<String> = kinds().map(|(n, (kind, ..))| format!("c{n} {kind}")).collect();
    world.sql.execute(&format!("CREATE TABLE t ({})", columns.join(", "))).unwrap();
    let fields: Vec<String> = kinds().map(|(n, (_, json, _))| format!("\"c{n}\":{json}")).collect();
    let backwards: Vec<String> = fields.iter().rev().cloned().collect();
    let messages = [fields, backwards]
        .map(|fields| Message::json(&format!("{{{},\"more\":1}}", fields.join(","))));
    produce(&world, &messages);
    write_all(&world, "", 2);
    world.sql.execute("SET timezone = 'UTC'").unwrap();
    let rows = world.rows("SELECT * FROM t");
    let expected: Vec<&str> = kinds().map(|(_, (_, _, shown))| shown).collect();
    assert_eq!(rows, [expected.clone(), expected]);
}

#[test]
fn identity_default_and_generated_columns_are_left_to_postgres() {
    let world = World::bare("table-defaults", 1);
    world
        .sql
        .execute(
            "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY, n int NOT NULL, \
             status text NOT NULL DEFAULT 'new', double int GENERATED ALWAYS AS (n * 2) STORED, \
             hidden text DEFAULT 'kept')",
        )
        .unwrap();
    let messages = [
        r#"{"n":1}"#,
        r#"{"n":2,"status":"paid"}"#,
        r#"{"n":3,"hidden":"no"}"#,
        r#"{"n":4,"status":null}"#,
    ]
    .map(Message::json);
    produce(&world, &messages);
    write_all(&world, "[routes.to.columns]\nhidden = { skip = true }", 4);
    let rows = world.rows("SELECT n, status, double, hidden FROM t ORDER BY n");
    let expected =
        [["1", "new", "2", "kept"], ["2", "paid", "4", "kept"], ["3", "new", "6", "kept"]];
    assert_eq!(rows, grid(&expected));
    assert_eq!(world.number("SELECT count(DISTINCT id) FROM t"), 3);
    let refused = world.rows("SELECT \"offset\", reason, column_name FROM tidegate.dead_letters");
    assert_eq!(refused, grid(&[["3", "missing_value", "status"]]));
}

#[test]
fn a_header_name_that_is_not_utf8_is_kept_readable() {
    let world = World::bare("table-header", 1);
    world.sql.execute("CREATE TABLE t (a int, h jsonb)").unwrap();
    produce_with_header(&world, r#"{"a":1}"#, c"caf\xe9", b"x");
    produce_with_header(&world, r#"{"a":"one"}"#, c"caf\xe9", b"x");
    write_all(&world, "[routes.to.columns]\nh = { metadata = \"headers\" }", 2);
    assert_eq!(world.rows("SELECT a, h FROM t"), grid(&[["1", "{\"caf\u{fffd}\": \"x\"}"]]));
    let letters = world.rows("SELECT reason, headers->0->>'name' FROM tidegate.dead_letters");
    assert_eq!(letters, grid(&[["invalid_text", "caf\u{fffd}"]]));
}

#[test]
fn metadata_columns_hold_the_facts_of_the_record() {
    let world = World::bare("table-metadata", 2);
    world
        .sql
        .execute(
            "CREATE TABLE t (a int, top text, par int, off bigint, ts timestamptz, ms bigint, \
             k text, kb bytea, h jsonb, p text, pb bytea)",
        )
        .unwrap();
    let first = Message {
        partition: 1,
        key: Some(b"key-1".to_vec()),
        timestamp_ms: Some(1_767_225_600_123),
        headers: vec![
            ("trace", Some(b"abc".to_vec())),
            ("n", None),
            ("twice", Some(b"1".to_vec())),
            ("twice", Some(b"2".to_vec())),
            ("bin", Some(vec![0xff])),
        ],
        ..Message::json(r#"{"a":1}"#)
    };
    let second = Message { partition: 1, timestamp_ms: Some(1), ..Message::json(r#"{"a": 2}"#) };
    produce(&world, &[first, second]);
    let feeds = "[routes.to.columns]\ntop = { metadata = \"topic\" }\n\
        par = { metadata = \"partition\" }\noff = { metadata = \"offset\" }\n\
        ts = { metadata = \"timestamp\" }\nms = { metadata = \"timestamp\" }\n\
        k = { metadata = \"key\" }\nkb = { metadata = \"key\" }\nh = { metadata = \"headers\" }\n\
        p = { metadata = \"payload\" }\npb = { metadata = \"payload\" }";
    write_all(&world, feeds, 2);
    world.sql.execute("SET timezone = 'UTC'").unwrap();
    let headers = r#"{"n": null, "bin": "/w==", "trace": "abc", "twice": ["1", "2"]}"#;
    let expected = [
        [
            "1",
            "table-metadata",
            "1",
            "0",
            "2026-01-01 00:00:00.123+00",
            "1767225600123",
            "key-1",
            r"\x6b65792d31",
            headers,
            r#"{"a":1}"#,
            r"\x7b2261223a317d",
        ],
        [
            "2",
            "table-metadata",
            "1",
            "1",
            "1970-01-01 00:00:00.001+00",
            "1",
            "~",
            "~",
            "{}",
            r#"{"a": 2}"#,
            r"\x7b2261223a20327d",
        ],
    ];
    assert_eq!(world.rows("SELECT * FROM t ORDER BY a"), grid(&expected));
}

#[test]
fn a_missing_table_is_made_from_what_the_records_show() {
    let world = World::bare("table-create", 1);
    let messages = [
        r#"{"id":1,"price":1.50,"name":"a","at":"2026-01-01T00:00:00Z","tags":[1],"ok":true,"day":"2026-01-02","u":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}"#,
        r#"{"id":2,"price":20,"name":null,"at":"2026-01-02T00:00:00Z","tags":[],"ok":false,"day":"2026-01-03","u":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"}"#,
    ]
    .map(Message::json);
    produce(&world, &messages);
    write_all(&world, "on_missing_table = \"create\"", 2);
    let columns = world.rows(
        "SELECT column_name, data_type FROM information_schema.columns \
         WHERE table_schema = 'public' AND table_name = 't' ORDER BY ordinal_position",
    );
    let expected = [
        ["id", "bigint"],
        ["price", "numeric"],
        ["name", "text"],
        ["at", "timestamp with time zone"],
        ["tags", "ARRAY"],
        ["ok", "boolean"],
        ["day", "date"],
        ["u", "uuid"],
    ];
    assert_eq!(columns, grid(&expected));
    let rows = world.rows("SELECT id, price, name FROM t ORDER BY id");
    assert_eq!(rows, grid(&[["1", "1.50", "a"], ["2", "20", "~"]]));
}

/// Runs it, and expects it to end by itself with `code` and every one of `words` on its last line.
pub(crate) fn assert_refused(world: &World, config: &str, code: i32, words: &[&str]) {
    let exit = world.run(config, &[]).wait();
    assert_eq!(exit.code, Some(code), "{}", exit.log);
    let last = exit.log.lines().last().unwrap();
    for word in words {
        assert!(last.contains(word), "'{word}' is not in: {last}");
    }
}

#[test]
fn what_is_wrong_with_a_table_ends_the_start_and_is_named() {
    let world = World::bare("table-wrong", 1);
    world
        .sql
        .execute(
            "CREATE TABLE tt (n int); CREATE TABLE good (n int); CREATE VIEW v AS TABLE good; \
             CREATE UNLOGGED TABLE u (n int); CREATE TABLE words (n int)",
        )
        .unwrap();
    let plain = config(&world, "");
    let table = |name: &str| plain.replace("table = \"t\"", &format!("table = \"{name}\""));

    assert_refused(
        &world,
        &plain,
        78,
        &["no table \"t\"", "Did you mean `tt`?", "on_missing_table"],
    );
    assert_refused(&world, &table("nowhere.t"), 78, &["\"nowhere\".\"t\""]);
    assert_refused(&world, &table("v"), 78, &["public.v is not a table"]);
    assert_refused(&world, &table("u"), 78, &["public.u is UNLOGGED", "SET LOGGED"]);
    let unknown = format!("{}[routes.to.columns]\nm = {{ field = \"n\" }}", table("good"));
    assert_refused(&world, &unknown, 78, &["public.good has no column `m`"]);
    let unfit = format!("{}[routes.to.columns]\nn = {{ metadata = \"topic\" }}", table("good"));
    assert_refused(&world, &unfit, 78, &["column n", "integer", "topic"]);
}

#[test]
fn a_role_without_the_right_and_a_wrong_password_are_refused_for_what_they_are() {
    let world = World::bare("table-rights", 1);
    let postgres = postgres();
    postgres.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'").unwrap();
    world.sql.execute("CREATE TABLE t (n int)").unwrap();
    let plain = config(&world, "");
    let weak = plain.replace("tidegate:tidegate@", "weak:weak@");
    assert_refused(&world, &weak, 77, &["role weak", "public.t", "GRANT INSERT"]);
    // It may write the table, but not make tidegate's own.
    world.sql.execute("GRANT INSERT ON t TO weak").unwrap();
    assert_refused(&world, &weak, 77, &["permission denied"]);
    let wrong = plain.replace("tidegate:tidegate@", "tidegate:Geheimnis@");
    let exit = world.run(&wrong, &[]).wait();
    assert_eq!(exit.code, Some(77), "{}", exit.log);
    assert!(exit.log.contains("password authentication failed"), "{}", exit.log);
    assert!(!exit.log.contains("Geheimnis"), "{}", exit.log);
    let nowhere = plain.replace("/table-rights\"", "/elsewhere\"");
    assert_refused(&world, &nowhere, 78, &["database \"elsewhere\" does not exist"]);
}

#[test]
fn an_unknown_topic_is_refused_with_the_likely_one() {
    let world = World::bare("table-topic", 1);
    world.sql.execute("CREATE TABLE t (n int)").unwrap();
    let plain = config(&world, "");
    let wrong = plain.replace("topics = [\"table-topic\"]", "topics = [\"table-topics\"]");
    assert_refused(&world, &wrong, 78, &["no topic `table-topics`", "Did you mean `table-topic`?"]);
}

#[test]
fn servers_that_are_not_there_are_waited_for_and_then_named() {
    let world = World::bare("table-unreachable", 1);
    world.sql.execute("CREATE TABLE t (n int)").unwrap();
    let plain = config(&world, "");
    // Nothing listens on the discard port of a machine that runs tests.
    let no_kafka = plain.replace(&world.brokers, "127.0.0.1:9");
    let port = postgres().port();
    let no_postgres = plain.replace(&format!("127.0.0.1:{port}/"), "127.0.0.1:9/");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = World::bare("table-unreachable-kafka", 1);
            other.sql.execute("CREATE TABLE t (n int)").unwrap();
            assert_refused(&other, &no_kafka, 69, &["127.0.0.1:9", "is Kafka up?"]);
        });
        assert_refused(&world, &no_postgres, 69, &["sink serving", "is Postgres up?"]);
    });
}
