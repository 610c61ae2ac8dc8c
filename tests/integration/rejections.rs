//! Records that cannot become rows: each is kept with its bytes and its reason, and every other is
//! written once.

use std::{collections::BTreeMap, time::Duration};

use crate::support::{
    Message, World, eventually, eventually_within, expected_poison, grid, load, orders_profile,
    produce,
};

const TARGET: &str = "serving.public.orders";

fn hex(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "~".to_owned(),
        Some(bytes) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!(r"\x{digits}")
        }
    }
}

#[test]
fn each_kind_of_poison_is_kept_with_its_bytes_its_position_and_its_reason() {
    let world = World::new("poison", 3);
    let profile = loadgen::Profile { poison: 0.05, ..orders_profile(11) };
    let count = 6_000;
    let ledger = load(&world, profile.clone(), count);
    let tidegate = world.run_orders(&[]);
    world.await_checkpoints(&ledger, TARGET);
    tidegate.stop();
    world.assert_exact(&ledger, 11);

    let rows = world.rows("SELECT partition, \"offset\", key, value FROM tidegate.dead_letters");
    let found: BTreeMap<_, _> = rows
        .iter()
        .map(|row| ((row[0].parse().unwrap(), row[1].parse().unwrap()), &row[2..]))
        .collect();
    // Poison carries a negative id, or breaks off before it.
    let is_poison = |record: &loadgen::Record| {
        let value = record.value();
        value.is_none_or(|value| {
            value.starts_with(b"{\"order_id\":-") || value.starts_with(b"order ")
        })
    };
    let expected = expected_poison(&profile, 3, count, is_poison);
    assert_eq!(found.len(), expected.len());
    for (place, record) in &expected {
        assert_eq!(found[place], [hex(record.key()), hex(record.value())], "{place:?}");
    }

    let kinds = &ledger.totals.poison;
    let reasons: BTreeMap<String, u64> = world
        .rows(
            "SELECT reason || ' ' || coalesce(column_name, ''), count(*) \
             FROM tidegate.dead_letters GROUP BY 1",
        )
        .into_iter()
        .map(|row| (row[0].clone(), row[1].parse().unwrap()))
        .collect();
    let expected = BTreeMap::from(
        [
            ("malformed ", kinds["not_json"] + kinds["truncated"] + kinds["invalid_utf8"]),
            ("tombstone ", ledger.totals.tombstones),
            ("invalid_text item_count", kinds["wrong_type"]),
            ("out_of_range item_count", kinds["out_of_range"]),
            ("invalid_character note", kinds["nul"]),
        ]
        .map(|(reason, count)| (reason.to_owned(), count)),
    );
    assert_eq!(reasons, expected);
}

#[test]
fn a_record_that_is_too_large_or_of_a_wrong_type_does_not_keep_the_others_back() {
    let world = World::new("oversized", 1);
    let good = r#"{"order_id":1,"amount":1}"#;
    let messages = [
        good.to_owned(),
        format!(r#"{{"order_id":2,"amount":1,"note":"{}"}}"#, "x".repeat(5000)),
        r#"{"order_id":3,"amount":{"a":1}}"#.to_owned(),
        r#"{"order_id":true,"amount":1}"#.to_owned(),
        r#"{"order_id":4,"amount":1e10}"#.to_owned(),
        r#"{"order_id":5}"#.to_owned(),
        r#"{"order_id":6,"amount":1,"currency":"EURO"}"#.to_owned(),
        r#"{"order_id":7,"amount":1,"created_at":"yesterday"}"#.to_owned(),
        good.to_owned(),
    ];
    produce(&world, &messages.map(|text| Message::json(&text)));
    let mut tidegate = world.run_orders(&["routes[0].max_record_bytes=4KiB"]);
    world.await_more_orders_than(1);
    tidegate.assert_conservation();
    tidegate.stop();
    let expected = [
        ["1", "too_large", "~", "5035"],
        ["2", "wrong_type", "amount", "31"],
        ["3", "wrong_type", "order_id", "28"],
        ["4", "out_of_range", "amount", "28"],
        ["5", "missing_value", "amount", "14"],
        ["6", "out_of_range", "currency", "43"],
        ["7", "invalid_text", "created_at", "50"],
    ];
    let letters = "SELECT \"offset\", reason, column_name, length(value) \
                   FROM tidegate.dead_letters ORDER BY 1";
    assert_eq!(world.rows(letters), grid(&expected));
    assert_eq!(world.rows("SELECT kafka_offset FROM orders ORDER BY 1"), grid(&[["0"], ["8"]]));
}

/// Waits until so many records are rows or dead letters.
fn await_fate(world: &World, records: i64) {
    eventually("every record's fate", || {
        // There is no such table before the first start.
        let rows = world.sql.query_text("SELECT sum(next_offset) FROM tidegate.checkpoints");
        match rows {
            Ok(rows) if rows[0][0].as_deref() == Some(&*records.to_string()) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// Writes the amounts 0 to 999 into `orders`, of which Postgres refuses some, and gives the dead
/// letters: amount, SQLSTATE, and whether the message names the constraint.
fn refused_amounts(name: &str, ddl: &str, named: &str) -> Vec<Vec<String>> {
    let world = World::new(name, 2);
    world.sql.execute(ddl).unwrap();
    let record = |n: i32| Message {
        partition: n % 2,
        ..Message::json(&format!(r#"{{"order_id":{n},"amount":{n}}}"#))
    };
    let messages: Vec<Message> = (0..1000).map(record).collect();
    produce(&world, &messages);
    let mut tidegate = world.run_orders(&[]);
    await_fate(&world, 1000);
    tidegate.assert_conservation();
    tidegate.stop();
    let letters = world.rows(&format!(
        "SELECT convert_from(value, 'UTF8')::json->>'amount', sqlstate, \
         position('{named}' IN message) > 0 FROM tidegate.dead_letters \
         WHERE reason = 'refused' ORDER BY \"offset\" * 2 + partition"
    ));
    let dead = letters.len() as i64;
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), dead);
    assert_eq!(world.count_orders(), 1000 - dead);
    assert_eq!(world.number("SELECT count(DISTINCT amount) FROM orders"), 1000 - dead);
    letters
}

#[test]
fn a_check_takes_out_the_rows_that_fail_it_and_no_others() {
    let letters = refused_amounts(
        "refused-check",
        "ALTER TABLE orders ADD CONSTRAINT no_hundreds CHECK (amount % 100 <> 0)",
        "no_hundreds",
    );
    let amounts = ["0", "100", "200", "300", "400", "500", "600", "700", "800", "900"];
    assert_eq!(letters, grid(&amounts.map(|amount| [amount, "23514", "t"])));
}

#[test]
fn a_lane_is_read_again_for_the_first_row_that_is_refused_and_for_no_other() {
    let world = World::new("refused-first", 1);
    world.sql.execute("ALTER TABLE orders ADD CHECK (amount > 0)").unwrap();
    let order = |n: i32| Message::json(&format!(r#"{{"order_id":1,"amount":{n}}}"#));
    let tidegate = world.run_orders(&[]);
    let epoch_after = |amount: i32, records: i64| {
        produce(&world, &[order(amount), order(amount + 10)]);
        await_fate(&world, records);
        world.number("SELECT epoch FROM tidegate.checkpoints")
    };
    let first = epoch_after(1, 2);
    let read_again = epoch_after(-1, 4);
    assert!(read_again > first, "{first} {read_again}");
    assert_eq!(epoch_after(-2, 6), read_again);
    tidegate.stop();
    let letters =
        "SELECT \"offset\", convert_from(value, 'UTF8') FROM tidegate.dead_letters ORDER BY 1";
    let expected = [["2", r#"{"order_id":1,"amount":-1}"#], ["4", r#"{"order_id":1,"amount":-2}"#]];
    assert_eq!(world.rows(letters), grid(&expected));
    assert_eq!(world.offsets(0), [0, 1, 3, 5]);
}

#[test]
fn a_unique_index_takes_out_the_second_row_and_keeps_the_first() {
    let letters = refused_amounts(
        "refused-unique",
        "CREATE UNIQUE INDEX once ON orders ((amount::int % 990))",
        "once",
    );
    assert_eq!(letters.len(), 10);
    assert!(letters.iter().all(|row| row[1] == "23505" && row[2] == "t"), "{letters:?}");
}

#[test]
fn a_foreign_key_takes_out_the_rows_without_a_parent() {
    let letters = refused_amounts(
        "refused-foreign-key",
        "CREATE TABLE parents (id bigint PRIMARY KEY); \
         INSERT INTO parents SELECT * FROM generate_series(0, 997); \
         ALTER TABLE orders ADD CONSTRAINT has_parent FOREIGN KEY (order_id) REFERENCES parents",
        "has_parent",
    );
    assert_eq!(letters, grid(&[["998", "23503", "t"], ["999", "23503", "t"]]));
}

#[test]
fn a_constraint_that_fails_at_commit_takes_out_the_rows_without_a_parent() {
    let letters = refused_amounts(
        "refused-deferred",
        "CREATE TABLE parents (id bigint PRIMARY KEY); \
         INSERT INTO parents SELECT * FROM generate_series(1, 998); \
         ALTER TABLE orders ADD CONSTRAINT has_parent FOREIGN KEY (order_id) REFERENCES parents \
         DEFERRABLE INITIALLY DEFERRED",
        "has_parent",
    );
    assert_eq!(letters, grid(&[["0", "23503", "t"], ["999", "23503", "t"]]));
}

#[test]
fn rows_that_copy_names_and_rows_that_fail_at_the_end_of_it_are_told_apart_in_one_batch() {
    let letters = refused_amounts(
        "refused-mixed",
        "CREATE TABLE parents (id bigint PRIMARY KEY); \
         INSERT INTO parents SELECT n FROM generate_series(0, 999) n WHERE n % 97 <> 5; \
         ALTER TABLE orders ADD CONSTRAINT has_parent FOREIGN KEY (order_id) REFERENCES parents; \
         ALTER TABLE orders ADD CONSTRAINT mixed CHECK (amount % 101 <> 9)",
        "",
    );
    let expected: Vec<Vec<String>> = (0..1000)
        .filter_map(|n| match n {
            n if n % 101 == 9 => Some((n, "23514")),
            n if n % 97 == 5 => Some((n, "23503")),
            _ => None,
        })
        .map(|(n, state)| vec![n.to_string(), state.to_owned(), "t".to_owned()])
        .collect();
    assert_eq!(letters, expected);
}

#[test]
fn a_trigger_that_raises_takes_out_the_row_that_it_raised_for() {
    let raise = "CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF NEW.amount IN (3, 777) THEN RAISE EXCEPTION 'not this one'; END IF; \
                 RETURN NEW; END $$;";
    let letters = refused_amounts(
        "refused-before",
        &format!(
            "{raise} CREATE TRIGGER veto BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION veto()"
        ),
        "not this one",
    );
    assert_eq!(letters, grid(&[["3", "P0001", "t"], ["777", "P0001", "t"]]));
    let letters = refused_amounts(
        "refused-after",
        &format!(
            "{raise} CREATE TRIGGER veto AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION veto()"
        ),
        "not this one",
    );
    assert_eq!(letters, grid(&[["3", "P0001", "t"], ["777", "P0001", "t"]]));
}

#[test]
fn thousands_of_refused_rows_hold_the_others_up_for_seconds_only() {
    let world = World::new("refused-many", 1);
    world
        .sql
        .execute("ALTER TABLE orders ADD CONSTRAINT no_thirds CHECK (amount % 3 <> 0)")
        .unwrap();
    let record = |n: i32| Message::json(&format!(r#"{{"order_id":{n},"amount":{n}}}"#));
    let messages: Vec<Message> = (0..9_000).map(record).collect();
    produce(&world, &messages);
    let tidegate = world.run_orders(&["batch.rows=20000", "batch.age=1s"]);
    // Well above what it takes; a connection or a transaction for each would take minutes.
    eventually_within(Duration::from_secs(30), "the other rows", || match world.count_orders() {
        6_000 => Ok(()),
        count => Err(count.to_string()),
    });
    tidegate.stop();
    assert_eq!(world.number("SELECT count(DISTINCT amount) FROM orders"), 6_000);
    let refused = "SELECT count(*) FROM tidegate.dead_letters WHERE sqlstate = '23514' \
                   AND (convert_from(value, 'UTF8')::json->>'amount')::int % 3 = 0";
    assert_eq!(world.number(refused), 3_000);
}

#[test]
fn a_topic_that_is_mostly_poison_ends_the_run_before_it_is_poured_into_the_dead_letters() {
    let world = World::new("mostly-poison", 1);
    let record = |n: i32| match n % 5 {
        0 | 1 => Message::json(&format!(r#"{{"order_id":{n},"amount":{n}}}"#)),
        _ => Message::json("not an order"),
    };
    produce(&world, &(0..3_000).map(record).collect::<Vec<_>>());
    let sets = ["batch.rows=20000", "batch.age=1s"];
    let exit = world.run_orders(&sets).wait();
    assert_eq!(exit.code, Some(65), "{}", exit.log);
    let last = exit.log.lines().last().unwrap();
    let words = ["mostly-poison[0]", "1800 of the last 3000", "(2999)", "max_dead_letter_percent"];
    for word in words {
        assert!(last.contains(word), "'{word}' is not in: {last}");
    }
    assert_eq!(world.count_orders(), 0);
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 0);

    let tidegate =
        world.run_orders(&[&sets[..], &["routes[0].max_dead_letter_percent=60"]].concat());
    eventually("the orders", || match world.count_orders() {
        1_200 => Ok(()),
        count => Err(count.to_string()),
    });
    tidegate.stop();
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 1_800);
}

#[test]
fn a_trigger_that_drops_rows_silently_ends_the_run_and_nothing_is_committed() {
    let world = World::new("dropping-trigger", 1);
    world
        .sql
        .execute(
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.amount = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER swallow BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION swallow()",
        )
        .unwrap();
    let messages = [1, 2, 3].map(|n| Message::json(&format!(r#"{{"order_id":{n},"amount":{n}}}"#)));
    produce(&world, &messages);
    let exit = world.run_orders(&[]).wait();
    assert_eq!(exit.code, Some(78), "{}", exit.log);
    assert!(exit.log.contains("Postgres took 2 of 3 rows"), "{}", exit.log);
    assert_eq!(world.count_orders(), 0);
    assert_eq!(world.number("SELECT next_offset FROM tidegate.checkpoints"), 0);
}

#[test]
fn a_refusal_that_passes_costs_no_row() {
    let world = World::new("refused-once", 1);
    // Two COMMITs fail, and no other: whatever was wrong is gone when the row is looked for.
    world
        .sql
        .execute(
            "CREATE SEQUENCE attempts; \
             CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('attempts') <= 2 THEN RAISE EXCEPTION 'not now'; END IF; RETURN NULL; \
             END $$; CREATE CONSTRAINT TRIGGER once AFTER INSERT ON orders \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION once()",
        )
        .unwrap();
    let messages = [1, 2, 3].map(|n| Message::json(&format!(r#"{{"order_id":{n},"amount":{n}}}"#)));
    produce(&world, &messages);
    let mut tidegate = world.run_orders(&["sinks.serving.writers=1"]);
    world.await_more_orders_than(1);
    tidegate.assert_conservation();
    tidegate.stop();
    assert_eq!(world.rows("SELECT message FROM tidegate.dead_letters"), grid::<1>(&[]));
    assert_eq!(world.count_orders(), 3);
}

/// Changes the type of a column while tidegate runs; nothing that it has encoded fits any more.
fn change_type_live(name: &str, alter: &str, overrides: &[&str]) {
    let world = World::new(name, 1);
    let record = |n: i32| {
        let note = "n".repeat(n as usize % 10);
        Message::json(&format!(
            r#"{{"order_id":{n},"amount":{n},"item_count":{n},"note":"[\"{note}\"]"}}"#
        ))
    };
    produce(&world, &[record(1)]);
    let mut tidegate = world.run_orders(overrides);
    world.await_more_orders_than(0);
    world.sql.execute(alter).unwrap();
    produce(&world, &(2..2_000).map(record).collect::<Vec<_>>());
    eventually("all orders", || {
        assert!(tidegate.is_running(), "it ended:\n{}", tidegate.log());
        match world.count_orders() {
            1_999 => Ok(()),
            count => Err(count.to_string()),
        }
    });
    tidegate.assert_conservation();
    tidegate.stop();
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 0);
    let wrong = "SELECT count(*) FROM orders WHERE item_count::text <> order_id::text OR amount <> order_id";
    assert_eq!(world.number(wrong), 0);
    assert_eq!(world.number("SELECT count(DISTINCT order_id) FROM orders"), 1_999);
}

#[test]
fn a_column_that_becomes_wider_under_a_run_gets_its_rows_all_the_same() {
    change_type_live("type-wider", "ALTER TABLE orders ALTER item_count TYPE bigint", &[]);
}

#[test]
fn a_column_that_becomes_narrower_under_a_run_gets_its_rows_all_the_same() {
    change_type_live("type-narrower", "ALTER TABLE orders ALTER order_id TYPE integer", &[]);
}

#[test]
fn a_column_of_another_type_with_values_as_long_gets_its_rows_all_the_same() {
    // Binary COPY would take the bytes of an integer for those of a real, without an error.
    change_type_live("type-as-long", "ALTER TABLE orders ALTER item_count TYPE real", &[]);
}

#[test]
fn a_column_of_another_kind_under_a_run_gets_its_rows_all_the_same() {
    // jsonb reads a version where text has its first letter: an internal error, not a wrong row.
    change_type_live(
        "type-other",
        "ALTER TABLE orders ALTER note TYPE jsonb USING note::jsonb",
        &[],
    );
}

#[test]
fn rows_that_postgres_refuses_for_a_changed_type_alone_are_no_dead_letters() {
    // The bytes of a small integer are U+0000 in a text, which Postgres refuses row by row. Batches are
    // so small that it is no matter of how many.
    let alter = "ALTER TABLE orders ALTER item_count TYPE text";
    change_type_live("type-refused", alter, &["batch.rows=50"]);
}

#[test]
fn a_column_that_is_dropped_under_a_run_ends_it_and_nothing_is_written() {
    let world = World::new("type-dropped", 1);
    let record = |n: i32| Message::json(&format!(r#"{{"order_id":{n},"amount":{n},"note":"x"}}"#));
    produce(&world, &[record(1)]);
    let tidegate = world.run_orders(&[]);
    world.await_more_orders_than(0);
    world.sql.execute("ALTER TABLE orders DROP COLUMN note").unwrap();
    produce(&world, &(2..50).map(record).collect::<Vec<_>>());
    let exit = tidegate.wait();
    assert_eq!(exit.code, Some(78), "{}", exit.log);
    assert!(exit.log.contains("table public.orders"), "{}", exit.log);
    assert_eq!(world.count_orders(), 1);
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 0);
}
