//! Delivery reports: which offsets the broker gave to the records, and what it refused.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;

/// The offsets that one partition gave to this run.
#[derive(Debug)]
pub(crate) struct Offsets {
    first: AtomicI64,
    next: AtomicI64,
    acknowledged: AtomicU64,
}

impl Offsets {
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// First and next offset, or `None` if nothing was acknowledged.
    pub(crate) fn range(&self) -> Option<(i64, i64)> {
        (self.acknowledged() > 0)
            .then(|| (self.first.load(Ordering::Relaxed), self.next.load(Ordering::Relaxed)))
    }
}

/// The first record that the broker did not take.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) partition: i32,
    pub(crate) error: KafkaError,
}

/// What one producer's delivery reports said so far.
///
/// Atomics only because the progress line reads them: one thread polls a producer, so nobody
/// competes for them.
#[derive(Debug)]
pub(crate) struct Deliveries {
    acknowledged: AtomicU64,
    partitions: Vec<Offsets>,
    refusal: Mutex<Option<Refusal>>,
}

impl Deliveries {
    pub(crate) fn new(partitions: usize) -> Self {
        let empty = || Offsets {
            first: AtomicI64::new(i64::MAX),
            next: AtomicI64::new(0),
            acknowledged: AtomicU64::new(0),
        };
        Deliveries {
            acknowledged: AtomicU64::new(0),
            partitions: (0..partitions).map(|_| empty()).collect(),
            refusal: Mutex::new(None),
        }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub(crate) fn partition(&self, partition: usize) -> Option<&Offsets> {
        self.partitions.get(partition)
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn accept(&self, partition: i32, offset: i64) {
        let Some(offsets) = self.partitions.get(partition as usize) else { return };
        add(&self.acknowledged);
        add(&offsets.acknowledged);
        if offset < offsets.first.load(Ordering::Relaxed) {
            offsets.first.store(offset, Ordering::Relaxed);
        }
        if offset >= offsets.next.load(Ordering::Relaxed) {
            offsets.next.store(offset + 1, Ordering::Relaxed);
        }
    }

    fn refuse(&self, partition: i32, error: KafkaError) {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.get_or_insert(Refusal { partition, error });
    }
}

/// A plain load and store: there is one writer, and a locked addition a record would show.
fn add(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Hands a producer's delivery reports to its [`Deliveries`].
#[derive(Debug, Clone)]
pub(crate) struct Reports(pub(crate) Arc<Deliveries>);

impl ClientContext for Reports {
    // Lost brokers are retried until the records' own timeout; the user should know meanwhile.
    fn error(&self, error: KafkaError, reason: &str) {
        eprintln!("loadgen: kafka: {error}: {reason}");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => self.0.accept(message.partition(), message.offset()),
            Err((error, message)) => self.0.refuse(message.partition(), error.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::types::RDKafkaErrorCode;

    #[test]
    fn offsets_span_what_was_acknowledged() {
        let deliveries = Deliveries::new(2);
        for offset in [7, 5, 6] {
            deliveries.accept(1, offset);
        }
        let offsets = deliveries.partition(1).unwrap();
        assert_eq!((offsets.range(), offsets.acknowledged()), (Some((5, 8)), 3));
        assert_eq!(deliveries.partition(0).unwrap().range(), None);
        assert_eq!(deliveries.acknowledged(), 3);
    }

    #[test]
    fn the_first_refusal_is_kept() {
        let deliveries = Deliveries::new(2);
        let error = |code| KafkaError::MessageProduction(code);
        deliveries.refuse(1, error(RDKafkaErrorCode::MessageTimedOut));
        deliveries.refuse(0, error(RDKafkaErrorCode::PurgeQueue));
        assert_eq!(deliveries.refusal().unwrap().partition, 1);
    }
}
