//! A version takes the live table's place, and gives it back, under those who read and write.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use loadgen::Profile;
use stack::Client;

use super::{INTO, difference, refused, said, write_config};
use crate::support::{Chance, Message, World, await_settled, eventually, produce, start_load};

/// Reads through a table or a view all the time: each partition must be there from its first record on,
/// without a gap or a double, and never shrink.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, String>>,
}

impl Reader {
    fn start(world: &World, relation: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sql = format!(
            "SELECT kafka_partition, count(*), count(DISTINCT kafka_offset), min(kafka_offset), \
             max(kafka_offset) FROM {relation} GROUP BY 1"
        );
        let (url, ended) = (world.url.clone(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let client = Client::connect(&url).map_err(|error| error.to_string())?;
            let (mut looks, mut seen) = (0, BTreeMap::new());
            while !ended.load(Ordering::Relaxed) {
                let rows = client.query_text(&sql).map_err(|error| format!("{error:?}"))?;
                for row in rows {
                    let numbers: Vec<i64> =
                        row.into_iter().map(|cell| cell.unwrap().parse().unwrap()).collect();
                    let [partition, rows, offsets, first, last] = numbers[..] else {
                        return Err(format!("{numbers:?}"));
                    };
                    let before = seen.insert(partition, rows).unwrap_or(0);
                    if rows != offsets || first != 0 || last + 1 != rows || rows < before {
                        return Err(format!("{numbers:?} after {before} rows, look {looks}"));
                    }
                }
                looks += 1;
            }
            Ok(looks)
        });
        Self { stop, thread }
    }

    /// How often it has looked; none of it may have been wrong.
    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap()
    }
}

const SERVED: &str = "\
    CREATE INDEX by_status ON orders (status); \
    ALTER TABLE orders ADD CONSTRAINT places UNIQUE (kafka_partition, kafka_offset); \
    ALTER TABLE orders ADD COLUMN n bigint GENERATED ALWAYS AS IDENTITY; \
    COMMENT ON TABLE orders IS 'as they come'; \
    CREATE VIEW seen AS SELECT orders.*, 'public.orders' AS t FROM orders; \
    CREATE VIEW twice WITH (security_barrier = true) AS \
        SELECT a.* FROM orders a JOIN orders USING (kafka_partition, kafka_offset); \
    CREATE VIEW above AS SELECT kafka_partition, kafka_offset FROM seen; \
    CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
    CREATE TRIGGER looks AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION look(); \
    CREATE PUBLICATION changes FOR TABLE orders; \
    ALTER TABLE orders REPLICA IDENTITY FULL;";

/// What everybody else knows of the table `orders`, but for its rows.
fn facts(world: &World, role: &str) -> Vec<Vec<String>> {
    world.rows(&format!(
        "SELECT has_table_privilege('{role}', 'orders', 'SELECT'), \
                has_column_privilege('{role}', 'orders', 'note', 'UPDATE'), \
                obj_description('orders'::regclass), relreplident, \
                (SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'orders'), \
                (SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint \
                 WHERE conrelid = 'orders'::regclass), \
                (SELECT string_agg(tgname, ' ') FROM pg_trigger WHERE tgrelid = 'orders'::regclass), \
                (SELECT string_agg(tablename, ' ') FROM pg_publication_tables WHERE pubname = 'changes'), \
                pg_get_viewdef('seen'), pg_get_viewdef('twice'), \
                (SELECT array_to_string(reloptions, ' ') FROM pg_class WHERE relname = 'twice') \
         FROM pg_class WHERE oid = 'orders'::regclass"
    ))
}

#[test]
fn a_version_takes_the_live_tables_place_and_no_reader_sees_an_error_a_gap_or_a_double() {
    let world = World::new("swap-live", 3);
    let role = "swap_live_reader";
    world.sql.execute(SERVED).unwrap();
    world
        .sql
        .execute(&format!(
            "CREATE ROLE {role}; GRANT SELECT ON orders TO {role}; \
             GRANT UPDATE (note) ON orders TO {role} WITH GRANT OPTION"
        ))
        .unwrap();
    let load = start_load(&world, Profile { seed: 61, ..Profile::default() }, 2_000.0);
    let mut tidegate = world.run_orders(&[]);
    world.await_more_orders_than(2_000);
    let before = facts(&world, role);
    let readers = ["orders", "seen", "above"].map(|relation| Reader::start(&world, relation));

    let swap = [&INTO[..], &["--swap"]].concat();
    let report = said(&world, &swap);
    assert!(report.contains("public.orders is that table now"), "{report}");
    // The live route goes on, into the new table, by itself.
    let swapped_at = world.count_orders();
    world.await_more_orders_than(swapped_at + 1_000);
    let ledger = load.finish();
    world.await_checkpoints(&ledger, "serving.public.orders");
    tidegate.assert_conservation();
    for reader in readers {
        assert!(reader.finish() > 10, "too few looks to tell");
    }
    world.assert_exact(&ledger, 61);
    let mut after = facts(&world, role);
    // A column is called after its table, whatever the table is called.
    for row in &mut after {
        row[8] = row[8].replace("orders orders", "orders");
        row[9] = row[9].replace("orders orders", "orders");
    }
    assert_eq!(after, before);
    let old = world.number("SELECT count(*) FROM orders_replaced_1");
    assert!(old >= 2_000 && old < world.count_orders(), "{old}");
    // The new rows have numbers that no old one has.
    let taken = world.number(
        "SELECT count(*) FROM orders a JOIN orders_replaced_1 b USING (n) \
         WHERE a.kafka_offset > (SELECT max(kafka_offset) FROM orders_replaced_1)",
    );
    assert_eq!(taken, 0);
    refused(&world, &swap, 78, &["has taken the place of orders; choose another name"]);
    tidegate.stop();
    let gone = said(&world, &["drop", "orders", "orders_2"]);
    assert_eq!(gone, "dropped \"public\".\"orders_replaced_1\"\n");
    assert_eq!(world.number("SELECT count(*) FROM tidegate.checkpoints"), 3);
    world.sql.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).unwrap();
}

#[test]
fn an_instance_with_the_old_mapping_is_told_and_a_rollback_brings_its_table_back() {
    let world = World::new("swap-back", 2);
    let order = |n: i64| Message {
        partition: (n % 2) as i32,
        ..Message::json(&format!(r#"{{"order_id":{n},"amount":1,"remark":"r{n}"}}"#))
    };
    let some = |from: i64, to: i64| {
        // A letter in either mapping.
        let mut messages: Vec<Message> = (from..to).map(order).collect();
        messages.push(Message::json("poison"));
        produce(&world, &messages);
    };
    world.sql.execute("CREATE VIEW seen AS SELECT order_id, note FROM orders").unwrap();
    let right = world.orders_config() + "note = { field = \"remark\" }\n";
    write_config(&world, "right.toml", &right);
    some(0, 100);
    let mut old = world.run_orders(&[]);
    await_settled(&mut old, 101);
    assert_eq!(world.number("SELECT count(note) FROM seen"), 0);

    let swap = [&INTO[..], &["--swap", "--config=right.toml"]].concat();
    said(&world, &swap);
    let sql = "SELECT count(*), count(DISTINCT order_id), count(note) FROM seen";
    assert_eq!(world.rows(sql), [["100", "100", "100"]]);
    // Its next write is fenced, and its next claim refused.
    some(100, 110);
    let exit = old.wait();
    assert_eq!(exit.code, Some(78), "{}", exit.log);
    assert!(exit.log.contains("was replaced by a replay with another mapping"), "{}", exit.log);
    assert_eq!(world.rows(sql), [["100", "100", "100"]]);
    // Who knows of the swap goes on.
    let mut new = world.run(&right, &[]);
    await_settled(&mut new, 11);
    assert_eq!(world.rows(sql), [["110", "110", "110"]]);
    let letters = "SELECT consumer_group, target, count(*) FROM tidegate.dead_letters GROUP BY 1, 2 ORDER BY 1";
    let (live, group) = ("serving.public.orders", "replay:orders:orders_2");
    let parked = "serving.public.orders_replaced_1";
    let expected = [[group, parked, "1"], ["swap-back", live, "2"]];
    assert_eq!(world.rows(letters), expected);

    // The old table comes back, with what came since as the old mapping has it.
    let wrong = ["rollback", "orders", "--config=right.toml"];
    refused(&world, &wrong, 78, &["roll it back with the configuration of then"]);
    world.write_config(&world.orders_config());
    let report = said(&world, &["rollback", "orders"]);
    assert!(report.contains("11 records read, 10 rows"), "{report}");
    assert_eq!(world.rows(sql), [["110", "110", "0"]]);
    let exit = {
        some(110, 120);
        new.wait()
    };
    assert_eq!(exit.code, Some(78), "{}", exit.log);
    let mut old = world.run_orders(&[]);
    await_settled(&mut old, 11);
    assert_eq!(world.rows(sql), [["120", "120", "0"]]);
    let expected = [[group, "serving.public.orders_2", "2"], ["swap-back", live, "3"]];
    assert_eq!(world.rows(letters), expected);
    old.stop();
    // And forth again, from where it was left.
    let report = said(&world, &swap);
    assert!(report.contains("11 records read, 10 rows"), "{report}");
    assert_eq!(world.rows(sql), [["120", "120", "120"]]);
    let lost = "SELECT count(*) FROM (SELECT order_id FROM orders_replaced_1 \
                EXCEPT SELECT order_id FROM orders) a";
    assert_eq!(world.number(lost), 0);
}

#[test]
fn what_cannot_be_moved_is_named_before_anything_is_read() {
    let world = World::new("swap-refused", 1);
    world
        .sql
        .execute(
            "ALTER TABLE orders ADD PRIMARY KEY (order_id); \
             CREATE TABLE lines (order_id bigint CONSTRAINT of_order REFERENCES orders); \
             CREATE POLICY own ON orders USING (true); \
             CREATE RULE quiet AS ON UPDATE TO orders DO INSTEAD NOTHING; \
             CREATE MATERIALIZED VIEW sums AS SELECT status, count(*) FROM orders GROUP BY 1; \
             CREATE TABLE old (whole orders); \
             CREATE FUNCTION number() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM orders; END",
        )
        .unwrap();
    world.write_config(&world.orders_config());
    let names = ["of_order", "policy own", "rule quiet", "sums", "column whole", "number()"];
    let swap = [&INTO[..], &["--swap"]].concat();
    refused(&world, &swap, 78, &names);
    assert_eq!(world.number("SELECT count(*) FROM orders_2"), 0);
}

#[test]
fn a_swap_waits_for_a_long_reader_without_standing_in_the_way_of_others() {
    let world = World::new("swap-waits", 1);
    let order = |n: i64| Message::json(&format!(r#"{{"order_id":{n},"amount":1}}"#));
    produce(&world, &(0..10).map(order).collect::<Vec<_>>());
    let mut tidegate = world.run_orders(&[]);
    await_settled(&mut tidegate, 10);
    let long = Client::connect(&world.url).unwrap();
    long.execute("BEGIN; SELECT * FROM orders").unwrap();
    let swap = [&INTO[..], &["--swap"]].concat();
    let mut swapping = super::spawn(&world, &swap);
    swapping.await_log("no moment for the swap yet");
    // Others read and write meanwhile.
    produce(&world, &[order(10)]);
    eventually("the new order", || match world.count_orders() {
        11 => Ok(()),
        count => Err(count.to_string()),
    });
    assert!(swapping.is_running());
    long.execute("COMMIT").unwrap();
    let exit = swapping.wait();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.took < Duration::from_secs(20), "{:?}", exit.took);
    assert_eq!(world.count_orders(), 11);
    assert_eq!(world.number("SELECT count(*) FROM orders_replaced_1"), 11);
    tidegate.stop();
}

#[test]
fn a_table_that_is_merged_into_is_swapped_under_its_writer_and_holds_the_last_of_each_key() {
    let world = World::new("swap-merged", 3);
    world.sql.execute("ALTER TABLE orders ADD PRIMARY KEY (order_id)").unwrap();
    let config = world.orders_config().replace(
        "table = \"orders\"",
        "table = \"orders\"\nwrite = \"mirror\"\nkey = [\"order_id\"]",
    );
    // Updates and removals of what was there before the swap come after it.
    let profile =
        Profile { seed: 67, updates: 0.4, deletes: 0.05, window: 3_000, ..Profile::default() };
    let load = start_load(&world, profile, 2_000.0);
    let mut tidegate = world.run(&config, &[]);
    world.await_more_orders_than(1_500);
    let swap = [&INTO[..], &["--swap"]].concat();
    said(&world, &swap);
    let swapped_at = world.count_orders();
    world.await_more_orders_than(swapped_at + 1_000);
    let ledger = load.finish();
    world.await_checkpoints(&ledger, "serving.public.orders");
    tidegate.assert_conservation();
    tidegate.stop();
    // The whole history by itself says what must be there.
    said(&world, &["orders", "--from", "earliest", "--into", "whole"]);
    assert_eq!(difference(&world, "orders", "whole"), 0);
    assert!(world.number("SELECT count(*) FROM whole") > 2_000);
}

#[test]
fn a_swap_that_is_killed_at_any_moment_leaves_one_table_or_the_other() {
    let mut chance = Chance::new();
    let world = World::new("swap-killed", 2);
    world
        .sql
        .execute("CREATE VIEW seen AS SELECT kafka_partition, kafka_offset FROM orders")
        .unwrap();
    let load = start_load(&world, Profile { seed: 71, ..Profile::default() }, 1_000.0);
    let mut live = world.run_orders(&[]);
    world.await_more_orders_than(1_000);
    let readers = ["orders", "seen"].map(|relation| Reader::start(&world, relation));
    let is_serving = || {
        let known = world.number("SELECT count(*) FROM pg_tables WHERE tablename = 'replays'");
        known > 0
            && world.number("SELECT count(*) FROM tidegate.replays WHERE state = 'serving'") > 0
    };
    let swap = [&INTO[..], &["--swap"]].concat();
    let (mut swaps, mut kills) = (0, 0);
    while swaps < 3 || kills < 3 {
        let was_serving = is_serving();
        let command: &[&str] = if was_serving { &["rollback", "orders"] } else { &swap };
        let mut swapping = super::spawn(&world, command);
        swapping.await_log("claimed the stretches");
        if kills < 3 {
            chance.pass_up_to(Duration::from_millis(800));
        }
        if kills < 3 && swapping.is_running() {
            drop(swapping.kill());
            kills += 1;
        } else {
            let exit = swapping.wait();
            assert_eq!(exit.code, Some(0), "{}", exit.log);
            assert_ne!(is_serving(), was_serving);
        }
        swaps += u32::from(is_serving() != was_serving);
        // Two swaps within a minute look like another owner.
        if !live.is_running() {
            assert_eq!(live.wait().code, Some(75));
            live = world.run_orders(&[]);
        }
    }
    let ledger = load.finish();
    eventually("the checkpoints at the end", || {
        if !live.is_running() {
            live = world.run_orders(&[]);
        }
        let expected: i64 = ledger.partitions.iter().map(|entry| entry.next_offset).sum();
        let sum = world.number(
            "SELECT sum(next_offset)::int8 FROM tidegate.checkpoints \
             WHERE target = 'serving.public.orders'",
        );
        if sum == expected { Ok(()) } else { Err(format!("{sum} of {expected}")) }
    });
    for reader in readers {
        assert!(reader.finish() > 10, "too few looks to tell");
    }
    world.assert_exact(&ledger, 71);
}
