//! What the two modes promise, whatever ends the process.

use std::{
    thread,
    time::{Duration, Instant},
};

use loadgen::Ledger;
use nix::sys::signal::Signal;

use crate::support::{Chance, World, fragile_postgres, orders_profile, start_load};

const AT_LEAST_ONCE: &str = "routes[0].to[0].delivery=at-least-once";
/// A member that comes back under its old name gets its partitions at once.
const STATIC_MEMBER: &str = "sources.shop.properties.group.instance.id=the-only-one";
const RATE: f64 = 4_000.0;
const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE datname = current_database() AND application_name = 'tidegate'";

/// Runs and kills at random moments, ten times, while records keep coming.
fn kill_ten_times(world: &World, sets: &[&str], chance: &mut Chance) -> Ledger {
    let load = start_load(world, orders_profile(chance.seed), RATE);
    for _ in 0..10 {
        let before = world.count_orders();
        let tidegate = world.run_orders(sets);
        world.await_more_orders_than(before);
        chance.pass_up_to(Duration::from_millis(400));
        tidegate.kill();
    }
    load.finish()
}

#[test]
fn ten_kills_at_random_moments_neither_lose_nor_double_a_record_in_exactly_once() {
    let mut chance = Chance::new();
    let world = World::new("kill-exactly-once", 4);
    let sets = [STATIC_MEMBER, "batch.rows=200"];
    let ledger = kill_ten_times(&world, &sets, &mut chance);
    let mut tidegate = world.run_orders(&sets);
    world.await_checkpoints(&ledger, "serving.public.orders");
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_exact(&ledger, chance.seed);
}

#[test]
fn ten_kills_at_random_moments_lose_nothing_in_at_least_once() {
    let mut chance = Chance::new();
    let world = World::new("kill-at-least-once", 4);
    let sets = [STATIC_MEMBER, "batch.rows=200", AT_LEAST_ONCE, "sources.shop.commit_interval=1s"];
    let ledger = kill_ten_times(&world, &sets, &mut chance);
    let mut tidegate = world.run_orders(&sets);
    world.await_distinct(&ledger);
    tidegate.assert_conservation();
    tidegate.stop();
    let surplus = world.assert_complete(&ledger, chance.seed);
    // Ten kills in the middle of a second's work leave some: without any, they hit nothing.
    assert!(surplus > 0);
}

fn stop_five_times(name: &str, sets: &[&str]) {
    let mut chance = Chance::new();
    let world = World::new(name, 4);
    let load = start_load(&world, orders_profile(chance.seed), RATE);
    for _ in 0..5 {
        let before = world.count_orders();
        let tidegate = world.run_orders(sets);
        world.await_more_orders_than(before);
        chance.pass_up_to(Duration::from_millis(400));
        tidegate.stop();
    }
    let ledger = load.finish();
    let mut tidegate = world.run_orders(sets);
    world.await_distinct(&ledger);
    tidegate.assert_conservation();
    tidegate.stop();
    assert_eq!(world.assert_complete(&ledger, chance.seed), 0, "rows too many");
}

#[test]
fn sigterm_under_load_doubles_nothing_in_at_least_once() {
    // Nothing is committed but at the end.
    stop_five_times("stop-at-least-once", &[AT_LEAST_ONCE, "sources.shop.commit_interval=1h"]);
}

#[test]
fn sigterm_under_load_doubles_nothing_in_exactly_once() {
    stop_five_times("stop-exactly-once", &[]);
}

#[test]
fn what_is_not_written_yet_is_not_committed_however_it_ends() {
    let world = World::new("uncommitted", 2);
    let sets = [STATIC_MEMBER, AT_LEAST_ONCE, "shutdown.drain=1s", "batch.rows=100"];
    let load = start_load(&world, orders_profile(12), RATE);
    for is_orderly in [false, true] {
        let before = world.count_orders();
        let tidegate = world.run_orders(&sets);
        world.await_more_orders_than(before);
        let lock = world.lock("orders");
        world.await_waiting("COPY %");
        // Several commit intervals: time enough to commit what ought not to be.
        thread::sleep(Duration::from_secs(1));
        if is_orderly {
            drop(tidegate.stop())
        } else {
            drop(tidegate.kill())
        }
        // Ends what waits for the lock, as a server does that sees that its client is gone.
        world.sql.execute(TERMINATE).unwrap();
        lock.execute("ROLLBACK").unwrap();
    }
    let ledger = load.finish();
    let tidegate = world.run_orders(&sets);
    world.await_distinct(&ledger);
    tidegate.stop();
    world.assert_complete(&ledger, 12);
}

#[test]
fn sigterm_ends_in_time_while_the_database_is_frozen_and_a_second_one_at_once() {
    let postgres = fragile_postgres();
    let world = World::on_fragile(&postgres, "stop-frozen", 4);
    let load = start_load(&world, orders_profile(7), RATE);
    let sets = ["shutdown.drain=2s", STATIC_MEMBER];

    let first = world.run_orders(&sets);
    world.await_more_orders_than(0);
    postgres.suspend().unwrap();
    let exit = first.terminate();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.took < Duration::from_secs(12), "{:?}\n{}", exit.took, exit.log);
    postgres.resume().unwrap();

    let before = world.count_orders();
    let mut second = world.run_orders(&["shutdown.drain=60s", STATIC_MEMBER]);
    world.await_more_orders_than(before);
    postgres.suspend().unwrap();
    second.signal(Signal::SIGTERM);
    second.await_log("a second signal ends at once");
    let ordered_at = Instant::now();
    second.signal(Signal::SIGTERM);
    let exit = second.wait();
    assert!(ordered_at.elapsed() < Duration::from_secs(2), "{exit:?}");
    assert_eq!(exit.code, Some(143), "{}", exit.log);
    postgres.resume().unwrap();

    let third = world.run_orders(&sets);
    let ledger = load.finish();
    world.await_checkpoints(&ledger, "serving.public.orders");
    third.stop();
    world.assert_exact(&ledger, 7);
}
