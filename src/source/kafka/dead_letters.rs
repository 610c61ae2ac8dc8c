//! A topic that takes the dead letters of a target, in the cluster of its route's source.
//!
//! What is sent is acknowledged by all replicas before the sink's transaction moves the checkpoint
//! on. The two systems have no common commit: if the process dies between the two, the letter is
//! sent again.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, ProducerContext, ThreadedProducer},
};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time::{Instant, timeout_at},
};

use crate::{
    batch::{DeadLetter, Place},
    config::KafkaSource as Config,
    lane::Lane,
    metrics,
    record::Headers as _,
    sink::Flushed,
};

/// How long the client may try to deliver a letter: less than a transaction's patience, so that what
/// has not arrived is not on its way any more when it is sent again.
const DELIVERY_MAX_MS: u32 = 10_000;
/// A topic that is not there is reported after this time. librdkafka waits for 30 s by default, as a
/// new topic needs a while to be known to all brokers.
const UNKNOWN_MAX_MS: u32 = 5_000;
/// The client's own copies of letters that are on their way.
const QUEUE_KIB: usize = 16 << 10;
const QUEUE_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

type Producer = ThreadedProducer<Client>;

/// A topic for dead letters.
pub struct DeadLetterTopic {
    name: String,
    config: ClientConfig,
    /// `None` after an error: a producer that saw one is not used again, as what is left in it (a
    /// gap in the sequence, a topic that was there) is unknown.
    producer: Mutex<Option<Arc<Producer>>>,
}

/// Why letters are not in the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Away {
    /// A bounded label.
    pub(crate) class: &'static str,
    /// For a person.
    pub(crate) message: String,
}

impl DeadLetterTopic {
    /// The topic `name` of the cluster that `source` reads.
    ///
    /// # Errors
    /// When the client refuses its settings.
    pub(super) fn new(name: &str, source: &Config) -> Result<Self, KafkaError> {
        let mut config = super::client::base_config(source);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", DELIVERY_MAX_MS.to_string())
            .set("topic.metadata.propagation.max.ms", UNKNOWN_MAX_MS.to_string())
            .set("queue.buffering.max.kbytes", QUEUE_KIB.to_string())
            // The topic's own limit is what counts.
            .set("message.max.bytes", "1000000000")
            // It warns of each property that is a consumer's, before the binding sets its own level.
            .set("log_level", "3")
            .set_log_level(RDKafkaLogLevel::Error);
        let topic = Self { name: name.to_owned(), config, producer: Mutex::default() };
        topic.producer()?;
        Ok(topic)
    }

    /// Sends the letters of the batches that have not been sent, and waits until all replicas have
    /// them, at most until the deadline. Their [`Place`] tells what became of each, also on an error.
    ///
    /// # Errors
    /// When the topic is away or refuses: to be tried again.
    pub(crate) async fn send(
        &self,
        batches: &mut [&mut Flushed],
        deadline: Instant,
    ) -> Result<(), Away> {
        if batches.iter().all(|flushed| unsent(flushed).next().is_none()) {
            return Ok(());
        }
        let failed = |error: &KafkaError| Away {
            class: "kafka",
            message: format!("dead-letter topic {}: {}", self.name, explain(error)),
        };
        let producer = self.producer().map_err(|error| failed(&error))?;
        let sent = timeout_at(deadline, self.deliver(&producer, batches)).await;
        let result = match sent {
            Ok(result) => result.map_err(|error| failed(&error)),
            Err(_) => Err(Away {
                class: "timeout",
                message: format!("dead-letter topic {}: no acknowledgement in time", self.name),
            }),
        };
        if result.is_err() {
            self.discard(&producer);
        }
        result
    }

    async fn deliver(
        &self,
        producer: &Producer,
        batches: &mut [&mut Flushed],
    ) -> Result<(), KafkaError> {
        let (reports, mut reported) = mpsc::unbounded_channel();
        let mut flight = Flight::default();
        for batch in 0..batches.len() {
            let letters: Vec<usize> = unsent(batches[batch]).map(|(letter, _)| letter).collect();
            for letter in letters {
                let ticket = Ticket { batch, letter, reports: reports.clone() };
                self.enqueue(producer, batches, ticket, &mut flight, &mut reported).await?;
            }
        }
        flight.land(batches, &mut reported).await?;
        // One by one, as the batch of messages that a letter was in may be what was too large, and a
        // broker that refuses a message refuses its neighbours (InvalidDifferentRecord).
        for (batch, letter) in std::mem::take(&mut flight.refused) {
            let ticket = Ticket { batch, letter, reports: reports.clone() };
            self.enqueue(producer, batches, ticket, &mut flight, &mut reported).await?;
            flight.land(batches, &mut reported).await?;
            // Told at once: a time-out on the way must not have them all tried again.
            self.leave_to_the_table(batches, std::mem::take(&mut flight.refused));
        }
        Ok(())
    }

    fn leave_to_the_table(&self, batches: &mut [&mut Flushed], refused: Vec<(usize, usize)>) {
        for (batch, letter) in refused {
            let flushed = &mut batches[batch];
            let letter = &mut flushed.batch.dead_letters[letter];
            letter.place = Place::RefusedByTopic;
            tracing::warn!(
                topic = &*flushed.lane.key.topic,
                partition = flushed.lane.key.partition,
                offset = letter.offset,
                "dead-letter topic {} does not take a record like this (too large, or not what its \
                 settings want); it goes to tidegate.dead_letters",
                self.name
            );
        }
    }

    /// Hands one letter to the client; while its queue is full, waits for those before it.
    async fn enqueue(
        &self,
        producer: &Producer,
        batches: &mut [&mut Flushed],
        ticket: Ticket,
        flight: &mut Flight,
        reported: &mut UnboundedReceiver<Report>,
    ) -> Result<(), KafkaError> {
        let (batch, letter) = (ticket.batch, ticket.letter);
        let mut ticket = Box::new(ticket);
        loop {
            let flushed = &batches[batch];
            let dead = &flushed.batch.dead_letters[letter];
            let headers = headers(&flushed.lane, dead);
            let mut record =
                BaseRecord::<[u8], [u8], _>::with_opaque_to(&self.name, ticket).headers(headers);
            record.key = dead.key.as_deref();
            record.payload = dead.value.as_deref();
            match producer.send(record) {
                Ok(()) => {
                    flight.count += 1;
                    return Ok(());
                }
                Err((error, record)) => match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::QueueFull) if flight.count > 0 => {
                        ticket = record.delivery_opaque;
                        flight.land_one(batches, reported).await;
                    }
                    // Filled by other writers' letters, as long as this one would fit.
                    Some(RDKafkaErrorCode::QueueFull) if dead.held_bytes() < QUEUE_KIB << 9 => {
                        ticket = record.delivery_opaque;
                        tokio::time::sleep(QUEUE_PAUSE).await;
                    }
                    // Larger than the whole queue.
                    Some(RDKafkaErrorCode::QueueFull | RDKafkaErrorCode::MessageSizeTooLarge) => {
                        flight.refused.push((batch, letter));
                        return Ok(());
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    fn producer(&self) -> Result<Arc<Producer>, KafkaError> {
        let mut slot = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = &*slot {
            return Ok(Arc::clone(producer));
        }
        let client = Client { topic: self.name.clone() };
        let producer = Arc::new(self.config.create_with_context(client)?);
        *slot = Some(Arc::clone(&producer));
        Ok(producer)
    }

    fn discard(&self, failed: &Arc<Producer>) {
        let mut slot = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        // Another writer may have made a new one already.
        slot.take_if(|producer| Arc::ptr_eq(producer, failed));
    }
}

/// The letters that are nowhere but in the batch, with their places in it.
fn unsent(flushed: &Flushed) -> impl Iterator<Item = (usize, &DeadLetter)> {
    let letters = flushed.batch.dead_letters.iter().enumerate();
    letters.filter(|(_, letter)| letter.place == Place::Memory)
}

/// Letters that are on their way, and what has become of others.
#[derive(Default)]
struct Flight {
    count: usize,
    failure: Option<KafkaError>,
    /// Those that the topic does not take for what they are.
    refused: Vec<(usize, usize)>,
}

impl Flight {
    /// Waits until nothing is on its way: also after a failure, as what has arrived must be known.
    async fn land(
        &mut self,
        batches: &mut [&mut Flushed],
        reported: &mut UnboundedReceiver<Report>,
    ) -> Result<(), KafkaError> {
        while self.count > 0 {
            self.land_one(batches, reported).await;
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    async fn land_one(
        &mut self,
        batches: &mut [&mut Flushed],
        reported: &mut UnboundedReceiver<Report>,
    ) {
        // The caller holds a sender, so the channel does not end.
        let Some(Report { batch, letter, failure }) = reported.recv().await else { return };
        self.count -= 1;
        match failure {
            None => batches[batch].batch.dead_letters[letter].place = Place::Topic,
            Some(error) if is_of_the_record(&error) => self.refused.push((batch, letter)),
            Some(error) => self.failure = Some(error),
        }
    }
}

/// Whether the broker refuses this record and would take another.
fn is_of_the_record(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{InvalidDifferentRecord, InvalidRecord, MessageSizeTooLarge};
    let code = error.rdkafka_error_code();
    matches!(code, Some(MessageSizeTooLarge | InvalidRecord | InvalidDifferentRecord))
}

fn explain(error: &KafkaError) -> String {
    use RDKafkaErrorCode::{
        MessageTimedOut, TopicAuthorizationFailed, UnknownTopic, UnknownTopicOrPartition,
    };
    match error.rdkafka_error_code() {
        Some(UnknownTopic | UnknownTopicOrPartition) => {
            "it is not there (any more): create it".to_owned()
        }
        Some(TopicAuthorizationFailed) => "this user may not write to it".to_owned(),
        Some(MessageTimedOut) => {
            let seconds = DELIVERY_MAX_MS / 1000;
            format!("no broker took a letter within {seconds} s")
        }
        Some(code) => code.to_string(),
        None => error.to_string(),
    }
}

/// The record's own headers, and behind them what is known of its rejection.
fn headers(lane: &Lane, letter: &DeadLetter) -> OwnedHeaders {
    let mut headers = Some(OwnedHeaders::new_with_capacity(16));
    let mut add = |key: &str, value: Option<&[u8]>| {
        headers = headers.take().map(|list| list.insert(Header { key, value }));
    };
    letter.original().headers.for_each(&mut add);
    let mut add_text = |key: &str, text: &str| add(key, Some(text.as_bytes()));
    add_text("tidegate.topic", &lane.key.topic);
    add_text("tidegate.partition", &lane.key.partition.to_string());
    add_text("tidegate.offset", &letter.offset.to_string());
    if let Some(timestamp_ms) = letter.timestamp_ms {
        add_text("tidegate.timestamp", &timestamp_ms.to_string());
    }
    add_text("tidegate.target", &lane.key.target);
    add_text("tidegate.group", &lane.group.name);
    add_text("tidegate.reason", letter.rejection.reason.as_str());
    if let Some(column) = &letter.rejection.column {
        add_text("tidegate.column", column);
    }
    add_text("tidegate.message", &letter.rejection.message);
    if let Some(sqlstate) = &letter.sqlstate {
        add_text("tidegate.sqlstate", sqlstate);
    }
    headers.unwrap_or_default()
}

/// Rides with a letter through the client.
pub(super) struct Ticket {
    batch: usize,
    letter: usize,
    reports: UnboundedSender<Report>,
}

struct Report {
    batch: usize,
    letter: usize,
    failure: Option<KafkaError>,
}

struct Client {
    topic: String,
}

impl ClientContext for Client {
    fn error(&self, error: KafkaError, reason: &str) {
        let code =
            error.rdkafka_error_code().map_or_else(|| "other".to_owned(), |c| format!("{c:?}"));
        metrics::kafka_error(&code);
        tracing::warn!(topic = self.topic, code, "kafka, dead letters: {reason}");
    }
}

impl ProducerContext for Client {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let Ticket { batch, letter, reports } = *ticket;
        let failure = result.as_ref().err().map(|(error, _)| error.clone());
        // Nobody waits any more if the deadline is over.
        let _ = reports.send(Report { batch, letter, failure });
    }
}
