//! Brokers go away, and the group's coordinator with them; or only the way to them is cut.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use crate::support::{
    Message, Tidegate, World, await_owned, committed, coordinator_of, eventually,
    eventually_within, fragile_kafka, leader_of, orders_profile, produce, produce_to, start_load,
};

/// A property that only the client library knows to obey.
const CLIENT_FETCHES: &str = "sources.shop.properties.check.crcs=true";
const PARTITIONS: i32 = 6;
const RATE: f64 = 2_000.0;
const TARGET: &str = "serving.public.orders";
/// The default memory budget, and what the process itself may take besides.
const RSS_MAX_MIB: u64 = 128 + 64;
/// The election of a leader, and the loss of the session with the coordinator, 2 s, where it was
/// the coordinator that went.
const RESUME_MAX: Duration = Duration::from_secs(20);

fn await_rows_again(world: &World) -> Duration {
    let (before, since) = (world.count_orders(), Instant::now());
    eventually_within(RESUME_MAX, "new orders", || {
        let count = world.count_orders();
        if count > before + RATE as i64 { Ok(()) } else { Err(format!("still {count}")) }
    });
    since.elapsed()
}

#[test]
fn each_broker_of_three_is_killed_in_turn_and_nothing_is_lost_or_doubled() {
    let kafka = fragile_kafka();
    let world = World::on_brokers(&kafka, "brokers-in-turn", PARTITIONS);
    let load = start_load(&world, orders_profile(51), RATE);
    let mut tidegate = world.run_orders(&[]);
    world.await_more_orders_than(0);
    for broker in kafka.brokers() {
        broker.kill().unwrap();
        let took = await_rows_again(&world);
        eprintln!("rows again {took:?} after the end of broker {}", broker.id());
        broker.start().unwrap();
        tidegate.await_ready();
    }
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_exact(&ledger, 51);
}

/// Its connections stay open: nobody is told.
#[test]
fn a_leader_that_freezes_is_left_for_its_successor() {
    let kafka = fragile_kafka();
    let world = World::on_brokers(&kafka, "brokers-frozen", 1);
    let order = |n| Message::json(&format!(r#"{{"order_id":{n},"amount":1}}"#));
    produce(&world, &(0..10).map(order).collect::<Vec<_>>());
    let mut tidegate = world.run_orders(&[]);
    let await_orders = |wanted| {
        eventually_within(RESUME_MAX, "the orders", || match world.count_orders() {
            count if count == wanted => Ok(()),
            count => Err(format!("{count} of {wanted}")),
        });
    };
    await_orders(10);
    let leader = leader_of(&world.brokers, &world.name, 0);
    kafka.broker(leader as usize).suspend().unwrap();
    let awake = kafka.brokers().iter().filter(|broker| broker.id() != leader);
    let awake: Vec<_> = awake.map(|broker| format!("127.0.0.1:{}", broker.port())).collect();
    let awake = awake.join(",");
    eventually("another leader", || match leader_of(&awake, &world.name, 0) {
        now if now == leader || now < 0 => Err(format!("{now}")),
        _ => Ok(()),
    });
    produce_to(&awake, &world.name, &(10..20).map(order).collect::<Vec<_>>());
    await_orders(20);
    kafka.broker(leader as usize).resume().unwrap();
    produce(&world, &(20..30).map(order).collect::<Vec<_>>());
    await_orders(30);
    assert_eq!(world.offsets(0), (0..30).collect::<Vec<_>>());
    assert_eq!(world.checkpoint(0), 30);
    tidegate.assert_conservation();
    tidegate.stop();
}

#[test]
fn all_brokers_away_are_waited_out_within_memory() {
    let kafka = fragile_kafka();
    let world = World::on_brokers(&kafka, "brokers-away", PARTITIONS);
    let load = start_load(&world, orders_profile(52), RATE);
    let mut tidegate = world.run_orders(&[]);
    world.await_more_orders_than(0);
    kafka.brokers().iter().for_each(|broker| broker.kill().unwrap());
    // The session runs out, and nobody can give partitions.
    tidegate.await_degraded("source shop has no assignment yet");
    tidegate.watch_memory(Duration::from_secs(20), RSS_MAX_MIB);
    kafka.start_again().unwrap();
    let took = await_rows_again(&world);
    eprintln!("rows again {took:?} after the brokers' return");
    tidegate.await_ready();
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_exact(&ledger, 52);
}

#[test]
fn a_coordinator_that_is_killed_leaves_its_group_to_another_which_gets_the_commits() {
    let kafka = fragile_kafka();
    let world = World::on_brokers(&kafka, "brokers-coordinator", PARTITIONS);
    let load = start_load(&world, orders_profile(53), RATE);
    let mut tidegate = world.run_orders(&["routes[0].to[0].delivery=at-least-once"]);
    world.await_more_orders_than(0);
    tidegate.await_ready();
    let coordinator = coordinator_of(&world);
    kafka.broker(coordinator as usize).kill().unwrap();
    eventually("another coordinator", || match coordinator_of(&world) {
        now if now == coordinator => Err(format!("still {now}")),
        _ => Ok(()),
    });
    await_rows_again(&world);
    let ledger = load.finish();
    world.await_distinct(&ledger);
    let end = |entry: &loadgen::PartitionEntry| (entry.partition, Some(entry.next_offset));
    let ends = ledger.partitions.iter().map(end).collect();
    eventually("the commits", || match committed(&world, PARTITIONS) {
        found if found == ends => Ok(()),
        found => Err(format!("{found:?}")),
    });
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_complete(&ledger, 53);
}

#[test]
fn sigterm_ends_in_time_while_all_brokers_are_away() {
    let kafka = fragile_kafka();
    let world = World::on_brokers(&kafka, "brokers-away-sigterm", PARTITIONS);
    let load = start_load(&world, orders_profile(54), RATE);
    let mut tidegate = world.run_orders(&["shutdown.drain=1s"]);
    world.await_more_orders_than(0);
    tidegate.await_ready();
    kafka.brokers().iter().for_each(|broker| broker.kill().unwrap());
    let exit = tidegate.terminate();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.took < Duration::from_secs(1 + 10), "{:?}\n{}", exit.took, exit.log);
    kafka.start_again().unwrap();
    // What could not be committed is in the checkpoints.
    let mut tidegate = world.run_orders(&[]);
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_exact(&ledger, 54);
}

#[test]
fn a_member_that_is_cut_off_from_the_brokers_loses_its_partitions_and_comes_back() {
    cut_off("brokers-cut-off", &[]);
}

#[test]
fn a_member_that_is_cut_off_comes_back_also_where_the_client_fetches() {
    cut_off("brokers-cut-off-client", &[CLIENT_FETCHES]);
}

fn cut_off(name: &str, sets: &[&str]) {
    let kafka = fragile_kafka();
    let world = World::on_brokers(&kafka, name, PARTITIONS);
    let config = world.orders_config();
    let proxied = config.replace(&world.brokers, &kafka.proxied_bootstrap_servers());
    assert_ne!(proxied, config);
    let load = start_load(&world, orders_profile(55), RATE);
    let mut lonely = world.run(&proxied, sets);
    lonely.await_partitions(PARTITIONS.into());
    let mut heir = world.run(&config, sets);
    await_owned(&mut [&mut lonely, &mut heir], PARTITIONS, 0);
    kafka.brokers().iter().for_each(|broker| kafka.proxy(broker.id() as usize).stall());
    heir.await_partitions(PARTITIONS.into());
    await_rows_again(&world);
    for broker in kafka.brokers() {
        kafka.proxy(broker.id() as usize).pass().unwrap();
    }
    await_owned(&mut [&mut lonely, &mut heir], PARTITIONS, 0);
    assert!(lonely.rebalances("lost") > 0.0);
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    lonely.assert_conservation();
    heir.assert_conservation();
    lonely.stop();
    heir.stop();
    world.assert_exact(&ledger, 55);
}

#[test]
fn a_member_that_slept_longer_than_its_session_joins_again_and_goes_on() {
    let world = World::new("brokers-session", PARTITIONS);
    let load = start_load(&world, orders_profile(56), RATE);
    let mut tidegate = world.run_orders(&[]);
    world.await_more_orders_than(0);
    tidegate.signal(Signal::SIGSTOP);
    // The session is 2 s.
    std::thread::sleep(Duration::from_secs(4));
    tidegate.signal(Signal::SIGCONT);
    eventually("the loss", || match tidegate.rebalances("lost") {
        0.0 => Err("not told".to_owned()),
        _ => Ok(()),
    });
    tidegate.await_partitions(PARTITIONS.into());
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_exact(&ledger, 56);
}

/// What a coordinator may say to a commit, none of which is the end.
#[test]
fn commits_that_are_refused_for_each_reason_are_made_again() {
    // A real broker refuses only in the middle of a rebalance or a move.
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    let mut world = World::new("brokers-refused-commits", 1);
    world.brokers = cluster.bootstrap_servers();
    cluster.create_topic(&world.name, 1, 1).unwrap();
    // The mock waits 3 s for further members before it answers the first, and as long as a session
    // for one that it has itself declared unknown.
    let session = "sources.shop.properties.session.timeout.ms=6000";
    let mut tidegate = world.run_orders(&[session]);
    let mut end = 0;
    let mut pass_ten = |tidegate: &mut Tidegate, what: &str| {
        let order = |n| Message::json(&format!(r#"{{"order_id":{n},"amount":1}}"#));
        produce(&world, &(end..end + 10).map(order).collect::<Vec<_>>());
        end += 10;
        eventually(&format!("the commit after {what}"), || {
            assert!(tidegate.is_running(), "it ended:\n{}", tidegate.log());
            match committed(&world, 1)[&0] {
                Some(found) if found == end => Ok(()),
                found => Err(format!("{found:?} of {end}")),
            }
        });
        assert_eq!(world.count_orders(), end, "{what}");
    };
    pass_ten(&mut tidegate, "the start");
    for refusal in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    ] {
        cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[refusal; 1]);
        pass_ten(&mut tidegate, &format!("{refusal:?}"));
    }
    tidegate.assert_conservation();
    let exit = tidegate.stop();
    assert!(exit.log.contains("COMMITFAIL"), "{}", exit.log);
}
