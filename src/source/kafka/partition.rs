//! One partition thread: polls the partition's own queue.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _,
    consumer::base_consumer::PartitionQueue,
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};

use super::{client::Client, headers};
use crate::{
    error::{Error, ErrorKind},
    lane::LaneKey,
    metrics,
    partition::Partition,
    record::{Headers, Record},
    route::Context,
    watchdog::Heart,
};

/// Records between two looks at the clock while there is no pause.
const TICK_RECORDS: u32 = 256;

pub(super) struct PartitionReader {
    pub(super) queue: PartitionQueue<Client>,
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

    fn run(self, mut partition: Partition, heart: &Heart) {
        let mut since_tick = 0;
        while !partition.must_stop() {
            if self.poll(&mut partition, Duration::ZERO, heart) {
                since_tick += 1;
                if since_tick < TICK_RECORDS {
                    continue;
                }
            } else {
                partition.tick(heart);
                let wait = partition.wait();
                let waiting_since = Instant::now();
                // The wait ends with the first record, which the poll has pushed by then; its own
                // time is the encoding of one record.
                self.poll(&mut partition, wait, heart);
                partition.waited(waiting_since.elapsed());
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

    /// Takes at most one record; says whether there was one.
    fn poll(&self, partition: &mut Partition, timeout: Duration, heart: &Heart) -> bool {
        match self.queue.poll(timeout) {
            Some(Ok(message)) => {
                let headers = KafkaHeaders(&message);
                let record = record_of(&message, &self.topic, &headers);
                partition.push(&record, heart);
                true
            }
            // Asked for by a user's property, and of no use here.
            Some(Err(KafkaError::PartitionEOF(_))) => false,
            Some(Err(error)) => {
                self.answer(partition.position(), &error);
                false
            }
            None => false,
        }
    }

    fn answer(&self, position: i64, error: &KafkaError) {
        let name = format!("{}[{}]", self.topic, self.number);
        let code = error.rdkafka_error_code();
        metrics::kafka_error(&code.map_or_else(|| "other".to_owned(), |code| format!("{code:?}")));
        let failure = match code {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Some(Error::new(
                    ErrorKind::Data,
                    format!(
                        "{name}: offset {position} is not there any more: retention removed it, or \
                         the topic was recreated. Nothing is skipped silently; see \"positions\" in \
                         the README for the way on"
                    ),
                ))
            }
            Some(RDKafkaErrorCode::BadMessage) => Some(Error::new(
                ErrorKind::Data,
                format!("{name}: the broker delivers a corrupt batch at {position}"),
            )),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Some(Error::new(
                ErrorKind::Permission,
                format!("{name}: this user may not read it"),
            )),
            _ => None,
        };
        match failure {
            Some(failure) => self.context.shutdown.fail(failure),
            None => tracing::warn!("{name}: {error}"),
        }
    }
}

pub(super) fn record_of<'a>(
    message: &'a BorrowedMessage<'_>,
    topic: &'a str,
    headers: &'a KafkaHeaders<'a>,
) -> Record<'a> {
    Record {
        topic,
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key(),
        value: message.payload(),
        headers: Some(headers),
    }
}

/// Parsed by librdkafka when they are first asked for (rd_kafka_message_headers): a record whose
/// headers nobody wants costs nothing.
pub(super) struct KafkaHeaders<'a>(pub(super) &'a BorrowedMessage<'a>);

impl Headers for KafkaHeaders<'_> {
    fn for_each(&self, visit: &mut dyn FnMut(&str, Option<&[u8]>)) {
        headers::for_each(self.0, visit);
    }
}

/// The name of a lane's partition in messages.
pub(super) fn shown(key: &LaneKey) -> String {
    format!("{}[{}] to {}", key.topic, key.partition, key.target)
}
