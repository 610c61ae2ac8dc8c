//! The checker against a real Postgres: it has to see each way in which a table can be wrong.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use checker::{Checker, Error, Proof};
use loadgen::{Cents, Ledger, PartitionEntry, Tally};
use stack::{Client, Postgres, PostgresOptions};

/// Order `n` is at offset `n / 2` of partition `n % 2` and costs `n` and a half.
const FILL: &str = "\
    CREATE SCHEMA tidegate;
    CREATE TABLE tidegate.checkpoints \
        (consumer_group text, topic text, partition int, next_offset bigint);
    CREATE TABLE tidegate.dead_letters \
        (consumer_group text, topic text, partition int, \"offset\" bigint);
    CREATE TABLE orders (order_id bigint, amount numeric(12,2), part int, pos bigint);
    INSERT INTO orders SELECT n, n + 0.5, n % 2, n / 2 FROM generate_series(0, 9) n;
    INSERT INTO tidegate.dead_letters VALUES ('g', 'orders', 0, 5), ('other', 'orders', 0, 5);
    INSERT INTO tidegate.checkpoints VALUES
        ('g', 'orders', 0, 6), ('g', 'orders', 1, 5), ('other', 'orders', 0, 99),
        ('g', 'elsewhere', 0, 99);";

fn entry(partition: i32, amount_sum: i128, poison_total: u64) -> PartitionEntry {
    let tally = Tally {
        produced: 5 + poison_total,
        orders: 5,
        distinct_order_ids: 5,
        amount_sum: Cents(amount_sum),
        poison: BTreeMap::from([("not_json".to_owned(), poison_total)]),
        poison_total,
        ..Tally::default()
    };
    PartitionEntry { partition, first_offset: 0, next_offset: 5 + poison_total as i64, tally }
}

fn ledger() -> Ledger {
    Ledger::new("orders", 1, true, vec![entry(0, 2250, 1), entry(1, 2750, 0)])
}

fn by_partition() -> Checker {
    Checker::new("orders").by_partition("part", "pos").consumer_group("g")
}

/// `(written, lost, duplicated, is_exact)` after `sql`, by partition and in total; the table is
/// then as before.
fn after(client: &Client, sql: &str) -> [(u64, u64, u64, bool); 2] {
    client.execute(&format!("BEGIN; {sql}")).unwrap();
    let proofs = [by_partition(), Checker::new("orders").consumer_group("g")]
        .map(|checker| checker.check(client, &[&ledger()]).unwrap());
    client.execute("ROLLBACK").unwrap();
    proofs.map(|proof: Proof| (proof.written(), proof.lost(), proof.duplicated(), proof.is_exact()))
}

#[test]
fn every_way_in_which_a_table_can_be_wrong_shows() {
    let settings = vec![("shared_buffers".to_owned(), "16MB".to_owned())];
    let postgres = Postgres::start(PostgresOptions { settings, data_dir: None }).unwrap();
    let client = postgres.client().unwrap();
    client.execute(FILL).unwrap();

    assert_eq!(after(&client, ""), [(10, 0, 0, true); 2]);
    let lost = after(&client, "DELETE FROM orders WHERE order_id = 3");
    assert_eq!(lost, [(9, 1, 0, false); 2]);
    let doubled = after(&client, "INSERT INTO orders SELECT * FROM orders WHERE order_id = 3");
    assert_eq!(doubled, [(11, 0, 1, false); 2]);
    let replaced = after(
        &client,
        "DELETE FROM orders WHERE order_id = 5; \
         INSERT INTO orders SELECT * FROM orders WHERE order_id = 3",
    );
    assert_eq!(replaced, [(10, 1, 1, false); 2]);
    for wrong_value in [
        "UPDATE orders SET amount = 0 WHERE order_id = 3",
        "UPDATE tidegate.checkpoints SET next_offset = 4 WHERE partition = 1",
        "DELETE FROM tidegate.checkpoints WHERE partition = 1",
        "INSERT INTO tidegate.dead_letters VALUES ('g', 'orders', 1, 5)",
    ] {
        assert_eq!(after(&client, wrong_value), [(10, 0, 0, false); 2], "{wrong_value}");
    }
    let undead = after(&client, "DELETE FROM tidegate.dead_letters");
    assert_eq!(undead, [(10, 1, 0, false); 2]);
    let foreign = after(&client, "INSERT INTO orders VALUES (77, 1, 7, 0)");
    assert_eq!(foreign[0], (11, 0, 0, false));

    assert!(by_partition().check(&client, &[]).is_err());
    let incomplete = Ledger { complete: false, ..ledger() };
    let error = by_partition().check(&client, &[&incomplete]).unwrap_err();
    assert!(matches!(error, Error::Incomplete { .. }), "{error}");
}

#[test]
fn ledgers_of_one_topic_add_up() {
    let settings = vec![("shared_buffers".to_owned(), "16MB".to_owned())];
    let postgres = Postgres::start(PostgresOptions { settings, data_dir: None }).unwrap();
    let client = postgres.client().unwrap();
    client.execute(FILL).unwrap();
    client
        .execute(
            "INSERT INTO orders VALUES (50, 1, 1, 5), (51, 1, 1, 6);
             UPDATE tidegate.checkpoints SET next_offset = 7 WHERE partition = 1",
        )
        .unwrap();
    let tally = Tally {
        produced: 2,
        orders: 2,
        distinct_order_ids: 2,
        amount_sum: Cents(200),
        ..Tally::default()
    };
    let idle =
        PartitionEntry { partition: 0, first_offset: 6, next_offset: 6, ..Default::default() };
    let later = PartitionEntry { partition: 1, first_offset: 5, next_offset: 7, tally };
    let later = Ledger::new("orders", 2, true, vec![idle, later]);

    let proof = by_partition().check(&client, &[&ledger(), &later]).unwrap();

    assert!(proof.is_exact(), "\n{proof}");
    assert_eq!((proof.produced(), proof.written(), proof.dead_lettered()), (13, 12, 1));
    assert!(!by_partition().check(&client, &[&ledger()]).unwrap().is_exact());
}
