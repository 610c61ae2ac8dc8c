//! The bound that Kafka sets: all records through librdkafka, a thread a partition, undecoded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use loadgen::PartitionEntry;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, DefaultConsumerContext, base_consumer::PartitionQueue},
};

use crate::{Bench, Result, TOPIC};

const TURN: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(120);

/// Records a second, from the making of the client to the last record.
pub(crate) fn measure(bench: &Bench) -> Result<f64> {
    let started = Instant::now();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bench.kafka.bootstrap_servers())
        .set("group.id", "drain-raw")
        .set("enable.auto.commit", "false")
        .create()?;
    let consumer = Arc::new(consumer);
    let mut list = TopicPartitionList::new();
    let mut queues = Vec::new();
    for entry in &bench.ledger.partitions {
        let queue = consumer.split_partition_queue(TOPIC, entry.partition);
        queues.push((queue.ok_or("a partition queue cannot be split off")?, entry));
        list.add_partition_offset(TOPIC, entry.partition, Offset::Offset(entry.first_offset))?;
    }
    consumer.assign(&list)?;
    let stop = AtomicBool::new(false);
    let ends = thread::scope(|scope| {
        let stop = &stop;
        let readers: Vec<_> = queues
            .iter()
            .map(|(queue, entry)| scope.spawn(move || read(queue, entry, stop)))
            .collect();
        while !readers.iter().all(|reader| reader.is_finished()) {
            // What goes wrong comes through the consumer itself; it has to be polled in any case.
            if consumer.poll(Duration::from_millis(5)).is_some() || started.elapsed() > LIMIT {
                stop.store(true, Relaxed);
            }
        }
        readers.into_iter().map(|reader| reader.join()).collect::<Vec<_>>()
    });
    let mut last = started;
    for end in ends {
        last = last.max(end.map_err(|_| "a reading thread panicked")??);
    }
    Ok(bench.ledger.produced as f64 / last.duration_since(started).as_secs_f64())
}

/// Reads the partition to the ledger's end; gives the time of the last record.
fn read(
    queue: &PartitionQueue<DefaultConsumerContext>,
    entry: &PartitionEntry,
    stop: &AtomicBool,
) -> Result<Instant, String> {
    let mut next_offset = entry.first_offset;
    while next_offset < entry.next_offset {
        if stop.load(Relaxed) {
            return Err(format!("partition {} stopped at {next_offset}", entry.partition));
        }
        if let Some(message) = queue.poll(TURN) {
            let message = message.map_err(|error| error.to_string())?;
            next_offset = message.offset() + 1;
        }
    }
    Ok(Instant::now())
}
