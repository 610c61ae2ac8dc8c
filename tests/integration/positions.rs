//! Where a group goes on, and where it refuses to.

use nix::sys::signal::Signal;
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use crate::support::{
    Message, World, committed, delete_records_before, eventually, kafka, load, orders_profile,
    produce, watermarks,
};

const TARGET: &str = "serving.public.orders";

fn order(n: i64) -> Message {
    Message::json(&format!(r#"{{"order_id":{n},"amount":1}}"#))
}

fn orders(range: std::ops::Range<i64>) -> Vec<Message> {
    range.map(order).collect()
}

fn await_orders(world: &World, count: i64) {
    eventually("the orders", || match world.count_orders() {
        found if found == count => Ok(()),
        found => Err(format!("{found} of {count}")),
    });
}

#[test]
fn what_is_durable_is_committed_and_an_orderly_end_commits_all_of_it() {
    let world = World::new("positions-committed", 3);
    let ledger = load(&world, orders_profile(21), 5_000);
    let mut tidegate = world.run_orders(&[]);
    world.await_checkpoints(&ledger, TARGET);
    let end = |entry: &loadgen::PartitionEntry| (entry.partition, Some(entry.next_offset));
    let ends = ledger.partitions.iter().map(end).collect();
    // The commit interval does it without an end.
    eventually("the commit", || match committed(&world, 3) {
        found if found == ends => Ok(()),
        found => Err(format!("{found:?}")),
    });
    assert!(tidegate.is_running());
    tidegate.stop();
    assert_eq!(committed(&world, 3), ends);
}

#[test]
fn records_that_retention_took_before_they_were_read_end_the_run_and_are_counted() {
    let world = World::new("positions-retention", 1);
    produce(&world, &orders(0..10));
    let tidegate = world.run_orders(&[]);
    await_orders(&world, 10);
    tidegate.stop();
    produce(&world, &orders(10..30));
    delete_records_before(&world, 0, 25);
    eventually("the low watermark", || match watermarks(&world, 0) {
        (25, _) => Ok(()),
        found => Err(format!("{found:?}")),
    });
    let exit = world.run_orders(&[]).wait();
    assert_eq!(exit.code, Some(65), "{}", exit.log);
    let last = exit.log.lines().last().unwrap();
    for word in ["positions-retention[0]", "checkpoint is 10", "below 25", "15 offsets were lost"] {
        assert!(last.contains(word), "'{word}' is not in: {last}");
    }
    assert_eq!(world.count_orders(), 10);
}

#[test]
fn a_topic_that_was_made_anew_ends_the_run() {
    let world = World::new("positions-recreated", 1);
    produce(&world, &orders(0..10));
    let tidegate = world.run_orders(&[]);
    await_orders(&world, 10);
    tidegate.stop();
    kafka().delete_topic(&world.name).unwrap();
    kafka().create_topic(&world.name, 1, &[]).unwrap();
    // Shorter than the old one at first, then longer.
    for end in [3, 30] {
        let (_, high) = watermarks(&world, 0);
        produce(&world, &orders(high..end));
        let exit = world.run_orders(&[]).wait();
        assert_eq!(exit.code, Some(65), "{}", exit.log);
        let last = exit.log.lines().last().unwrap();
        let words = ["positions-recreated[0]", "checkpoint is 10", "recreated", "topic_id to NULL"];
        for word in words {
            assert!(last.contains(word), "'{word}' is not in: {last}");
        }
        assert_eq!(world.count_orders(), 10);
    }
    // The way out that the message names.
    world.sql.execute("UPDATE tidegate.checkpoints SET next_offset = 0, topic_id = NULL").unwrap();
    let tidegate = world.run_orders(&[]);
    await_orders(&world, 40);
    tidegate.stop();
}

#[test]
fn a_topic_that_is_made_anew_while_it_is_read_ends_the_run() {
    let world = World::new("positions-recreated-live", 1);
    produce(&world, &orders(0..10));
    let tidegate = world.run_orders(&[]);
    await_orders(&world, 10);
    // Looks away while it happens; the new one is as long as the old, so that no offset is out of range.
    tidegate.freeze();
    kafka().delete_topic(&world.name).unwrap();
    kafka().create_topic(&world.name, 1, &[]).unwrap();
    produce(&world, &orders(100..110));
    tidegate.signal(Signal::SIGCONT);
    let exit = tidegate.wait();
    assert_eq!(exit.code, Some(65), "{}", exit.log);
    // By its id: while it is read, or, if the group noticed the absence, at the claim.
    assert!(exit.log.contains("was recreated"), "{}", exit.log);
    assert_eq!(world.number("SELECT count(*) FROM orders WHERE order_id >= 100"), 0);
}

#[test]
fn a_group_without_a_position_begins_where_it_is_told_to() {
    let world = World::new("positions-start", 1);
    let at = |n: i64, timestamp_ms: i64| Message { timestamp_ms: Some(timestamp_ms), ..order(n) };
    // 2026-01-01T00:00:00Z, and a second each later.
    let messages: Vec<_> = (0..5).map(|n| at(n, 1_767_225_600_000 + n * 1000)).collect();
    produce(&world, &messages);
    for (start, first) in [("earliest", 0), ("2026-01-01T00:00:01.500Z", 2), ("latest", 7)] {
        world.sql.execute("TRUNCATE orders").unwrap();
        let group = format!("sources.shop.group=positions-{first}");
        let mut tidegate = world.run_orders(&[&format!("sources.shop.start={start}"), &group]);
        tidegate.await_partitions(1);
        // A start is decided once: what comes later does not move it.
        produce(&world, &[at(9, 1_767_225_700_000)]);
        let (_, high) = watermarks(&world, 0);
        await_orders(&world, high - first);
        tidegate.stop();
        assert_eq!(world.number("SELECT min(kafka_offset) FROM orders"), first, "{start}");
    }
}

/// A failed commit is followed by another, also when nothing new came in between: else the next
/// start reads again what is written.
#[test]
fn a_commit_that_failed_is_made_good_at_the_end() {
    // A real broker refuses a commit only in the middle of a rebalance.
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    let mut world = World::new("positions-failed-commit", 1);
    world.brokers = cluster.bootstrap_servers();
    cluster.create_topic(&world.name, 1, 1).unwrap();
    produce(&world, &orders(0..10));
    // The mock waits 3 s for further members before it answers the first.
    let session = "sources.shop.properties.session.timeout.ms=30000";
    let mut tidegate = world.run_orders(&["routes[0].to[0].delivery=at-least-once", session]);
    await_orders(&world, 10);
    eventually("the commit", || match committed(&world, 1)[&0] {
        Some(10) => Ok(()),
        found => Err(format!("{found:?}")),
    });
    let refusal = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 1];
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &refusal);
    produce(&world, &orders(10..20));
    tidegate.await_log("COMMITFAIL");
    await_orders(&world, 20);
    tidegate.stop();
    assert_eq!(committed(&world, 1)[&0], Some(20));
}

#[test]
fn records_that_retention_takes_from_under_a_running_process_end_it_after_those_before_them() {
    let world = World::new("positions-retention-running", 1);
    let note = "x".repeat(2_000);
    let large = |n| Message::json(&format!(r#"{{"order_id":{n},"amount":1,"note":"{note}"}}"#));
    let end = 20_000;
    produce(&world, &(0..end).map(large).collect::<Vec<_>>());
    // With nowhere to go, it fetches no more than the smallest budget holds, of 40 MB.
    let lock = world.lock("orders");
    let tidegate = world.run_orders(&["memory.budget=16MiB"]);
    world.await_waiting("COPY %");
    delete_records_before(&world, 0, end - 10);
    lock.execute("ROLLBACK").unwrap();
    let exit = tidegate.wait();
    assert_eq!(exit.code, Some(65), "{}", exit.log);
    let last = exit.log.lines().last().unwrap();
    assert!(last.contains("positions-retention-running[0]"), "{last}");
    assert!(last.contains("is not there any more"), "{last}");
    // A silent reset would go on with the ten that are left, or be at the end.
    let offsets = world.offsets(0);
    assert_eq!(offsets, (0..offsets.len() as i64).collect::<Vec<_>>());
    assert!(offsets.len() < end as usize / 2, "{} were fetched", offsets.len());
    assert_eq!(world.checkpoint(0), offsets.len() as i64);
}

#[test]
fn a_topic_that_is_made_anew_and_shorter_under_a_running_process_ends_it() {
    let world = World::new("positions-recreated-running", 1);
    produce(&world, &orders(0..10));
    let tidegate = world.run_orders(&[]);
    await_orders(&world, 10);
    kafka().delete_topic(&world.name).unwrap();
    kafka().create_topic(&world.name, 1, &[]).unwrap();
    produce(&world, &orders(0..3));
    let exit = tidegate.wait();
    assert_eq!(exit.code, Some(65), "{}", exit.log);
    assert_eq!(world.count_orders(), 10);
    assert_eq!(world.checkpoint(0), 10);
}

/// Read from its beginning, however the first positions were found: what came to it before the
/// group heard of it is not older than `start`.
fn add_partition(name: &str, sets: &[&str]) {
    let world = World::new(name, 1);
    produce(&world, &orders(0..5));
    let refresh = "sources.shop.properties.topic.metadata.refresh.interval.ms=1000";
    let sets = [&["sources.shop.start=latest", refresh], sets].concat();
    let mut tidegate = world.run_orders(&sets);
    tidegate.await_partitions(1);
    produce(&world, &orders(5..10));
    await_orders(&world, 5);
    kafka().add_partitions(&world.name, 2).unwrap();
    let later = |n| Message { partition: 1, ..order(n) };
    produce(&world, &(10..20).map(later).collect::<Vec<_>>());
    tidegate.await_partitions(2);
    produce(&world, &(20..30).map(later).collect::<Vec<_>>());
    await_orders(&world, 25);
    assert_eq!(world.offsets(0), (5..10).collect::<Vec<_>>());
    assert_eq!(world.offsets(1), (0..20).collect::<Vec<_>>());
    tidegate.assert_conservation();
    tidegate.stop();
}

#[test]
fn a_partition_that_is_added_while_it_runs_is_read_from_its_beginning_in_exactly_once() {
    add_partition("positions-added-exactly-once", &[]);
}

#[test]
fn a_partition_that_is_added_while_it_runs_is_read_from_its_beginning_in_at_least_once() {
    let at_least_once = "routes[0].to[0].delivery=at-least-once";
    add_partition("positions-added-at-least-once", &[at_least_once]);
}
