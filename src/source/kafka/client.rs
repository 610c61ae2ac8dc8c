//! The Kafka client: its settings, and what it calls back.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use rdkafka::{
    ClientConfig, ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol},
    error::KafkaError,
    types::RDKafkaRespErr,
};

use super::{figures::ClientFigures, member};
use crate::{config::KafkaSource as Config, metrics};

/// How often the client tells its own figures.
const STATISTICS_MS: u32 = 5000;
/// The size of message below which the number of queued messages is the bound, and not their bytes:
/// librdkafka's own structures cost more than a smaller message.
const SMALL_MESSAGE_BYTES: usize = 100;

/// What any client of this source needs.
pub(super) fn base_config(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("client.id", "tidegate");
    client.set("allow.auto.create.topics", "false");
    client.set("socket.keepalive.enable", "true");
    for (name, value) in &config.properties {
        client.set(name, value.expose());
    }
    client.set("bootstrap.servers", &config.brokers);
    client
}

fn broker_assigns(config: &Config) -> bool {
    config.properties.get("group.protocol").is_some_and(|protocol| protocol.expose() == "consumer")
}

/// What a fetch asks of a partition at least. A broker sends a record batch that is larger than that for
/// one partition of a request alone; of all others it sends the beginning, which is thrown away. Java's
/// producers fill batches of 16 KB unless told otherwise, librdkafka's up to 1 MB.
const PARTITION_BYTES_MIN: usize = 64 << 10;

/// What the consumer of the group needs; `fetch_bytes` for each partition.
pub(super) fn group_config(config: &Config, fetch_bytes: usize) -> ClientConfig {
    let mut client = base_config(config);
    // Defaults that a user's property may overrule.
    let mut default = |name: &str, value: &str| {
        if !config.properties.contains_key(name) {
            client.set(name, value);
        }
    };
    // Where the broker assigns (KIP-848), it also sets the session, and librdkafka refuses a
    // strategy of the client's own.
    if !broker_assigns(config) {
        default("partition.assignment.strategy", "cooperative-sticky");
        // After a crash the group gives the partitions on only when the dead member's session has
        // run out. Heartbeats come from a thread of librdkafka's own, so 10 s (instead of 45) is
        // no risk.
        default("session.timeout.ms", "10000");
    }
    default("fetch.wait.max.ms", "50");
    // A full queue is looked at again so soon; 1 s, the default, would starve the partition thread.
    default("fetch.queue.backoff.ms", "20");
    // Fetching goes on until both bounds are met; small messages cost more than their bytes.
    let messages = (fetch_bytes / SMALL_MESSAGE_BYTES).clamp(100, 20_000);
    default("queued.min.messages", &messages.to_string());
    let partition_bytes = (fetch_bytes / 2).clamp(PARTITION_BYTES_MIN, 1 << 20);
    client
        .set("group.id", &config.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // With it, reading a queue in batches moves the client's position past the record that comes next
        // (rd_kafka_q_serve_rkmessages takes the end's offset for a record's), and a pause for a rebalance skips it.
        .set("enable.partition.eof", "false")
        .set("statistics.interval.ms", STATISTICS_MS.to_string())
        // Positions are always given as numbers; one that is not there is an error, never a reset.
        .set("auto.offset.reset", "error")
        .set("queued.max.messages.kbytes", (fetch_bytes / 1024).max(1).to_string())
        .set("fetch.message.max.bytes", partition_bytes.to_string())
        .set_log_level(RDKafkaLogLevel::Warning);
    // The response as a whole, for all partitions of a broker; never below one message batch.
    client.set("fetch.max.bytes", (8 << 20).to_string());
    client
}

/// A change of the assignment that the group asks for.
#[derive(Debug)]
pub(super) enum Rebalance {
    Assign {
        partitions: TopicPartitionList,
        /// As it is while the group waits for the assign call; a later one comes with a later call.
        generation: i32,
    },
    Revoke(TopicPartitionList),
}

/// Receives the callbacks. They run inside the poller's own poll, and do no more than take notes:
/// librdkafka waits for (incremental_)assign or unassign, which need not be called from within the
/// callback, while it goes on sending heartbeats (rd_kafka_cgrp: wait-assign-call).
#[derive(Debug)]
pub(super) struct Client {
    source: String,
    rebalances: Mutex<VecDeque<Rebalance>>,
    figures: Mutex<Option<ClientFigures>>,
    closing: AtomicBool,
    /// The group is being asked whether it counts this member (see `member.rs`).
    pub(super) asks_group: AtomicBool,
}

impl Client {
    pub(super) fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            rebalances: Mutex::default(),
            figures: Mutex::default(),
            closing: AtomicBool::new(false),
            asks_group: AtomicBool::new(false),
        }
    }

    pub(super) fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// The client's own figures, if there are new ones.
    pub(super) fn next_figures(&self) -> Option<ClientFigures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// From now on every change of the assignment is answered at once with "none".
    pub(super) fn close(&self) {
        self.closing.store(true, Relaxed);
    }
}

impl ClientContext for Client {
    fn stats_raw(&self, statistics: &[u8]) {
        match ClientFigures::read(statistics) {
            Ok(figures) => {
                *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = Some(figures);
            }
            Err(error) => tracing::debug!("the client's statistics: {error}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code =
            error.rdkafka_error_code().map_or_else(|| "other".to_owned(), |c| format!("{c:?}"));
        metrics::kafka_error(&code);
        tracing::warn!(source = self.source, code, "kafka: {reason}");
    }
}

impl ConsumerContext for Client {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if self.closing.load(Relaxed) {
            // The close of the consumer waits for this call.
            let none = TopicPartitionList::new();
            let answered = match (kind, consumer.rebalance_protocol()) {
                (
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS,
                    RebalanceProtocol::Cooperative,
                ) => consumer.incremental_assign(&none),
                (_, RebalanceProtocol::Cooperative) => consumer.incremental_unassign(partitions),
                _ => consumer.unassign(),
            };
            if let Err(error) = answered {
                tracing::debug!("rebalance while closing: {error}");
            }
            return;
        }
        let partitions = partitions.clone();
        let rebalance = match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                Rebalance::Assign { partitions, generation: member::generation(consumer) }
            }
            _ => Rebalance::Revoke(partitions),
        };
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back(rebalance);
    }
}
