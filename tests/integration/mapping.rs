//! What feeds a column, and which records are wanted.

use std::process::Stdio;

use crate::support::{Message, Tidegate, World, eventually, grid, kafka, produce, produce_to};

/// A route with the targets `to`; each is what stands behind `[[routes.to]]`.
fn config(world: &World, to: &[&str]) -> String {
    let ends = format!("{}{}", world.source_config(""), world.sink_config("serving"));
    let mut config =
        format!("{ends}[[routes]]\nsource = \"shop\"\ntopics = [\"{}\"]\n", world.name);
    for target in to {
        config.push_str(&format!("[[routes.to]]\nsink = \"serving\"\n{target}\n"));
    }
    config
}

#[test]
fn columns_are_fed_from_anywhere_in_the_record_or_from_the_configuration() {
    let world = World::bare("mapping-feeds", 1);
    world
        .sql
        .execute(
            "CREATE TABLE t (id int, city text, sku text, source text NOT NULL, version int DEFAULT 9, \
             status text NOT NULL DEFAULT 'unknown', seen timestamptz, extra jsonb, raw jsonb)",
        )
        .unwrap();
    let messages = [
        r#"{"order_id":1,"address":{"city":"K\u00f6ln","zip":"1"},"items":[{"sku":"a"},{"sku":"b"}],
            "status":"paid","seen":1767225600,"gift":true,"note":{"x":[1,2]}}"#,
        r#"{"order_id":2,"address":null,"items":[],"status":null}"#,
        r#"{"order_id":3}"#,
    ]
    .map(Message::json);
    produce(&world, &messages);
    let feeds = "table = \"t\"\n[routes.to.columns]\nid = { field = \"order_id\" }\n\
        city = { pointer = \"/address/city\" }\n\
        sku = { pointer = \"/items/1/sku\", default = \"none\" }\nsource = { constant = \"web\" }\n\
        version = { constant = 2 }\nstatus = { default = \"new\" }\n\
        seen = { epoch = \"s\", default = \"1970-01-01T00:00:00Z\" }\nextra = { rest = true }\n\
        raw = { metadata = \"payload\" }";
    let mut tidegate = world.run(&config(&world, &[feeds]), &[]);
    eventually("the rows", || match tidegate.assert_conservation().written {
        3 => Ok(()),
        other => Err(other.to_string()),
    });
    tidegate.stop();
    world.sql.execute("SET timezone = 'UTC'").unwrap();
    let rows = world.rows(
        "SELECT id, city, sku, source, version, status, seen, extra, raw->>'order_id' FROM t ORDER BY id",
    );
    let rest = r#"{"gift": true, "note": {"x": [1, 2]}}"#;
    let expected = [
        ["1", "Köln", "b", "web", "2", "paid", "2026-01-01 00:00:00+00", rest, "1"],
        ["2", "~", "none", "web", "2", "new", "1970-01-01 00:00:00+00", "~", "2"],
        ["3", "~", "none", "web", "2", "new", "1970-01-01 00:00:00+00", "~", "3"],
    ];
    assert_eq!(rows, grid(&expected));
}

#[test]
fn one_topic_is_spread_over_tables_by_what_each_wants() {
    let world = World::bare("mapping-where", 2);
    world
        .sql
        .execute(
            "CREATE TABLE paid (order_id int, \"Total\" numeric); CREATE TABLE others (order_id int)",
        )
        .unwrap();
    let mut messages: Vec<Message> = (0..40)
        .map(|i| {
            let status = ["paid", "new", "removed", "lost"][i % 4];
            let json = format!(r#"{{"orderId":{i},"total":{i}.5,"status":"{status}"}}"#);
            Message { partition: (i % 2) as i32, ..Message::json(&json) }
        })
        .collect();
    messages.push(Message::json(r#"{"orderId":40,"total":"many","status":"paid"}"#));
    produce(&world, &messages);
    let targets = [
        "table = \"paid\"\nmatch = \"loose\"\nwhere = \"status == 'paid' && total < 20\"",
        "table = \"others\"\nmatch = \"loose\"\nwhere = \"status in ['new', 'lost'] && metadata.partition == 1\"",
    ];
    let mut tidegate = world.run(&config(&world, &targets), &[]);
    let counts = eventually("all records", || {
        let counts = tidegate.assert_conservation();
        if counts.consumed == 82 { Ok(counts) } else { Err(format!("{counts:?}")) }
    });
    assert_eq!((counts.written, counts.filtered, counts.dead_lettered), (25, 56, 1));
    let filtered = tidegate.metric_with("tidegate_records_filtered_total", "others");
    assert!(filtered > 0.0);
    tidegate.stop();
    let paid = world.rows("SELECT order_id, \"Total\" FROM paid ORDER BY 1");
    let expected = [["0", "0.5"], ["4", "4.5"], ["8", "8.5"], ["12", "12.5"], ["16", "16.5"]];
    assert_eq!(paid, grid(&expected));
    assert_eq!(world.number("SELECT count(*) FROM others WHERE order_id % 2 = 1"), 20);
    let letters = world.rows("SELECT reason, message LIKE 'where = %' FROM tidegate.dead_letters");
    assert_eq!(letters, grid(&[["filter", "t"]]));
    // The position has passed what nobody wanted, also at the very end.
    let behind =
        "SELECT count(*) FROM tidegate.checkpoints WHERE next_offset <> 20 + (partition + 1) % 2";
    assert_eq!(world.number(behind), 0);
}

#[test]
fn each_topic_of_a_pattern_gets_the_table_that_its_name_makes() {
    let world = World::bare("mapping-topics", 1);
    let topic = |name: &str| format!("mapping-topics.{name}");
    for name in ["eu.orders", "us.orders", "dead"] {
        kafka().create_topic(&topic(name), 1, &[]).unwrap();
    }
    world
        .sql
        .execute("CREATE SCHEMA eu; CREATE SCHEMA us; CREATE TABLE eu.orders_v1 (id int); CREATE TABLE us.orders_v1 (id int)")
        .unwrap();
    produce_to(&world.brokers, &topic("eu.orders"), &[1, 2].map(order));
    produce_to(&world.brokers, &topic("us.orders"), &[3].map(order));
    let target = format!(
        "table = \"{{1}}.{{what}}_v1\"\ndead_letters = {{ topic = \"{}\" }}",
        topic("dead")
    );
    let pattern = r"topics = ['^mapping-topics\.([a-z]+)\.?(?<what>.*)$']";
    let config = config(&world, &[&target]).replace("topics = [\"mapping-topics\"]", pattern);
    let mut tidegate = world.run(&config, &[]);
    eventually("the rows", || match tidegate.assert_conservation().written {
        3 => Ok(()),
        other => Err(other.to_string()),
    });
    kafka().create_topic(&topic("fr.orders"), 1, &[]).unwrap();
    tidegate.await_log("the new topic mapping-topics.fr.orders matches a pattern");
    tidegate.stop();
    assert_eq!(world.rows("SELECT id FROM eu.orders_v1 ORDER BY 1"), grid(&[["1"], ["2"]]));
    assert_eq!(world.rows("SELECT id FROM us.orders_v1"), grid(&[["3"]]));

    // After a restart the new topic is read; but its table has to be there.
    let exit = world.run(&config, &[]).wait();
    assert_eq!(exit.code, Some(78), "{}", exit.log);
    assert!(exit.log.contains("there is no table \"fr\".\"orders_v1\""), "{}", exit.log);
    let nothing = config.replace("mapping-topics\\.", "mapping-nothing");
    let exit = world.run(&nothing, &[]).wait();
    assert_eq!(exit.code, Some(69), "{}", exit.log);
    assert!(exit.log.contains("no topic of source shop matches"), "{}", exit.log);
}

#[test]
fn a_plan_shows_the_rows_and_the_tables_and_writes_nothing() {
    let world = World::bare("mapping-plan", 1);
    world.sql.execute("CREATE TABLE t (id int, at timestamptz, note text DEFAULT 'none')").unwrap();
    let mut messages = [
        r#"{"id":1,"ts":1767225600,"note":"caf\u00e9\n","gift":true}"#,
        r#"{"id":"two","ts":0}"#,
        r#"{"id":-3,"ts":1}"#,
    ]
    .map(Message::json)
    .to_vec();
    messages.push(Message { key: Some(b"1".to_vec()), ..Message::default() });
    produce(&world, &messages);
    let targets = [
        "table = \"t\"\nwhere = \"id != -3\"\n[routes.to.columns]\nat = { field = \"ts\", epoch = \"s\" }",
        "table = \"new\"\non_missing_table = \"create\"",
        "table = \"merged\"\non_missing_table = \"create\"\nwrite = \"upsert\"\nkey = [\"ts\"]",
    ];
    world.write_config(&config(&world, &targets));
    let exit = Tidegate::spawn(world.folder.path(), &["plan"], Stdio::null()).wait();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    let plan = exit.stdout;
    for part in [
        "table t, exactly once",
        "  at    timestamp with time zone  field ts, epoch s\n",
        "  note  text                      field note, or the column's default\n",
        "  where id != -3\n",
        "  fed to no column: gift\n",
        "mapping-plan[0]@0\n    id    1\n    at    2026-01-01 00:00:00+00\n    note  café\\n\n",
        "mapping-plan[0]@1 becomes a dead letter (invalid_text): column id: `two`",
        "mapping-plan[0]@2 is passed over\n",
        "mapping-plan[0]@3 becomes a dead letter (tombstone)",
        "  CREATE TABLE IF NOT EXISTS \"new\" (\n      \"id\" jsonb,\n      \"ts\" bigint,\n",
        "mapping-plan[0]@1\n    id    \"two\"\n    ts    0\n",
        "  CREATE UNIQUE INDEX IF NOT EXISTS \"merged_key\" ON \"merged\" (\"ts\");\n",
    ] {
        assert!(plan.contains(part), "{part}\n--- in ---\n{plan}");
    }
    assert_eq!(world.number("SELECT count(*) FROM t"), 0);
    let made = "SELECT count(*) FROM pg_class WHERE relname IN ('new', 'merged', 'tidegate_plan')";
    assert_eq!(world.number(made), 0);
}

fn order(id: i32) -> Message {
    Message::json(&format!("{{\"id\":{id}}}"))
}

#[test]
fn what_cannot_be_mapped_ends_the_start_with_the_way_out() {
    let world = World::bare("mapping-wrong", 1);
    world.sql.execute("CREATE TABLE t (user_id int, \"userId\" int, n smallint)").unwrap();
    for (target, problem) in [
        ("table = \"t\"\nmatch = \"loose\"", "the columns user_id and userId have the same name"),
        (
            "table = \"t\"\n[routes.to.columns]\nn = { constant = 70000 }",
            "columns.n of public.t: `70000`",
        ),
        (
            "table = \"t\"\n[routes.to.columns]\nn = { rest = true }",
            "has type smallint, which cannot hold the rest of a record",
        ),
        ("table = \"t\"\nwhere = \"n >\"", "where: expected an expression in CEL"),
    ] {
        let exit = world.run(&config(&world, &[target]), &[]).wait();
        assert_eq!(exit.code, Some(78), "{}", exit.log);
        assert!(exit.log.contains(problem), "{problem}: {}", exit.log);
    }
}
