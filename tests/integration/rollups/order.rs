//! The order of the protocol's steps, each held up where another order would be wrong.

use std::process::Stdio;

use super::{TABLE, assert_equal, config, must, rollup, touched};
use crate::support::{Message, Tidegate, World, eventually, produce};

/// A row a day from the first of January on, of which the first is finished; `sum` is what is summed up.
fn world(name: &str, sum: &str) -> (World, Tidegate) {
    let world = World::bare(name, 1);
    world.sql.execute(TABLE).unwrap();
    world
        .sql
        .execute(
            "CREATE FUNCTION held(numeric) RETURNS numeric LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN $1; END'; \
             INSERT INTO t SELECT n, '2026-01-01 12:00+00'::timestamptz + n * interval '1 day', 's', n \
             FROM generate_series(0, 9) n",
        )
        .unwrap();
    let rollup = rollup("day", "UTC", "").replace("sum(amount)", sum);
    let config = config(&world, "", &rollup);
    world.write_config(&config);
    must(&world, &["create"]);
    must(&world, &["run", "--to", "2026-01-02"]);
    let tidegate = world.run(&config, &[]);
    (world, tidegate)
}

fn record(id: i64, day: u32) -> Message {
    let at = format!("2026-01-{day:02}T13:00:00Z");
    Message::json(&format!(r#"{{"id":{id},"at":"{at}","status":"s","amount":1}}"#))
}

fn await_row(world: &World, id: i64) {
    let sql = format!("SELECT count(*) FROM t WHERE id = {id}");
    eventually("the row", || match world.number(&sql) {
        1 => Ok(()),
        count => Err(format!("{count}")),
    });
}

fn refresher(world: &World) -> Tidegate {
    let arguments = ["rollup", "run", "--to", "2026-01-08"];
    Tidegate::spawn(world.folder.path(), &arguments, Stdio::null())
}

#[test]
fn a_bucket_is_not_finished_while_a_transaction_that_knew_it_open_has_rows_in_it() {
    let (world, tidegate) = world("rollup-held-ingest", "sum(amount)");
    produce(&world, &[record(101, 9)]);
    await_row(&world, 101);
    // The transaction has read what is finished, and does not get to its COMMIT.
    let holder = stack::Client::connect(&world.url).unwrap();
    holder.execute("BEGIN; SELECT FROM tidegate.checkpoints FOR UPDATE").unwrap();
    produce(&world, &[record(102, 5)]);
    world.await_waiting("%UPDATE tidegate.checkpoints%");
    let mut refresher = refresher(&world);
    eventually("a refresh that waits, or does not", || {
        let waits = world.is_waiting("SELECT%pg_advisory_xact_lock($1%");
        if waits || !refresher.is_running() { Ok(()) } else { Err("neither".to_owned()) }
    });
    holder.execute("COMMIT").unwrap();
    await_row(&world, 102);
    let exit = refresher.wait();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert_equal(&world, "day", "UTC", "behind both");
    tidegate.stop();
}

#[test]
fn a_transaction_reads_what_is_finished_once_nobody_can_change_it() {
    let (world, tidegate) = world("rollup-held-lock", "sum(amount)");
    let refresher = stack::Client::connect(&world.url).unwrap();
    refresher
        .execute("BEGIN; SELECT pg_advisory_xact_lock(1953064037, 't'::regclass::oid::int4)")
        .unwrap();
    produce(&world, &[record(101, 5)]);
    world.await_waiting("SELECT pg_advisory_xact_lock_shared%");
    refresher
        .execute("UPDATE tidegate.rollups SET closing = '2026-01-08 00:00+00'; COMMIT")
        .unwrap();
    await_row(&world, 101);
    assert_eq!(touched(&world), 1);
    must(&world, &["run", "--to", "2026-01-08"]);
    assert_equal(&world, "day", "UTC", "behind a refresh");
    tidegate.stop();
}

#[test]
fn a_refresh_forgets_what_it_has_seen_and_nothing_that_was_logged_meanwhile() {
    let (world, tidegate) = world("rollup-held-refresh", "sum(held(amount))");
    // The aggregate is on its way, and its snapshot taken.
    let holder = stack::Client::connect(&world.url).unwrap();
    holder.execute("SELECT pg_advisory_lock(7)").unwrap();
    let refresher = refresher(&world);
    world.await_waiting("INSERT INTO \"t_summary\"%");
    produce(&world, &[record(101, 2)]);
    await_row(&world, 101);
    holder.execute("SELECT pg_advisory_unlock(7)").unwrap();
    refresher.wait();
    assert_equal(&world, "day", "UTC", "behind a refresh");
    tidegate.stop();
}

#[test]
fn a_change_in_an_old_snapshot_is_logged_whatever_that_snapshot_shows() {
    let (world, tidegate) = world("rollup-old-snapshot", "sum(amount)");
    let editor = stack::Client::connect(&world.url).unwrap();
    editor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM t").unwrap();
    must(&world, &["run", "--to", "2026-01-08"]);
    editor.execute("UPDATE t SET amount = amount + 5 WHERE id = 4; COMMIT").unwrap();
    assert_eq!(touched(&world), 1);
    assert_equal(&world, "day", "UTC", "behind the change");
    tidegate.stop();
}
