//! `tidegate replay`: history read again into a table beside the live one.

mod swap;

use std::{fs, process::Stdio, time::Duration};

use crate::support::{
    Chance, Exit, Message, Tidegate, World, await_settled, committed, load, orders_profile, produce,
};

/// Starts the command with the configuration of the world, or with another one of that name.
fn spawn(world: &World, arguments: &[&str]) -> Tidegate {
    let arguments = [&["replay"], arguments].concat();
    Tidegate::spawn(world.folder.path(), &arguments, Stdio::null())
}

fn replay(world: &World, arguments: &[&str]) -> Exit {
    spawn(world, arguments).wait()
}

/// What the command prints; it must succeed.
fn said(world: &World, arguments: &[&str]) -> String {
    let exit = replay(world, arguments);
    assert_eq!(exit.code, Some(0), "{arguments:?}: {}{}", exit.stdout, exit.log);
    exit.stdout
}

fn refused(world: &World, arguments: &[&str], code: i32, words: &[&str]) {
    let exit = replay(world, arguments);
    assert_eq!(exit.code, Some(code), "{arguments:?}: {}{}", exit.stdout, exit.log);
    for word in words {
        assert!(exit.log.contains(word), "'{word}' is not in {}", exit.log);
    }
}

fn write_config(world: &World, name: &str, config: &str) {
    fs::write(world.folder.path().join(name), config).unwrap();
}

/// The rows that only one of two tables has, whatever their order.
fn difference(world: &World, one: &str, other: &str) -> i64 {
    world.number(&format!(
        "SELECT (SELECT count(*) FROM (TABLE {one} EXCEPT ALL TABLE {other}) a) \
              + (SELECT count(*) FROM (TABLE {other} EXCEPT ALL TABLE {one}) b)"
    ))
}

const INTO: [&str; 5] = ["orders", "--from", "earliest", "--into", "orders_2"];

#[test]
fn a_replay_that_is_killed_again_and_again_makes_the_same_table_once() {
    let mut chance = Chance::new();
    let world = World::new("replay-kills", 3);
    world
        .sql
        .execute(
            "ALTER TABLE orders ADD PRIMARY KEY (kafka_partition, kafka_offset), \
                 ADD CHECK (amount > -1), ALTER COLUMN currency SET DEFAULT 'EUR'; \
             CREATE INDEX by_status ON orders (lower(status)) WHERE amount > 0; \
             COMMENT ON COLUMN orders.note IS 'free text'",
        )
        .unwrap();
    let ledger = load(&world, orders_profile(51), 60_000);
    let mut tidegate = world.run_orders(&[]);
    await_settled(&mut tidegate, ledger.produced);
    tidegate.stop();
    let before = committed(&world, 3);

    let rate = [&INTO[..], &["--rate", "30000"]].concat();
    let count = || world.number("SELECT count(*) FROM orders_2");
    world.sql.execute("CREATE TABLE public.orders_2 ()").unwrap();
    refused(&world, &INTO, 78, &["there is a table", "orders_2", "choose another name"]);
    world.sql.execute("DROP TABLE public.orders_2").unwrap();
    for round in 0..4 {
        let mut tidegate = spawn(&world, &rate);
        tidegate.await_log("claimed the stretches");
        let seen = count();
        crate::support::eventually("more rows", || {
            let now = count();
            if now > seen { Ok(()) } else { Err(format!("still {now}")) }
        });
        chance.pass_up_to(Duration::from_millis(50));
        if round == 3 {
            let exit = tidegate.terminate();
            assert_eq!(exit.code, Some(75), "{}", exit.log);
        } else {
            drop(tidegate.kill());
        }
    }
    assert!(count() < world.count_orders(), "every kill came too late");
    let other = ["orders", "--from", "0", "--into", "orders_2"];
    refused(&world, &other, 78, &["was begun with --from earliest, and not 0"]);
    let report = said(&world, &INTO);
    assert!(report.starts_with("public.orders_2: "), "{report}");

    assert_eq!(difference(&world, "orders", "orders_2"), 0);
    world.assert_exact(&ledger, 51);
    world.assert_exact_in("orders_2", "serving.public.orders_2", &ledger, 51);
    let indexes = |table: &str| {
        world.rows(&format!(
            "SELECT substr(indexdef, strpos(indexdef, 'USING')), indexdef LIKE 'CREATE UNIQUE%' \
             FROM pg_indexes WHERE tablename = '{table}' ORDER BY 1"
        ))
    };
    assert_eq!(indexes("orders_2"), indexes("orders"));
    let facts = |table: &str| {
        world.rows(&format!(
            "SELECT (SELECT count(*) FROM pg_constraint WHERE conrelid = c.oid), \
                    col_description(c.oid, 9), (SELECT count(*) FROM pg_attrdef WHERE adrelid = c.oid) \
             FROM pg_class c WHERE c.relname = '{table}'"
        ))
    };
    assert_eq!(facts("orders_2"), facts("orders"));
    assert!(world.number("SELECT reltuples::int8 FROM pg_class WHERE relname = 'orders_2'") > 0);
    // Nobody else has noticed.
    assert_eq!(committed(&world, 3), before);
    // Once more: there is nothing left to do; and then what came since.
    assert!(said(&world, &INTO).contains(" 0 records read"));
    assert_eq!(said(&world, &["drop", "orders", "orders_2"]), "dropped \"public\".\"orders_2\"\n");
    assert_eq!(world.number("SELECT count(*) FROM tidegate.checkpoints"), 3);
    world.assert_exact(&ledger, 51);
}

#[test]
fn a_range_is_bounded_by_offsets_and_times_and_goes_the_way_of_the_new_mapping() {
    let world = World::new("replay-range", 2);
    // Of the last hour: what is older than a week is Kafka's to remove.
    let base = jiff::Timestamp::now().as_second() - 3600;
    let message = |n: i64| Message {
        partition: (n % 2) as i32,
        timestamp_ms: Some((base + n) * 1000),
        ..Message::json(&format!(r#"{{"order_id":{n},"amount":1,"remark":"r{n}"}}"#))
    };
    produce(&world, &(0..20).map(message).collect::<Vec<_>>());
    let mut tidegate = world.run_orders(&[]);
    await_settled(&mut tidegate, 20);
    tidegate.stop();
    // The mapping was wrong: what is called `remark` belongs into `note`.
    let config = world.orders_config() + "note = { field = \"remark\" }\n";
    write_config(&world, "right.toml", &config);
    let with = |from: &str, to: &str, into: &str| {
        let arguments =
            ["orders", "--config=right.toml", "--from", from, "--to", to, "--into", into];
        said(&world, &arguments)
    };
    let time = |second: i64| jiff::Timestamp::from_second(base + second).unwrap().to_string();
    let report = with(&time(5), &time(12), "by_time");
    assert!(report.contains("7 records read, 7 rows"), "{report}");
    let rows = world.rows("SELECT order_id, note FROM by_time ORDER BY 1");
    let expected: Vec<Vec<String>> =
        (5..12).map(|n: i64| vec![n.to_string(), format!("r{n}")]).collect();
    assert_eq!(rows, expected);
    with("2", "4", "by_offset");
    let rows = world.rows("SELECT kafka_partition, kafka_offset FROM by_offset ORDER BY 1, 2");
    assert_eq!(rows, [["0", "2"], ["0", "3"], ["1", "2"], ["1", "3"]]);
    // As far as the live table is, and no further.
    produce(&world, &(20..30).map(message).collect::<Vec<_>>());
    with("earliest", "latest", "to_live");
    assert_eq!(world.number("SELECT count(*) FROM to_live"), 20);

    for (arguments, code, word) in [
        (&["orders"][..], 64, "tell what to replay"),
        (&["order", "--from=0", "--into=x"], 78, "Did you mean `orders`?"),
        (&["orders", "--from=latest", "--into=x"], 64, "from earlier records to later ones"),
        (&["orders", "--from=0", "--into=orders"], 78, "is the live table"),
        (&["orders", "--from=0", "--to=4", "--swap", "--into=x"], 64, "leave --to out"),
        (&["orders", "--from=0", "--to=400", "--into=far"], 65, "beyond the partition's end at 15"),
        (&["rollback", "orders"], 78, "has taken no other table's place"),
        (&["drop", "orders", "none"], 78, "no replay for public.orders was made into none"),
    ] {
        refused(&world, arguments, code, &[word]);
    }
    assert_eq!(world.count_orders(), 20);
}
