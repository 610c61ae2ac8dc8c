//! One partition thread: polls the partition's own queue.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use rdkafka::error::RDKafkaErrorCode;

use super::queue::PartitionQueue;
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

pub(super) struct PartitionReader {
    pub(super) queue: PartitionQueue,
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
                    && let Some(position) = self.queue.position()
                {
                    partition.reach_end(position);
                }
                let wait = partition.wait();
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
        let mut messages = self.queue.read(wait);
        let mut count = 0;
        // A thread that must stop may not have taken the last record, so it takes none after it.
        while !partition.must_stop()
            && let Some(message) = messages.next()
        {
            match message {
                Ok(message) => {
                    partition.push(&message.record(&self.topic), heart);
                    count += 1;
                }
                Err((code, _)) => {
                    let name = format!("{}[{}]", self.topic, self.number);
                    metrics::kafka_error(&format!("{code:?}"));
                    match failure(&name, partition.position(), code) {
                        Some(failure) => self.context.shutdown.fail(failure),
                        None => tracing::warn!("{name}: {code}"),
                    }
                }
            }
        }
        count
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
