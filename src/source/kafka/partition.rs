//! One partition thread: polls the partition's own queue.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use rdkafka::error::RDKafkaErrorCode;

use super::records::Records;
use crate::{
    error::{Error, ErrorKind},
    lane::LaneKey,
    metrics,
    partition::Partition,
    route::Context,
    stage::Stage,
    watchdog::Heart,
};

/// Records between two looks at the clock while there is no pause.
const TICK_RECORDS: u32 = 256;

/// The longest wait of a thread that has nothing in hand: some hundred of them should cost nothing.
const IDLE_MAX: Duration = Duration::from_secs(1);

pub(super) struct PartitionReader {
    pub(super) records: Records,
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
    pub(super) context: Context,
}

impl PartitionReader {
    pub(super) fn spawn(self, partition: Partition) -> Result<JoinHandle<()>, Error> {
        let name = format!("part-{}-{}", self.topic, self.number);
        let watchdog = self.context.watchdog.clone();
        watchdog.spawn(&name, move |heart| self.run(partition, heart))
    }

    fn run(mut self, mut partition: Partition, heart: &Heart) {
        let mut since_tick = 0;
        while !partition.must_stop() {
            let read = self.read(&mut partition, Duration::ZERO, heart);
            since_tick += read;
            if read > 0 && since_tick < TICK_RECORDS {
                continue;
            }
            if read == 0 {
                partition.tick(heart);
                // All that was read has been pushed: what the client is past besides was no record.
                if partition.may_be_at_end()
                    && let Some(position) = self.records.position()
                {
                    partition.reach_end(position);
                }
                let wait = match self.records {
                    // An order to stop wakes it.
                    Records::Fetched(..) if partition.is_idle() => IDLE_MAX,
                    _ => partition.wait(),
                };
                partition.enter(Stage::Poll);
                // The wait ends with the first record, which has been pushed by then; its own time is
                // the encoding of one record.
                self.read(&mut partition, wait, heart);
                partition.enter(Stage::Encode);
            }
            since_tick = 0;
            partition.tick(heart);
        }
        let drained = partition.drain(heart);
        let position = partition.position();
        tracing::debug!(
            topic = &*self.topic,
            partition = self.number,
            drained,
            position,
            "partition thread ends"
        );
        // The queue goes before the thread ends: the poller waits for that, and librdkafka must not
        // be closed while somebody holds one of its queues.
    }

    /// Takes in what is there, or else waits for the next record; says how many came.
    fn read(&mut self, partition: &mut Partition, wait: Duration, heart: &Heart) -> u32 {
        let Self { records, topic, number, context } = self;
        // After a fault, what comes behind it is not to be taken.
        if partition.must_stop() {
            return 0;
        }
        records.read(topic, wait, |record| {
            match record {
                Ok(record) => partition.push(record, heart),
                Err((code, _)) => {
                    let name = format!("{topic}[{number}]");
                    metrics::kafka_error(&format!("{code:?}"));
                    match failure(&name, partition.position(), code) {
                        Some(failure) => context.shutdown.fail(failure),
                        None => tracing::warn!("{name}: {code}"),
                    }
                }
            }
            // A thread that must stop may not have taken the last record, so it takes none after it.
            !partition.must_stop()
        })
    }
}

/// Why the partition called `name` cannot be read on from `position`, if that is what the error says.
pub(super) fn failure(name: &str, position: i64, code: RDKafkaErrorCode) -> Option<Error> {
    match code {
        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => Some(Error::new(
            ErrorKind::Data,
            format!(
                "{name}: offset {position} is not there any more: retention removed it, or the topic \
                 was recreated. Nothing is skipped silently; see \"Positions\" in docs/delivery.md \
                 for the way on"
            ),
        )),
        RDKafkaErrorCode::LogTruncation => Some(Error::new(
            ErrorKind::Data,
            format!(
                "{name}: the log has another history before offset {position} than what was read: an \
                 election without a replica in sync (unclean.leader.election.enable) has lost records; \
                 see \"Positions\" in docs/delivery.md for the way on"
            ),
        )),
        RDKafkaErrorCode::Fail => Some(Error::software(format!(
            "{name}: what was fetched does not continue at {position}"
        ))),
        RDKafkaErrorCode::NotImplemented => Some(Error::new(
            ErrorKind::Data,
            format!(
                "{name}: what the broker has at {position} is in a format of before Kafka 0.11, or the \
                 broker is older than 2.3: let the client library read it, by its property \
                 \"check.crcs\" = true"
            ),
        )),
        RDKafkaErrorCode::BadMessage => Some(Error::new(
            ErrorKind::Data,
            format!("{name}: the broker delivers a corrupt batch at {position}"),
        )),
        RDKafkaErrorCode::TopicAuthorizationFailed => {
            Some(Error::new(ErrorKind::Permission, format!("{name}: this user may not read it")))
        }
        _ => None,
    }
}

/// The name of a lane's partition in messages.
pub(super) fn shown(key: &LaneKey) -> String {
    format!("{}[{}] to {}", key.topic, key.partition, key.target)
}
