//! Who belongs to the group: members that come back under their name, that wait for work, that come
//! and go.

use std::time::Duration;

use crate::support::{Chance, Tidegate, World, await_owned, orders_profile, start_load};

const TARGET: &str = "serving.public.orders";
const RATE: f64 = 2_000.0;

#[test]
fn a_static_member_that_is_back_within_its_session_finds_its_partitions_and_disturbs_nobody() {
    let world = World::new("member-static", 6);
    let config = world.orders_config().replace(
        "\"session.timeout.ms\" = \"2000\"",
        // Longer than a restart on a busy machine takes.
        "\"session.timeout.ms\" = \"20000\"",
    );
    let start = |id: &str| {
        let id = format!("sources.shop.properties.group.instance.id={id}");
        world.run(&config, &[&id])
    };
    let load = start_load(&world, orders_profile(61), RATE);
    let (mut one, mut other) = (start("one"), start("other"));
    let before = await_owned(&mut [&mut one, &mut other], 6, 0);
    world.await_more_orders_than(0);
    let disturbed = one.metric("tidegate_rebalances_total");
    for is_killed in [false, true] {
        if is_killed {
            other.kill();
        } else {
            other.stop();
        }
        other = start("other");
        other.await_partitions(before[1].into());
        world.await_more_orders_than(world.count_orders());
    }
    assert_eq!(one.metric("tidegate_rebalances_total"), disturbed, "{}", one.log());
    assert_eq!(one.owned(), before[0]);
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    one.assert_conservation();
    other.assert_conservation();
    one.stop();
    other.stop();
    world.assert_exact(&ledger, 61);
}

fn wait_idle(name: &str, sets: &[&str]) {
    let world = World::new(name, 2);
    let load = start_load(&world, orders_profile(62), RATE);
    let mut members = [world.run_orders(sets), world.run_orders(sets), world.run_orders(sets)];
    // One that has not joined yet has no partition either, and changes everything when it comes.
    members.iter_mut().for_each(Tidegate::await_ready);
    let [one, two, three] = &mut members;
    let owned = await_owned(&mut [one, two, three], 2, 1);
    let idle = owned.iter().position(|count| *count == 0).unwrap();
    members[idle].await_ready();
    let status = members[idle].status();
    assert_eq!(status["sources"][0]["state"], "standby", "{status}");

    let [one, two, three] = members;
    let (mut idle, mut worker, heirless) = match idle {
        0 => (one, two, three),
        1 => (two, one, three),
        _ => (three, one, two),
    };
    // A kill, and an orderly end.
    heirless.kill();
    await_owned(&mut [&mut idle, &mut worker], 2, 0);
    worker.stop();
    idle.await_partitions(2);
    idle.await_ready();
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    idle.assert_conservation();
    idle.stop();
    world.assert_exact(&ledger, 62);
}

#[test]
fn a_member_without_a_partition_is_ready_and_takes_over_when_another_ends() {
    wait_idle("member-idle", &[]);
}

#[test]
fn a_member_without_a_partition_is_ready_and_takes_over_when_another_ends_eagerly_too() {
    wait_idle(
        "member-idle-eager",
        &["sources.shop.properties.partition.assignment.strategy=range"],
    );
}

#[test]
fn ten_quick_joins_and_leaves_do_not_keep_the_group_from_its_work() {
    let mut chance = Chance::new();
    let world = World::new("member-churn", 6);
    let load = start_load(&world, orders_profile(chance.seed), RATE);
    let mut base = world.run_orders(&[]);
    base.await_partitions(6);
    let mut members = Vec::new();
    for cycle in 0..10 {
        let before = world.count_orders();
        let mut joiner = world.run_orders(&[]);
        // From here on a signal is an order; before, it ends a process that has not begun.
        joiner.await_log("admin server on");
        members.push(joiner);
        // Somewhere between its start and its first rows.
        chance.pass_up_to(Duration::from_millis(1_500));
        if members.len() > 1 {
            let leaver = members.remove(0);
            if cycle % 3 == 0 {
                leaver.kill();
            } else {
                leaver.stop();
            }
        }
        world.await_more_orders_than(before);
    }
    members.drain(..).for_each(|member| drop(member.stop()));
    base.await_partitions(6);
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    base.assert_conservation();
    base.stop();
    world.assert_exact(&ledger, chance.seed);
}
