//! One route to several targets, and several of everything at once.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use crate::support::{
    Chance, Message, World, eventually, grid, kafka, load, orders_profile, produce_to, start_load,
};

const FEED: &str = "[routes.to.columns]\nkafka_partition = { metadata = \"partition\" }\n\
                    kafka_offset = { metadata = \"offset\" }\n";

/// One more target of the last route.
fn to_table(table: &str) -> String {
    format!("[[routes.to]]\nsink = \"serving\"\ntable = \"{table}\"\n{FEED}")
}

/// The topic into `orders` and `copies`.
fn two_tables(world: &World) -> String {
    format!("{}\n{}", world.orders_config(), to_table("copies"))
}

fn with_copies(name: &str, partitions: i32) -> World {
    let world = World::new(name, partitions);
    world.sql.execute("CREATE TABLE copies (LIKE orders)").unwrap();
    world
}

fn assert_both_exact(world: &World, ledger: &loadgen::Ledger, seed: u64) {
    for (table, target) in
        [("orders", "serving.public.orders"), ("copies", "serving.public.copies")]
    {
        world.assert_exact_in(table, target, ledger, seed);
    }
}

fn await_both(world: &World, ledger: &loadgen::Ledger) {
    world.await_checkpoints(ledger, "serving.public.orders");
    world.await_checkpoints(ledger, "serving.public.copies");
}

/// The orders in a file of lines; every line must be whole.
fn order_ids(path: &std::path::Path) -> Vec<i64> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    let id = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        row["order_id"].as_i64()
    };
    text.lines().filter_map(id).collect()
}

#[test]
fn two_tables_and_a_file_each_get_everything_through_kills() {
    let mut chance = Chance::new();
    let world = with_copies("fanout-kills", 3);
    let file = world.folder.path().join("orders.ndjson");
    let config = format!(
        "{}\n[[routes.to]]\nsink = \"file\"\n[sinks.file]\nkind = \"ndjson\"\npath = \"{}\"\n",
        two_tables(&world),
        file.display()
    );
    let sets = ["sources.shop.properties.group.instance.id=one", "batch.rows=200"];
    let profile = loadgen::Profile { deletes: 0.0, poison: 0.0, ..orders_profile(chance.seed) };
    let load = start_load(&world, profile, 3_000.0);
    for _ in 0..4 {
        let before = world.count_orders();
        let tidegate = world.run(&config, &sets);
        world.await_more_orders_than(before);
        chance.pass_up_to(std::time::Duration::from_millis(300));
        tidegate.kill();
    }
    let ledger = load.finish();
    let mut tidegate = world.run(&config, &sets);
    await_both(&world, &ledger);
    let expected = ledger.totals.distinct_order_ids as usize;
    eventually("all orders in the file", || {
        let ids: BTreeSet<i64> = order_ids(&file).into_iter().collect();
        if ids.len() == expected { Ok(()) } else { Err(format!("{} of {expected}", ids.len())) }
    });
    tidegate.assert_conservation();
    tidegate.stop();
    assert_both_exact(&world, &ledger, chance.seed);
    // At least once: an update repeats the id of its order, a kill repeats lines.
    assert!(order_ids(&file).len() as u64 >= ledger.totals.orders);
}

#[test]
fn a_target_that_is_added_later_begins_where_the_group_stands() {
    let world = with_copies("fanout-added", 3);
    let first = load(&world, orders_profile(31), 4_000);
    let tidegate = world.run_orders(&[]);
    world.await_checkpoints(&first, "serving.public.orders");
    tidegate.stop();
    let second = load(&world, orders_profile(32), 4_000);
    let mut tidegate = world.run(&two_tables(&world), &[]);
    await_both(&world, &second);
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_exact_in("copies", "serving.public.copies", &second, 32);
    let both = (first.totals.orders + second.totals.orders) as i64;
    assert_eq!(world.count_orders(), both);
    let distinct = "SELECT count(DISTINCT (kafka_partition, kafka_offset)) FROM orders";
    assert_eq!(world.number(distinct), both);
}

#[test]
fn lanes_that_a_kill_leaves_at_different_offsets_each_go_on_from_their_own() {
    let world = with_copies("fanout-behind", 3);
    let config = two_tables(&world);
    // A writer for each lane: those of `copies` are held up, and theirs must not be the only ones.
    let sets = [
        "sources.shop.properties.group.instance.id=one",
        "batch.rows=100",
        "sinks.serving.writers=6",
    ];
    let load = start_load(&world, orders_profile(33), 3_000.0);
    for _ in 0..3 {
        let before = world.count_orders();
        let tidegate = world.run(&config, &sets);
        world.await_more_orders_than(before);
        // Nothing gets into `copies` any more, and `orders` runs on until its lanes are full.
        let lock = world.lock("copies");
        let ahead = "SELECT count(*) FROM tidegate.checkpoints o JOIN tidegate.checkpoints c \
                     USING (topic, partition) WHERE o.target = 'serving.public.orders' \
                     AND c.target = 'serving.public.copies' AND o.next_offset > c.next_offset";
        eventually("all lanes of orders ahead", || match world.number(ahead) {
            3 => Ok(()),
            lanes => Err(format!("{lanes} of 3")),
        });
        tidegate.kill();
        lock.execute("ROLLBACK").unwrap();
    }
    let ledger = load.finish();
    let mut tidegate = world.run(&config, &sets);
    await_both(&world, &ledger);
    tidegate.assert_conservation();
    tidegate.stop();
    assert_both_exact(&world, &ledger, 33);
}

#[test]
fn several_sources_sinks_and_routes_run_side_by_side() {
    let world = with_copies("fanout-several", 2);
    let other = World::new("fanout-several-other", 2);
    let raw = "fanout-several-raw";
    kafka().create_topic(raw, 1, &[]).unwrap();
    world.sql.execute("CREATE TABLE raw (value bytea, at bigint)").unwrap();
    let config = format!(
        "{}\n[[routes.to]]\nsink = \"other\"\ntable = \"orders\"\n{FEED}\
         [sinks.other]\nkind = \"postgres\"\nurl = \"{}\"\n[sinks.nothing]\nkind = \"null\"\n\
         [sources.second]\nkind = \"kafka\"\nbrokers = \"{}\"\n\
         [[routes]]\nname = \"copies\"\nsource = \"second\"\ntopics = [\"{}\"]\n{}\
         [[routes.to]]\nsink = \"nothing\"\n\
         [[routes]]\nname = \"raw\"\nsource = \"second\"\ntopics = [\"{raw}\"]\nformat = \"raw\"\n\
         [[routes.to]]\nsink = \"serving\"\ntable = \"raw\"\n\
         [routes.to.columns]\nat = {{ metadata = \"offset\" }}\n",
        world.orders_config(),
        other.url,
        world.brokers,
        other.name,
        to_table("copies"),
    );
    let ledger = load(&world, orders_profile(34), 6_000);
    let second = load(&other, orders_profile(35), 5_000);
    produce_to(
        &world.brokers,
        raw,
        &[b"\x00\xff".as_slice(), b"{not json"]
            .map(|value| Message { value: Some(value.to_vec()), ..Message::default() }),
    );
    let mut tidegate = world.run(&config, &[]);
    world.await_checkpoints(&ledger, "serving.public.orders");
    let by_target = "SELECT target, sum(next_offset) FROM tidegate.checkpoints \
                     GROUP BY 1 ORDER BY 1";
    eventually("all lanes", || {
        let (here, there) = (world.rows(by_target), other.rows(by_target));
        let expected = [
            vec!["serving.public.copies".to_owned(), second.produced.to_string()],
            vec!["serving.public.orders".to_owned(), ledger.produced.to_string()],
            vec!["serving.public.raw".to_owned(), "2".to_owned()],
        ];
        let done = here == expected && there[0][1] == ledger.produced.to_string();
        if done { Ok(()) } else { Err(format!("{here:?} {there:?}")) }
    });
    // The orders go to two tables, those of the other topic to a table and to nothing.
    let counts = tidegate.assert_conservation();
    assert_eq!(counts.consumed, 2 * ledger.produced + 2 * second.produced + 2);
    tidegate.stop();
    world.assert_exact(&ledger, 34);
    assert_eq!(other.got("orders", "other.public.orders").len(), 2);
    assert_eq!(other.count_orders(), ledger.totals.orders as i64);
    let copies = world.number("SELECT count(*) FROM copies");
    assert_eq!(copies, second.totals.orders as i64);
    let rows = world.rows("SELECT value, at FROM raw ORDER BY at");
    assert_eq!(rows, grid(&[[r"\x00ff", "0"], [r"\x7b6e6f74206a736f6e", "1"]]));
}

/// One row of four is refused by one of two tables, the first that any has refused.
fn refuse_beside_copies(name: &str, sets: &[&str]) {
    let world = with_copies(name, 1);
    world.sql.execute("ALTER TABLE orders ADD CHECK (order_id <> 3)").unwrap();
    let mut tidegate = world.run(&two_tables(&world), sets);
    let produce = |ids: [i32; 2]| {
        let order = |id| Message::json(&format!("{{\"order_id\":{id},\"amount\":1}}"));
        produce_to(&world.brokers, &world.name, &ids.map(order));
    };
    let ids = |table: &str| world.rows(&format!("SELECT order_id FROM {table} ORDER BY 1"));
    let await_both = |orders: &[[&str; 1]], copies: &[[&str; 1]]| {
        eventually("both tables", || {
            let found = (ids("orders"), ids("copies"));
            if found == (grid(orders), grid(copies)) { Ok(()) } else { Err(format!("{found:?}")) }
        });
    };
    produce([1, 2]);
    await_both(&[["1"], ["2"]], &[["1"], ["2"]]);
    produce([3, 4]);
    let (orders, copies) = ([["1"], ["2"], ["4"]], [["1"], ["2"], ["3"], ["4"]]);
    await_both(&orders, &copies);
    let letters = world.rows("SELECT \"offset\", target FROM tidegate.dead_letters");
    assert_eq!(letters, grid(&[["2", "serving.public.orders"]]));
    assert_eq!(tidegate.metric("tidegate_fenced_total"), 0.0);
    tidegate.stop();
    await_both(&orders, &copies);
}

#[test]
fn a_row_that_one_table_refuses_is_read_again_for_it_and_doubles_nothing_in_the_other() {
    refuse_beside_copies("fanout-refused", &[]);
}

#[test]
fn a_row_that_one_table_refuses_doubles_nothing_in_one_that_keeps_no_position() {
    let sets = ["routes[0].to[1].delivery=at-least-once", "sources.shop.commit_interval=1h"];
    refuse_beside_copies("fanout-refused-at-least-once", &sets);
}
