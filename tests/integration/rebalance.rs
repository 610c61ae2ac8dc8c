//! Several instances: partitions change hands, and each record still arrives once.

use std::{sync::mpsc, thread, time::Duration};

use nix::sys::signal::Signal;
use stack::Client;

use crate::support::{
    Chance, RunningLoad, Tidegate, World, await_owned, eventually, orders_profile, start_load,
};

const PARTITIONS: i32 = 6;
const RATE: f64 = 3_000.0;
const EAGER: &str = "sources.shop.properties.partition.assignment.strategy=range";

/// Waits until the two own all partitions between them, and each some.
fn await_shared(one: &mut Tidegate, other: &mut Tidegate) {
    await_owned(&mut [one, other], PARTITIONS, 0);
}

/// A second instance comes, the first leaves, comes again and is killed, under load.
fn hand_over(name: &str, config: impl Fn(&World) -> String, sets: &[&str]) {
    let mut chance = Chance::new();
    let world = World::new(name, PARTITIONS);
    let config = config(&world);
    let load = start_load(&world, orders_profile(chance.seed), RATE);
    let mut first = world.run(&config, sets);
    first.await_partitions(PARTITIONS.into());
    let mut second = world.run(&config, sets);
    await_shared(&mut first, &mut second);
    chance.pass_up_to(Duration::from_millis(300));
    first.stop();
    second.await_partitions(PARTITIONS.into());
    let mut first = world.run(&config, sets);
    await_shared(&mut first, &mut second);
    chance.pass_up_to(Duration::from_millis(300));
    first.kill();
    second.await_partitions(PARTITIONS.into());
    let ledger = load.finish();
    world.await_checkpoints(&ledger, "serving.public.orders");
    second.assert_conservation();
    second.stop();
    world.assert_exact(&ledger, chance.seed);
}

#[test]
fn partitions_change_hands_cooperatively_without_a_gap_or_a_double() {
    hand_over("hand-over-cooperative", World::orders_config, &[]);
}

#[test]
fn partitions_change_hands_eagerly_without_a_gap_or_a_double() {
    hand_over("hand-over-eager", World::orders_config, &[EAGER]);
}

#[test]
fn partitions_change_hands_by_the_brokers_own_protocol_without_a_gap_or_a_double() {
    hand_over("hand-over-consumer", consumer_protocol, &[]);
}

/// KIP-848: the broker assigns, and its own settings decide when a member is gone.
fn consumer_protocol(world: &World) -> String {
    let lines = world.orders_config();
    let lines = lines.lines().map(|line| match line.split(' ').next() {
        Some("\"session.timeout.ms\"") => "\"group.protocol\" = \"consumer\"",
        Some("\"heartbeat.interval.ms\"") => "",
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_orderly_hand_over_doubles_nothing_in_at_least_once_either() {
    let mut chance = Chance::new();
    let world = World::new("hand-over-at-least-once", PARTITIONS);
    // Only a revocation commits.
    let sets = ["routes[0].to[0].delivery=at-least-once", "sources.shop.commit_interval=1h"];
    let load = start_load(&world, orders_profile(chance.seed), RATE);
    let mut first = world.run_orders(&sets);
    first.await_partitions(PARTITIONS.into());
    let mut second = world.run_orders(&sets);
    await_shared(&mut first, &mut second);
    chance.pass_up_to(Duration::from_millis(300));
    first.stop();
    second.await_partitions(PARTITIONS.into());
    let ledger = load.finish();
    world.await_distinct(&ledger);
    second.assert_conservation();
    second.stop();
    assert_eq!(world.assert_complete(&ledger, chance.seed), 0, "rows too many");
}

/// The database is away for the heir at the moment when it is assigned the leaver's partitions, for
/// longer than a session lasts (2 s, or the 4 s of the brokers' own protocol).
fn claim_later(name: &str, config: impl Fn(&World) -> String, sets: &[&str]) {
    let world = World::new(name, PARTITIONS);
    let direct = config(&world);
    let (proxy, proxied) = world.behind_proxy(&direct);
    let load = start_load(&world, orders_profile(31), RATE);
    let mut heir = world.run(&proxied, sets);
    heir.await_partitions(PARTITIONS.into());
    let mut leaver = world.run(&direct, sets);
    await_shared(&mut heir, &mut leaver);
    proxy.refuse().unwrap();
    proxy.cut();
    let assignments = heir.rebalances("assign");
    leaver.stop();
    eventually("the assignment", || {
        if heir.rebalances("assign") > assignments { Ok(()) } else { Err("not yet".to_owned()) }
    });
    heir.await_degraded("source shop:");
    heir.watch_memory(Duration::from_secs(6), 128 + 64);
    let (code, body) = heir.get("/readyz");
    assert_eq!(code, 503, "{body}");
    proxy.pass().unwrap();
    heir.await_partitions(PARTITIONS.into());
    heir.await_ready();
    let lost = heir.rebalances("lost");
    assert_eq!(lost, 0.0, "the group did without it meanwhile");
    let ledger = load.finish();
    world.await_checkpoints(&ledger, "serving.public.orders");
    heir.assert_conservation();
    heir.stop();
    world.assert_exact(&ledger, 31);
}

#[test]
fn a_claim_waits_for_the_database_while_the_member_stays_in_its_cooperative_group() {
    claim_later("claim-later-cooperative", World::orders_config, &[]);
}

#[test]
fn a_claim_waits_for_the_database_while_the_member_stays_in_its_eager_group() {
    claim_later("claim-later-eager", World::orders_config, &[EAGER]);
}

#[test]
fn a_claim_waits_for_the_database_while_the_member_stays_in_a_group_of_the_brokers_own_protocol() {
    claim_later("claim-later-consumer", consumer_protocol, &[]);
}

#[test]
fn sigterm_ends_in_time_while_a_claim_waits_for_the_database() {
    type Config = fn(&World) -> String;
    let protocols: [(&str, Config, &[&str]); 3] = [
        ("cooperative", World::orders_config, &[]),
        ("eager", World::orders_config, &[EAGER]),
        ("consumer", consumer_protocol, &[]),
    ];
    for (protocol, config, sets) in protocols {
        let world = World::new(&format!("claim-sigterm-{protocol}"), PARTITIONS);
        let direct = config(&world);
        let (proxy, proxied) = world.behind_proxy(&direct);
        let mut heir = world.run(&proxied, sets);
        heir.await_partitions(PARTITIONS.into());
        let mut leaver = world.run(&direct, sets);
        await_shared(&mut heir, &mut leaver);
        proxy.refuse().unwrap();
        proxy.cut();
        leaver.stop();
        heir.await_degraded("source shop:");
        heir.stop();
    }
}

#[test]
fn a_revocation_while_the_database_stalls_ends_with_the_drain_and_doubles_nothing() {
    let world = World::new("revoke-stalled", PARTITIONS);
    let (proxy, proxied) = world.behind_proxy(&world.orders_config());
    let load = start_load(&world, orders_profile(32), RATE);
    let mut stuck = world.run(&proxied, &["shutdown.drain=1s"]);
    stuck.await_partitions(PARTITIONS.into());
    world.await_more_orders_than(0);
    proxy.stall();
    let mut heir = world.run_orders(&[]);
    // A transaction that waits for its COMMIT behind the proxy holds the rows of its checkpoints
    // until the server's own time-out, 30 s.
    await_shared(&mut stuck, &mut heir);
    world.await_more_orders_than(world.count_orders());
    // What is held back now arrives after all: late, and beside the heir's.
    proxy.pass().unwrap();
    stuck.await_ready();
    let ledger = load.finish();
    world.await_checkpoints(&ledger, "serving.public.orders");
    stuck.assert_conservation();
    heir.assert_conservation();
    stuck.stop();
    heir.stop();
    world.assert_exact(&ledger, 32);
}

/// Freezes it inside its transactions, between the start of COPY and its rows.
fn freeze_inside_a_copy(world: &World, tidegate: &Tidegate) {
    let lock = world.lock("orders");
    world.await_waiting("COPY %");
    tidegate.freeze();
    lock.execute("ROLLBACK").unwrap();
}

fn await_fenced(zombie: &mut Tidegate) {
    eventually("the zombie's batch is fenced", || {
        if zombie.metric("tidegate_fenced_total") > 0.0 { Ok(()) } else { Err("no".to_owned()) }
    });
}

fn finish_shared(
    world: &World,
    load: RunningLoad,
    mut zombie: Tidegate,
    mut heir: Tidegate,
    seed: u64,
) {
    await_shared(&mut zombie, &mut heir);
    let ledger = load.finish();
    world.await_checkpoints(&ledger, "serving.public.orders");
    zombie.stop();
    heir.stop();
    world.assert_exact(&ledger, seed);
}

#[test]
fn an_instance_that_wakes_up_after_its_partitions_were_taken_writes_nothing_more() {
    let world = World::new("zombie", PARTITIONS);
    let load = start_load(&world, orders_profile(3), RATE);
    let mut zombie = world.run_orders(&[]);
    zombie.await_partitions(PARTITIONS.into());
    world.await_more_orders_than(0);
    freeze_inside_a_copy(&world, &zombie);

    let mut heir = world.run_orders(&[]);
    heir.await_partitions(PARTITIONS.into());
    let before = world.count_orders();
    world.await_more_orders_than(before + 1000);
    zombie.signal(Signal::SIGCONT);
    await_fenced(&mut zombie);
    finish_shared(&world, load, zombie, heir, 3);
}

#[test]
fn an_instance_that_wakes_up_before_its_heir_has_written_writes_nothing_more_either() {
    let world = World::new("zombie-early", PARTITIONS);
    let load = start_load(&world, orders_profile(4), RATE);
    let mut zombie = world.run_orders(&[]);
    zombie.await_partitions(PARTITIONS.into());
    world.await_more_orders_than(0);
    freeze_inside_a_copy(&world, &zombie);

    // Waits for the zombie's transactions, and holds up those of its heir: which has claimed its
    // lanes by then, and moved none.
    let (url, (sender, receiver)) = (world.url.clone(), mpsc::channel());
    let locker = thread::spawn(move || {
        let client = Client::connect(&url).unwrap();
        client.execute("BEGIN; LOCK TABLE orders IN SHARE MODE").unwrap();
        receiver.recv().unwrap();
    });
    world.await_waiting("%LOCK TABLE%");
    let mut heir = world.run_orders(&[]);
    heir.await_partitions(PARTITIONS.into());
    world.await_waiting("COPY %");
    zombie.signal(Signal::SIGCONT);
    await_fenced(&mut zombie);
    sender.send(()).unwrap();
    locker.join().unwrap();
    finish_shared(&world, load, zombie, heir, 4);
}
