//! Topics whose offsets have holes: transactions leave control records and aborted ones, compaction
//! leaves what was last.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
    message::Message as _,
};

use crate::support::{Message, Transactions, World, eventually, kafka, produce, watermarks};

fn order(n: i64) -> Message {
    Message {
        key: Some(format!("{}", n % 5).into_bytes()),
        ..Message::json(&format!(r#"{{"order_id":{n},"amount":1}}"#))
    }
}

fn await_orders(world: &World, count: i64) {
    eventually("the orders", || match world.count_orders() {
        found if found == count => Ok(()),
        found => Err(format!("{found} of {count}")),
    });
}

#[test]
fn records_of_aborted_transactions_do_not_become_rows_and_hold_nothing_up() {
    let world = World::new("gaps-transactions", 1);
    let mut tidegate = world.run_orders(&[]);
    let transactions = Transactions::new(&world);
    // Each transaction ends with a control record, which takes an offset.
    transactions.commit((0..5).map(order));
    transactions.abort((5..10).map(order));
    transactions.commit((10..15).map(order));
    await_orders(&world, 10);
    assert_eq!(world.offsets(0), [0, 1, 2, 3, 4, 12, 13, 14, 15, 16]);
    assert_eq!(tidegate.assert_conservation().consumed, 10);
    tidegate.stop();

    // The position lies before the last control record: it is no record that was lost.
    transactions.abort((15..20).map(order));
    let mut tidegate = world.run_orders(&[]);
    tidegate.await_partitions(1);
    transactions.begin((20..25).map(order));
    assert_eq!(world.count_orders(), 10);
    transactions.commit_begun();
    await_orders(&world, 15);
    assert_eq!(tidegate.assert_conservation().consumed, 5);
    tidegate.stop();
    let committed = "SELECT count(DISTINCT order_id) FROM orders WHERE order_id < 5 \
                     OR order_id BETWEEN 10 AND 14 OR order_id BETWEEN 20 AND 24";
    assert_eq!(world.number(committed), 15);
}

/// The offsets that a plain consumer is given.
fn offsets_in_topic(world: &World) -> Vec<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &world.brokers)
        .set("group.id", "plain")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset(&world.name, 0, rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let (_, high) = watermarks(world, 0);
    let mut offsets = Vec::new();
    while offsets.last() != Some(&(high - 1)) {
        if let Some(message) = consumer.poll(Duration::from_secs(1)) {
            offsets.push(message.unwrap().offset());
        }
    }
    offsets
}

#[test]
fn what_compaction_has_left_becomes_rows_and_the_holes_hold_nothing_up() {
    let world = World::new("gaps-compacted", 1);
    kafka().delete_topic(&world.name).unwrap();
    let settings = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("segment.ms", "200"),
    ];
    kafka().create_topic(&world.name, 1, &settings).unwrap();
    produce(&world, &(0..1_000).map(order).collect::<Vec<_>>());
    // A segment is compacted when the next one has begun, which is by a record.
    let mut next = 1_000;
    eventually("compaction", || {
        produce(&world, &[order(next)]);
        next += 1;
        match offsets_in_topic(&world).len() {
            count if count < 500 => Ok(()),
            count => Err(format!("{count} of {next}")),
        }
    });
    let mut tidegate = world.run_orders(&[]);
    tidegate.await_partitions(1);
    eventually("the end", || match world.checkpoint(0) {
        found if found == next => Ok(()),
        found => Err(format!("{found} of {next}")),
    });
    let offsets = world.offsets(0);
    assert!(offsets.len() < 500 && offsets.last() == Some(&(next - 1)), "{offsets:?}");
    // What is left now was there when it was read; each row is one of the records.
    let left = offsets_in_topic(&world);
    assert!(left.iter().all(|offset| offsets.contains(offset)), "{left:?} in {offsets:?}");
    let mismatched = "SELECT count(*) FROM orders WHERE order_id <> kafka_offset";
    assert_eq!(world.number(mismatched), 0);
    assert_eq!(tidegate.assert_conservation().written, offsets.len() as u64);
    tidegate.stop();
}
