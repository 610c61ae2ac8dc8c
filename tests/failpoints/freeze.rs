//! A process that freezes at a point, and wakes up when its partitions are another's.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::{Tidegate, World, eventually, orders_profile, start_load};

const RATE: f64 = 2_000.0;
const PARTITIONS: i64 = 4;

/// Waits until it has stopped itself.
pub(crate) fn await_frozen(tidegate: &Tidegate) {
    let path = format!("/proc/{}/stat", tidegate.pid());
    eventually("the process has frozen", || {
        let stat = fs::read_to_string(&path).unwrap();
        let state = stat.rsplit(") ").next().unwrap().chars().next().unwrap();
        if state == 'T' { Ok(()) } else { Err(format!("{state}\n{}", tidegate.log())) }
    });
}

/// Freezes at the point; an heir takes over and gets on; the zombie wakes up. Then both share the
/// work, and each record is there once.
fn freeze_at(point: &str) {
    let name = format!("freeze-{}", point.replace(['=', '@', '.', '_'], "-"));
    let world = World::new(&name, PARTITIONS as i32);
    let load = start_load(&world, orders_profile(33), RATE);
    let mut zombie = world.run_orders_to(point, &["batch.rows=50"]);
    await_frozen(&zombie);
    let mut heir = world.run_orders(&["batch.rows=50"]);
    heir.await_partitions(PARTITIONS);
    let before = world.count_orders();
    world.await_more_orders_than(before + 500);
    zombie.signal(Signal::SIGCONT);
    eventually("both own partitions", || {
        let owned = [&mut zombie, &mut heir].map(|tidegate| {
            assert!(tidegate.is_running(), "{point}: it ended:\n{}", tidegate.log());
            tidegate.metric("tidegate_partitions_assigned") as i64
        });
        let shared = owned.iter().all(|count| *count > 0);
        if shared && owned.iter().sum::<i64>() == PARTITIONS {
            Ok(())
        } else {
            Err(format!("{owned:?}"))
        }
    });
    let ledger = load.finish();
    world.await_checkpoints(&ledger, "serving.public.orders");
    // Nobody took anything from the heir: it never had a batch that was not its own to write.
    assert_eq!(heir.metric("tidegate_fenced_total"), 0.0, "{point}:\n{}", heir.log());
    zombie.assert_conservation();
    heir.assert_conservation();
    zombie.stop();
    heir.stop();
    world.assert_exact(&ledger, 33);
}

#[test]
fn a_zombie_inside_its_copy_holds_nothing_that_its_heir_waits_for() {
    freeze_at("copy.begun=stop@6");
    freeze_at("copy.done=stop@6");
}

#[test]
fn a_zombie_that_holds_the_lock_of_a_checkpoint_is_ended_by_the_server() {
    // Between the check-and-set and COMMIT: its heir waits until Postgres ends the idle transaction,
    // idle_in_transaction_session_timeout, 30 s.
    freeze_at("checkpoint.moved=stop@6");
}

#[test]
fn a_zombie_whose_transaction_has_happened_does_not_repeat_it() {
    freeze_at("commit.answered=stop@6");
    freeze_at("batch.settled=stop@6");
}

#[test]
fn a_zombie_that_was_about_to_claim_leaves_the_lanes_to_its_heir() {
    freeze_at("claim.begun=stop@1");
    freeze_at("claim.made=stop@1");
}

/// Nobody tells the server that a host is gone: its connections stay open, with a transaction in which
/// all rows of a batch are.
#[test]
fn a_host_that_loses_power_holds_nothing_that_its_heir_waits_for() {
    let world = World::new("power-loss", PARTITIONS as i32);
    let (proxy, config) = world.behind_proxy(&world.orders_config());
    let load = start_load(&world, orders_profile(34), RATE);
    let sets = ["batch.rows=50", "sinks.serving.writers=1"];
    let lost = world.run_to(&config, "copy.done=stop@6", &sets);
    await_frozen(&lost);
    let backends = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                    AND application_name = 'tidegate' AND state = 'idle in transaction'";
    let transaction = world.rows(backends);
    assert_eq!(transaction.len(), 1, "{}", lost.log());
    // From here on the server hears nothing more, not even that the connections end.
    proxy.stall();
    lost.kill();

    let before = world.count_orders();
    let mut heir = world.run_orders(&["batch.rows=50"]);
    heir.await_partitions(PARTITIONS);
    world.await_more_orders_than(before + 500);
    let left = world.rows(backends);
    assert!(left.contains(&transaction[0]), "it is still there, and nobody waits for it");

    let ledger = load.finish();
    world.await_checkpoints(&ledger, "serving.public.orders");
    heir.assert_conservation();
    heir.stop();
    world.assert_exact(&ledger, 34);
}
