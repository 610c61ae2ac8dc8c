//! Postgres goes away, in every way that it can, under load: nothing is lost, doubled or
//! dead-lettered, and the same process goes on when it is back.

use std::{thread, time::Duration};

use stack::{Proxy, StopMode};

use crate::support::{
    LIMIT, World, eventually, eventually_within, fragile_postgres, orders_profile, start_load,
};

const RATE: f64 = 5_000.0;
const TARGET: &str = "serving.public.orders";
/// The default memory budget, and what the process itself may take besides.
const RSS_MAX_MIB: u64 = 128 + 64;

fn stop_and_start(name: &str, mode: StopMode) {
    let postgres = fragile_postgres();
    let mut world = World::on_fragile(&postgres, name, 4);
    let load = start_load(&world, orders_profile(5), RATE);
    let mut tidegate = world.run_orders(&[]);
    world.await_more_orders_than(0);
    tidegate.await_ready();

    postgres.stop(mode).unwrap();
    tidegate.await_degraded("table public.orders");
    tidegate.watch_memory(Duration::from_secs(4), RSS_MAX_MIB);
    postgres.start_again().unwrap();
    world.reconnect();
    let before = world.count_orders();
    eventually_within(Duration::from_secs(5), "new orders", || {
        let count = world.count_orders();
        if count > before { Ok(()) } else { Err(format!("still {count}")) }
    });
    tidegate.await_ready();

    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    let counts = tidegate.assert_conservation();
    assert_eq!(counts.consumed, ledger.produced, "records were read twice");
    tidegate.stop();
    world.assert_exact(&ledger, 5);
}

#[test]
fn a_fast_stop_of_postgres_is_waited_out() {
    stop_and_start("postgres-fast", StopMode::Fast);
}

#[test]
fn an_immediate_stop_of_postgres_is_waited_out() {
    stop_and_start("postgres-immediate", StopMode::Immediate);
}

#[test]
fn a_frozen_postgres_is_waited_out() {
    let postgres = fragile_postgres();
    let world = World::on_fragile(&postgres, "postgres-frozen", 4);
    let load = start_load(&world, orders_profile(6), RATE);
    let mut tidegate = world.run_orders(&[]);
    world.await_more_orders_than(0);
    postgres.suspend().unwrap();
    tidegate.watch_memory(Duration::from_secs(5), RSS_MAX_MIB);
    postgres.resume().unwrap();
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_exact(&ledger, 6);
}

#[test]
fn backends_that_are_terminated_all_the_time_cost_neither_a_row_nor_a_double() {
    let world = World::new("postgres-terminate", 4);
    let load = start_load(&world, orders_profile(8), RATE);
    let mut tidegate = world.run_orders(&["batch.rows=200"]);
    world.await_more_orders_than(0);
    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                     WHERE datname = current_database() AND application_name = 'tidegate'";
    let mut terminated = 0;
    while terminated < 60 {
        terminated += world.number(terminate);
        thread::sleep(Duration::from_millis(40));
    }
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_exact(&ledger, 8);
}

/// A world whose tidegate reaches Postgres through a proxy.
fn proxied(name: &str) -> (World, Proxy, String) {
    let world = World::new(name, 4);
    let (proxy, config) = world.behind_proxy(&world.orders_config());
    (world, proxy, config)
}

/// Withholds the reply to a COMMIT ten times: it happened, and the client cannot know.
fn drop_replies_to_commit(name: &str, sets: &[&str]) -> (World, loadgen::Ledger) {
    let (world, proxy, config) = proxied(name);
    let load = start_load(&world, orders_profile(9), RATE);
    let mut tidegate = world.run(&config, sets);
    world.await_more_orders_than(0);
    for _ in 0..10 {
        proxy.cut_at_reply(b"COMMIT\0");
        proxy.wait_until_cut_at_reply(LIMIT).unwrap();
    }
    let ledger = load.finish();
    world.await_distinct(&ledger);
    tidegate.assert_conservation();
    tidegate.stop();
    (world, ledger)
}

#[test]
fn a_lost_reply_to_commit_doubles_nothing_in_exactly_once() {
    let (world, ledger) = drop_replies_to_commit("commit-reply-exactly-once", &[]);
    world.assert_exact(&ledger, 9);
}

#[test]
fn a_lost_reply_to_commit_loses_nothing_in_at_least_once() {
    let sets = ["routes[0].to[0].delivery=at-least-once"];
    let (world, ledger) = drop_replies_to_commit("commit-reply-at-least-once", &sets);
    // The batches whose COMMIT had no answer were written again: that is what the proxy did.
    assert!(world.assert_complete(&ledger, 9) > 0);
}

#[test]
fn connections_that_fall_silent_are_given_up_and_replaced() {
    // Longer than the deadline of a transaction, 30 s.
    let (world, proxy, config) = proxied("postgres-half-open");
    let load = start_load(&world, orders_profile(10), 1_000.0);
    let mut tidegate = world.run(&config, &[]);
    world.await_more_orders_than(0);
    proxy.stall();
    tidegate.await_degraded("no answer within 30 s");
    tidegate.watch_memory(Duration::from_secs(3), RSS_MAX_MIB);
    // What is held back now is never to arrive.
    proxy.cut();
    proxy.pass().unwrap();
    tidegate.await_ready();
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_exact(&ledger, 10);
    eventually("the proxy is left", || match proxy.connections() {
        0 => Ok(()),
        count => Err(count.to_string()),
    });
}

#[test]
fn a_claim_that_gets_no_answer_is_given_up_and_made_when_there_is_one() {
    let (world, proxy, config) = proxied("postgres-claim");
    let load = start_load(&world, orders_profile(11), 1_000.0);
    let mut heir = world.run(&config, &["shutdown.drain=1s"]);
    heir.await_partitions(4);
    // Once in good order: from then on there is an open connection for claims.
    for is_silent in [false, true] {
        let mut leaver = world.run_orders(&[]);
        leaver.await_partitions(2);
        heir.await_partitions(2);
        world.await_more_orders_than(world.count_orders());
        if is_silent {
            proxy.stall();
        }
        leaver.stop();
        if !is_silent {
            heir.await_partitions(4);
        }
    }
    eventually("the claim is given up", || {
        let (_, body) = heir.get("/readyz");
        if body.contains("no answer within 10 s") { Ok(()) } else { Err(body) }
    });
    proxy.cut();
    proxy.pass().unwrap();
    heir.await_partitions(4);
    heir.await_ready();
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    heir.stop();
    world.assert_exact(&ledger, 11);
}
