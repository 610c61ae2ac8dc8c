//! The bound that Kafka sets: all records through librdkafka, a thread a partition, undecoded, by its
//! cheapest call.
#![allow(unsafe_code)]

use std::{
    ffi::CString,
    ptr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use loadgen::PartitionEntry;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList, bindings as c,
    consumer::{BaseConsumer, Consumer},
};

use crate::{Bench, TOPIC, common::Result};

const TURN_MS: i32 = 5;
const MESSAGES: usize = 256;
const LIMIT: Duration = Duration::from_secs(120);

/// One round.
pub(crate) struct Consumed {
    /// From the making of the client to the last record.
    pub(crate) rows_per_s: f64,
    /// Of the client and of the broker.
    pub(crate) cpu_s_per_million: f64,
}

pub(crate) fn measure(bench: &Bench) -> Result<Consumed> {
    let cpu_seconds = || stack::own_cpu_seconds() + bench.servers.kafka.cpu_seconds();
    let cpu_before = cpu_seconds();
    let started = Instant::now();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bench.servers.kafka.bootstrap_servers())
        .set("group.id", "drain-raw")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut list = TopicPartitionList::new();
    let mut queues = Vec::new();
    for entry in &bench.ledger.partitions {
        queues.push((Queue::split(&consumer, entry.partition)?, entry));
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
    drop(queues);
    let millions = bench.ledger.produced as f64 / 1e6;
    Ok(Consumed {
        rows_per_s: millions * 1e6 / last.duration_since(started).as_secs_f64(),
        cpu_s_per_million: (cpu_seconds() - cpu_before) / millions,
    })
}

/// Reads the partition to the ledger's end; gives the time of the last record.
fn read(queue: &Queue, entry: &PartitionEntry, stop: &AtomicBool) -> Result<Instant, String> {
    let mut next_offset = entry.first_offset;
    let mut messages = [ptr::null_mut(); MESSAGES];
    while next_offset < entry.next_offset {
        if stop.load(Relaxed) {
            return Err(format!("partition {} stopped at {next_offset}", entry.partition));
        }
        // SAFETY: the queue is valid, and there is room for so many messages.
        let count = unsafe {
            c::rd_kafka_consume_batch_queue(queue.0, TURN_MS, messages.as_mut_ptr(), MESSAGES)
        };
        for message in messages.iter().take(count.max(0) as usize) {
            // SAFETY: the call has just given it; it is destroyed after its last use.
            let (error, offset) = unsafe { ((**message).err, (**message).offset) };
            // SAFETY: see above.
            unsafe { c::rd_kafka_message_destroy(*message) };
            if error != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(format!("partition {}: {error:?}", entry.partition));
            }
            next_offset = offset + 1;
        }
    }
    Ok(Instant::now())
}

/// The queue of a partition; it must go before the consumer does.
struct Queue(*mut c::rd_kafka_queue_t);

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Sync for Queue {}

impl Queue {
    fn split(consumer: &BaseConsumer, partition: i32) -> Result<Self> {
        let topic = CString::new(TOPIC)?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client is valid; the queue is a reference of ours, or null.
        let queue = unsafe { c::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
        if queue.is_null() {
            return Err("a partition queue cannot be split off".into());
        }
        // SAFETY: the queue is valid; without a destination its messages stay in it.
        unsafe { c::rd_kafka_queue_forward(queue, ptr::null_mut()) };
        Ok(Self(queue))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: it is a reference of ours, given back once.
        unsafe { c::rd_kafka_queue_destroy(self.0) }
    }
}
