//! `tidegate dlq`, and what it finds in the table: a letter is a row or a letter, never both and
//! never neither, whoever replays it and whatever kills it.

use std::{process::Stdio, thread, time::Duration};

use serde_json::Value;

use crate::support::{Chance, Exit, Message, Tidegate, World, eventually, grid, postgres, produce};

fn dlq(world: &World, arguments: &[&str]) -> Exit {
    let arguments = [&["dlq"], arguments].concat();
    Tidegate::spawn(world.folder.path(), &arguments, Stdio::null()).wait()
}

/// What the command prints; it must succeed.
fn said(world: &World, arguments: &[&str]) -> String {
    let exit = dlq(world, arguments);
    assert_eq!(exit.code, Some(0), "{arguments:?}: {}{}", exit.stdout, exit.log);
    exit.stdout
}

/// Runs until every record of the topic has found its fate.
fn settle(world: &World, config: &str, records: u64) {
    let mut tidegate = world.run(config, &[]);
    tidegate.await_ready();
    eventually("every record's fate", || {
        let counts = tidegate.assert_conservation();
        if counts.consumed == records { Ok(()) } else { Err(format!("{counts:?}")) }
    });
    tidegate.stop();
}

fn order(n: i64) -> Message {
    Message {
        partition: (n % 2) as i32,
        ..Message::json(&format!(r#"{{"order_id":{n},"amount":{n},"note":"x"}}"#))
    }
}

/// A world in which so many orders are dead letters, because a CHECK refuses them.
fn refused(name: &str, count: i64) -> World {
    let world = World::new(name, 2);
    world.sql.execute("ALTER TABLE orders ADD CONSTRAINT never CHECK (order_id < 0)").unwrap();
    // The encoder refuses them: where Postgres refuses most rows of a batch, the table is taken to be
    // at fault. Nor may the breaker take offence.
    let config = world.orders_config().replace(
        "kafka_offset = { metadata = \"offset\" }",
        "kafka_offset = { metadata = \"offset\" }\norder_id = { field = \"id\" }",
    );
    let config =
        config.replace("source = \"shop\"", "source = \"shop\"\nmax_dead_letter_percent = 100");
    produce(&world, &(0..count).map(order).collect::<Vec<_>>());
    settle(&world, &config, count as u64);
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), count);
    world.write_config(&world.orders_config());
    world
}

/// Every order is a row or a letter, once.
fn assert_whole(world: &World, count: i64) -> i64 {
    let rows = world.rows(
        "SELECT count(*), count(DISTINCT order_id), count(DISTINCT (kafka_partition, kafka_offset)), \
         (SELECT count(*) FROM tidegate.dead_letters) FROM orders",
    );
    let numbers: Vec<i64> = rows[0].iter().map(|cell| cell.parse().unwrap()).collect();
    let [rows, orders, places, letters] = numbers[..] else { panic!("{numbers:?}") };
    assert_eq!((rows, rows), (orders, places), "an order is there twice");
    assert_eq!(rows + letters, count, "{rows} rows and {letters} letters");
    letters
}

#[test]
fn letters_are_rows_once_their_cause_is_gone_also_beside_a_running_tidegate() {
    let world = World::new("dlq-cause", 2);
    world.sql.execute("ALTER TABLE orders ADD CONSTRAINT small CHECK (amount < 900)").unwrap();
    let mut messages: Vec<Message> = (0..1000).map(order).collect();
    messages[10] = Message::json("not JSON");
    messages[12] = Message::json(r#"{"order_id":12,"amount":12,"item_count":3000000000}"#);
    produce(&world, &messages);
    let mut tidegate = world.run_orders(&[]);
    eventually("every record's fate", || {
        let counts = tidegate.assert_conservation();
        if counts.consumed == 1000 { Ok(()) } else { Err(format!("{counts:?}")) }
    });
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 102);
    let before =
        world.rows("SELECT topic, partition, \"offset\", reason FROM tidegate.dead_letters");

    // Nothing has changed: all are refused again, none is lost.
    let dry = said(&world, &["replay", "--dry-run"]);
    let expected = "100 dead letters could be encoded, 2 would be refused again (1 malformed, \
                    1 out_of_range)\n";
    assert_eq!(dry, expected);
    let again = said(&world, &["replay"]);
    let expected = "0 dead letters replayed, 102 refused again (1 malformed, 1 out_of_range, \
                    100 refused)\n";
    assert_eq!(again, expected);
    let mut after =
        world.rows("SELECT topic, partition, \"offset\", reason FROM tidegate.dead_letters");
    let mut before = before;
    before.sort();
    after.sort();
    assert_eq!(after, before);

    world
        .sql
        .execute(
            "ALTER TABLE orders DROP CONSTRAINT small; \
             ALTER TABLE orders ADD CONSTRAINT small CHECK (amount < 990)",
        )
        .unwrap();
    produce(&world, &(1000..1100).map(|n| order(n - 1000)).collect::<Vec<_>>());
    let replayed = said(&world, &["replay", "--reason", "refused"]);
    assert_eq!(replayed, "90 dead letters replayed, 10 refused again (10 refused)\n");
    eventually("the new orders", || {
        let counts = tidegate.assert_conservation();
        if counts.consumed == 1100 { Ok(()) } else { Err(format!("{counts:?}")) }
    });
    tidegate.stop();
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 12);
    assert_eq!(world.count_orders(), 1100 - 12);

    // A wider column; its letter becomes a row with the place that its record has.
    world.sql.execute("ALTER TABLE orders ALTER item_count TYPE bigint").unwrap();
    let replayed = said(&world, &["replay", "--topic", "dlq-cause"]);
    let expected = "1 dead letter replayed, 11 refused again (1 malformed, 10 refused)\n";
    assert_eq!(replayed, expected);
    let row = "SELECT item_count, kafka_partition, kafka_offset, note FROM orders \
               WHERE item_count IS NOT NULL";
    let place = "SELECT 3000000000, 0, 6, NULL::text";
    assert_eq!(world.rows(row), world.rows(place));
}

#[test]
fn two_replays_at_once_make_one_row_of_each_letter() {
    let count = 2_000;
    let world = refused("dlq-two", count);
    world.sql.execute("ALTER TABLE orders DROP CONSTRAINT never").unwrap();
    let outputs = thread::scope(|scope| {
        let replays = [(); 3].map(|()| scope.spawn(|| said(&world, &["replay"])));
        replays.map(|replay| replay.join().unwrap())
    });
    let replayed = |output: &String| output.split(' ').next().unwrap().parse::<i64>().unwrap();
    assert_eq!(outputs.iter().map(replayed).sum::<i64>(), count, "{outputs:?}");
    assert_eq!(assert_whole(&world, count), 0);
}

#[test]
fn a_replay_that_is_killed_leaves_each_letter_a_row_or_a_letter() {
    let count = 3_000;
    let world = refused("dlq-killed", count);
    // Slow enough for a kill to meet it anywhere.
    world
        .sql
        .execute(
            "ALTER TABLE orders DROP CONSTRAINT never; \
             CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_sleep(0.0005); RETURN NEW; END $$; \
             CREATE TRIGGER slow BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .unwrap();
    let mut chance = Chance::new();
    for _ in 0..8 {
        let replay = Tidegate::spawn(world.folder.path(), &["dlq", "replay"], Stdio::null());
        chance.pass_up_to(Duration::from_millis(500));
        replay.kill();
        assert_whole(&world, count);
    }
    said(&world, &["replay"]);
    assert_eq!(assert_whole(&world, count), 0, "seed {}", chance.seed);
}

#[test]
fn headers_are_kept_and_come_back_in_the_row_of_a_replay() {
    let world = World::bare("dlq-headers", 1);
    // As an earlier version has made it.
    let ddl = "CREATE SCHEMA tidegate; CREATE TABLE tidegate.dead_letters ( \
        consumer_group text NOT NULL, cluster_id text NOT NULL, topic text NOT NULL, \
        partition integer NOT NULL, \"offset\" bigint NOT NULL, target text NOT NULL, \
        record_timestamp timestamptz, key bytea, value bytea, reason text NOT NULL, \
        column_name text, message text NOT NULL, sqlstate text, \
        created_at timestamptz NOT NULL DEFAULT now(), \
        PRIMARY KEY (consumer_group, cluster_id, topic, partition, \"offset\", target)); \
        CREATE TABLE public.t (n int CHECK (n > 0), head jsonb, key text, at timestamptz)";
    world.sql.execute(ddl).unwrap();
    let feeds = "head = { metadata = \"headers\" }\nkey = { metadata = \"key\" }\n\
                 at = { metadata = \"timestamp\" }";
    let to = format!("\"serving\"\ntable = \"t\"\n[routes.to.columns]\n{feeds}");
    let config = format!(
        "{}{}{}",
        world.source_config(""),
        world.sink_config("serving"),
        world.route_config(&to)
    );
    let message = |value: &str| Message {
        key: Some(b"k".to_vec()),
        timestamp_ms: Some(1_767_225_600_123),
        headers: vec![("a", Some(b"1".to_vec())), ("b", Some(vec![0, 1])), ("c", None)],
        ..Message::json(value)
    };
    produce(&world, &[message(r#"{"n":"x"}"#), message(r#"{"n":-1}"#), message(r#"{"n":1}"#)]);
    settle(&world, &config, 3);
    let expected = serde_json::json!(
        [{"name": "a", "value": "1"}, {"name": "b", "hex": "0001"}, {"name": "c", "value": null}]
    );
    let kept = world.rows("SELECT reason, headers FROM tidegate.dead_letters ORDER BY \"offset\"");
    for (row, reason) in kept.iter().zip(["invalid_text", "refused"]) {
        assert_eq!(row[0], reason);
        assert_eq!(serde_json::from_str::<Value>(&row[1]).unwrap(), expected);
    }
    world.sql.execute("ALTER TABLE public.t DROP CONSTRAINT t_n_check, ALTER n TYPE text").unwrap();
    assert_eq!(said(&world, &["replay"]), "2 dead letters replayed, 0 refused again\n");
    let rows = world.rows("SELECT DISTINCT head, key, at FROM public.t");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0][1..], ["k".to_owned(), "2026-01-01 00:00:00.123+00".to_owned()]);
}

#[test]
fn a_role_that_may_not_add_the_column_is_told_what_its_owner_must_run() {
    let world = World::new("dlq-role", 1);
    settle(&world, &world.orders_config(), 0);
    postgres().execute("CREATE ROLE clerk LOGIN PASSWORD 'clerk'").unwrap();
    let alter = "ALTER TABLE tidegate.dead_letters";
    world
        .sql
        .execute(&format!(
            "{alter} DROP COLUMN headers; GRANT USAGE ON SCHEMA tidegate TO clerk; \
             GRANT INSERT ON orders TO clerk; \
             GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA tidegate TO clerk"
        ))
        .unwrap();
    let config = world.orders_config().replace("tidegate:tidegate@", "clerk:clerk@");
    let exit = world.run(&config, &[]).wait();
    assert_eq!(exit.code, Some(77), "{}", exit.log);
    let order = format!("{alter} ADD COLUMN IF NOT EXISTS headers jsonb");
    assert!(exit.log.contains(&order), "{}", exit.log);
    world.sql.execute(&order).unwrap();
    settle(&world, &config, 0);
    produce(&world, &[Message::json("bad")]);
    settle(&world, &config, 1);
    assert!(said(&world, &["ls"]).contains("malformed"));
    let exit = dlq(&world, &["drop", "--all"]);
    assert_eq!(exit.code, Some(77), "{}", exit.log);
    assert!(exit.log.contains("DELETE on tidegate.dead_letters"), "{}", exit.log);
}

#[test]
fn letters_are_listed_shown_counted_and_dropped() {
    let world = World::new("dlq-list", 2);
    world.write_config(&world.orders_config());
    // Before the first run there is no table, and nothing is made.
    assert_eq!(said(&world, &["ls"]), "0 dead letters of dlq-list\n");
    assert_eq!(said(&world, &["drop", "--all"]), "dropped 0 dead letters of dlq-list\n");
    assert_eq!(world.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'tidegate'"), 0);

    let with = |partition, value: &[u8]| Message {
        partition,
        key: Some(b"k\xff".to_vec()),
        value: Some(value.to_vec()),
        headers: vec![("trace", Some(b"abc".to_vec()))],
        ..Message::default()
    };
    let messages = [
        with(0, b"not \x1b[31mJSON"),
        with(0, br#"{"order_id":1,"amount":1e10}"#),
        with(1, b"\xff\x00"),
        with(1, br#"{"order_id":2,"amount":"x"}"#),
    ];
    produce(&world, &messages);
    settle(&world, &world.orders_config(), 4);

    let list = said(&world, &["ls"]);
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].starts_with("SINCE") && lines[0].ends_with("MESSAGE"), "{list}");
    assert_eq!(lines.len(), 6, "{list}");
    assert_eq!(lines[5], "4 dead letters of dlq-list");
    assert!(!list.contains('\x1b'), "{list}");
    let one = said(&world, &["ls", "--limit", "1", "--reason", "malformed"]);
    assert!(one.ends_with("1 of 2 dead letters of dlq-list; --limit shows more\n"), "{one}");

    let json = said(&world, &["ls", "--json", "--partition", "1", "--offset", "1"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["topic"], &json["target"], &json["reason"], &json["column"]),
        (
            &"dlq-list".into(),
            &"serving.public.orders".into(),
            &"invalid_text".into(),
            &"amount".into()
        )
    );
    let sums = said(&world, &["ls", "--by", "reason", "--json"]);
    let sums: Vec<Value> = sums.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&sums[0]["count"], &sums[0]["reason"]), (&2.into(), &"malformed".into()));
    assert_eq!(sums.len(), 3, "{sums:?}");
    assert!(said(&world, &["ls", "--since", "1h"]).contains("4 dead letters"));
    assert!(said(&world, &["ls", "--since", "2999-01-01T00:00:00Z"]).contains("0 dead letters"));
    assert!(said(&world, &["ls", "--group", "another"]).starts_with("0 dead letters of another"));

    let shown = said(&world, &["show", "dlq-list", "0", "0"]);
    for line in [
        "record     dlq-list 0 0",
        "target     serving.public.orders",
        "reason     malformed",
        "header     trace: abc",
        "key        \\x6bff",
        "value      not \\u{1b}[31mJSON",
    ] {
        assert!(shown.lines().any(|found| found == line), "'{line}' is not in {shown}");
    }
    let shown = said(&world, &["show", "dlq-list", "1", "0"]);
    assert!(shown.contains("value      \\xff00"), "{shown}");
    let exit = dlq(&world, &["show", "dlq-list", "0", "9"]);
    assert_eq!(exit.code, Some(65), "{}", exit.log);
    assert!(exit.log.contains("no dead letter dlq-list 0 9"), "{}", exit.log);

    for wrong in [&["drop"][..], &["drop", "--all", "--topic", "x"], &["ls", "--reason", "why"]] {
        assert_eq!(dlq(&world, wrong).code, Some(64), "{wrong:?}");
    }
    let filter = ["--reason", "malformed", "--partition", "0"];
    let dry = said(&world, &[&["drop", "--dry-run"], &filter[..]].concat());
    assert_eq!(dry, "would drop 1 dead letter of dlq-list\n");
    let dropped = said(&world, &[&["drop"], &filter[..]].concat());
    assert_eq!(dropped, "dropped 1 dead letter of dlq-list\n");
    let left = "SELECT partition, \"offset\" FROM tidegate.dead_letters ORDER BY 1, 2";
    assert_eq!(world.rows(left), grid(&[["0", "1"], ["1", "0"], ["1", "1"]]));
}

#[test]
fn a_letter_without_a_target_is_left_alone_and_counted() {
    let world = refused("dlq-homeless", 5);
    let renamed = world.orders_config().replace("serving", "elsewhere");
    world.write_config(&renamed);
    let exit = dlq(&world, &["replay"]);
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    let expected = "0 dead letters replayed, 0 refused again\n\
                    5 dead letters left alone: no route brings them to their target\n";
    assert_eq!(exit.stdout, expected);
    assert!(exit.log.contains("dlq-homeless to serving.public.orders"), "{}", exit.log);
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 5);
}
