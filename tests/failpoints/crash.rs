//! A process that dies at a point: the next one goes on, and nothing is lost or doubled.

use loadgen::Profile;

use crate::support::{Tidegate, World, orders_profile, start_load};

const RATE: f64 = 2_000.0;
const AT_LEAST_ONCE: &str = "routes[0].to[0].delivery=at-least-once";
/// A member that comes back under its old name gets its partitions at once.
const STATIC_MEMBER: &str = "sources.shop.properties.group.instance.id=the-only-one";
/// A batch each few milliseconds, a commit to Kafka now and then.
const SETS: [&str; 3] = [STATIC_MEMBER, "batch.rows=50", "sources.shop.commit_interval=300ms"];

/// Each point, at its first passage and at one in the middle of the work.
const DATA_PATH: [&str; 9] = [
    "record.encoded=abort@500",
    "batch.closed=abort@7",
    "batch.gathered=abort@5",
    "transaction.begun=abort@6",
    "copy.begun=abort@6",
    "copy.done=abort@8",
    "dead_letters.written=abort@9",
    "checkpoint.moved=abort@6",
    "commit.answered=abort@7",
];
const POSITIONS: [&str; 7] = [
    "batch.settled=abort@1",
    "batch.settled=abort@9",
    "offsets.stored=abort@2",
    "offsets.committed=abort@2",
    "claim.begun=abort@1",
    "claim.made=abort@1",
    "assigned=abort@1",
];

/// Runs to the point, dies there, and lets another process finish.
fn die_at(mode: &str, point: &str, sets: &[&str], order: impl FnOnce(&mut Tidegate)) -> World {
    let name = format!("die-{mode}-{}", point.replace(['=', '@', '.', '_'], "-"));
    let world = World::new(&name, 2);
    let load = start_load(&world, orders_profile(31), RATE);
    let mut doomed = world.run_orders_to(point, sets);
    order(&mut doomed);
    let exit = doomed.wait();
    assert_eq!(exit.code, None, "it was to die at {point}:\n{}", exit.log);
    assert!(exit.log.contains("failpoint"), "{point}:\n{}", exit.log);
    let before = world.count_orders();
    let mut heir = world.run_orders(sets);
    world.await_more_orders_than(before);
    let ledger = load.finish();
    world.await_distinct(&ledger);
    if sets.contains(&AT_LEAST_ONCE) {
        heir.assert_conservation();
        heir.stop();
        world.assert_complete(&ledger, 31);
    } else {
        world.await_checkpoints(&ledger, "serving.public.orders");
        heir.assert_conservation();
        heir.stop();
        world.assert_exact(&ledger, 31);
    }
    world
}

fn exactly_once(points: &[&str]) {
    for point in points {
        die_at("eo", point, &SETS, |_| {});
    }
}

fn at_least_once(points: &[&str]) {
    let sets = [&SETS[..], &[AT_LEAST_ONCE]].concat();
    for point in points {
        die_at("alo", point, &sets, |_| {});
    }
}

#[test]
fn death_on_the_way_of_the_data_neither_loses_nor_doubles_in_exactly_once() {
    exactly_once(&DATA_PATH);
}

#[test]
fn death_around_the_positions_neither_loses_nor_doubles_in_exactly_once() {
    exactly_once(&POSITIONS);
}

#[test]
fn death_on_the_way_of_the_data_loses_nothing_in_at_least_once() {
    at_least_once(&DATA_PATH);
}

#[test]
fn death_around_the_positions_loses_nothing_in_at_least_once() {
    // There are no claims to die at, but the search for the positions is the same.
    at_least_once(&POSITIONS);
}

#[test]
fn death_while_the_process_stops_neither_loses_nor_doubles() {
    for point in ["shutdown.drained=abort@1", "shutdown.committed=abort@1"] {
        for (mode, more) in [("eo", None), ("alo", Some(AT_LEAST_ONCE))] {
            let sets: Vec<&str> = SETS.into_iter().chain(more).collect();
            die_at(mode, point, &sets, |doomed| {
                doomed.await_partitions(2);
                doomed.signal(nix::sys::signal::Signal::SIGTERM);
            });
        }
    }
}

#[test]
fn death_around_a_merge_leaves_the_rows_that_the_records_make() {
    for point in ["copy.done=abort@6", "merge.done=abort@6", "checkpoint.moved=abort@6"] {
        let name = format!("die-merge-{}", point.replace(['=', '@', '.', '_'], "-"));
        let world = World::new(&name, 2);
        world.sql.execute("ALTER TABLE orders ADD PRIMARY KEY (order_id)").unwrap();
        let profile = Profile { updates: 0.3, deletes: 0.1, ..orders_profile(33) };
        let load = start_load(&world, profile, RATE);
        let sets = [&SETS[..], &["routes[0].to[0].write=mirror"]].concat();
        let exit = world.run_orders_to(point, &sets).wait();
        assert_eq!(exit.code, None, "it was to die at {point}:\n{}", exit.log);
        let before = world.count_orders();
        let mut heir = world.run_orders(&sets);
        world.await_more_orders_than(before);
        let ledger = load.finish();
        world.await_checkpoints(&ledger, "serving.public.orders");
        heir.assert_conservation();
        heir.stop();
        let totals = &ledger.totals;
        let rows = world.rows("SELECT count(*), sum(amount) FROM orders");
        let expected = [totals.live_order_ids.to_string(), totals.live_amount_sum.to_string()];
        assert_eq!(rows, [expected.to_vec()], "{point}");
    }
}

#[test]
fn death_while_partitions_are_given_up_neither_loses_nor_doubles() {
    for point in ["revoke.begun=abort@1", "revoke.drained=abort@1", "revoke.committed=abort@1"] {
        let name = format!("die-{}", point.replace(['=', '@', '.'], "-"));
        let world = World::new(&name, 4);
        let load = start_load(&world, orders_profile(32), RATE);
        let mut doomed = world.run_orders_to(point, &["batch.rows=50"]);
        doomed.await_partitions(4);
        // Somebody comes, and partitions are to be handed over.
        let mut heir = world.run_orders(&["batch.rows=50"]);
        let exit = doomed.wait();
        assert_eq!(exit.code, None, "it was to die at {point}:\n{}", exit.log);
        heir.await_partitions(4);
        let ledger = load.finish();
        world.await_checkpoints(&ledger, "serving.public.orders");
        heir.assert_conservation();
        heir.stop();
        world.assert_exact(&ledger, 32);
    }
}
