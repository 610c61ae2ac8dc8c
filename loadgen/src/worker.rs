//! One thread's loop: plan every event, render and send those of its own partitions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

use crate::counts::Counts;
use crate::delivery::{Deliveries, Reports};
use crate::error::LoadError;
use crate::finish_line::FinishLine;
use crate::orders::Orders;
use crate::profile::Profile;
use crate::record::{Record, Renderer};

/// Events between two looks at the clock, the finish line and the delivery reports.
const BLOCK_EVENTS: u64 = 1024;
/// How long a full queue or the last records are waited for before the flags are looked at again.
const WAIT: Duration = Duration::from_millis(20);

/// What the threads of a run share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) topic: String,
    pub(crate) profile: Profile,
    pub(crate) rate: Option<f64>,
    pub(crate) threads: u32,
    pub(crate) started: Instant,
    pub(crate) finish_line: FinishLine,
    /// Set by the first thread that fails; the others then give up.
    pub(crate) failed: AtomicBool,
}

/// What one thread produced.
#[derive(Debug)]
pub(crate) struct Output {
    /// One entry a partition; those of other threads stay empty.
    pub(crate) counts: Vec<Counts>,
    pub(crate) bytes: u64,
    pub(crate) error: Option<LoadError>,
}

/// A producer and the partitions that it feeds.
pub(crate) struct Worker {
    run: Arc<Run>,
    thread: u32,
    producer: BaseProducer<Reports>,
    deliveries: Arc<Deliveries>,
    counts: Vec<Counts>,
    bytes: u64,
}

impl Worker {
    pub(crate) fn new(
        run: Arc<Run>,
        thread: u32,
        producer: BaseProducer<Reports>,
        deliveries: Arc<Deliveries>,
    ) -> Self {
        let counts = vec![Counts::default(); run.profile.partitions as usize];
        Worker { run, thread, producer, deliveries, counts, bytes: 0 }
    }

    /// Produces until the finish line; returns when the broker has acknowledged everything.
    pub(crate) fn run(mut self) -> Output {
        let result = self.produce().and_then(|()| self.settle());
        if result.is_err() {
            self.run.failed.store(true, Ordering::Relaxed);
            self.run.finish_line.stop();
        }
        Output { counts: self.counts, bytes: self.bytes, error: result.err() }
    }

    fn produce(&mut self) -> Result<(), LoadError> {
        let run = Arc::clone(&self.run);
        let mut orders = Orders::new(&run.profile);
        let mut renderer = Renderer::new(&run.profile);
        let mut record = Record::default();
        let block = block_events(run.rate);
        loop {
            self.await_turn(orders.position());
            let Some(end) = run.finish_line.claim(orders.position(), block) else { return Ok(()) };
            while orders.position() < end {
                let event = orders.plan();
                if event.partition % run.threads != self.thread {
                    continue;
                }
                renderer.render(&event, &mut record);
                self.send(&record, event.partition)?;
                self.counts[event.partition as usize].add(&event, run.profile.seed);
            }
            self.producer.poll(Duration::ZERO);
            self.check()?;
        }
    }

    /// Waits until the event at `position` is due.
    fn await_turn(&self, position: u64) {
        let Some(rate) = self.run.rate else { return };
        let due = Duration::from_secs_f64(position as f64 / rate);
        while !self.run.finish_line.is_stopping() {
            let left = due.saturating_sub(self.run.started.elapsed());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(WAIT));
            self.producer.poll(Duration::ZERO);
        }
    }

    fn send(&mut self, record: &Record, partition: u32) -> Result<(), LoadError> {
        let topic = &self.run.topic;
        let mut message: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(topic).partition(partition as i32);
        message.key = record.key();
        message.payload = record.value();
        self.bytes += record.size_bytes() as u64;
        loop {
            match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), unsent)) => {
                    message = unsent;
                    self.producer.poll(WAIT);
                    self.check()?;
                }
                Err((reason, _)) => {
                    return Err(LoadError::Send { topic: topic.clone(), partition, reason });
                }
            }
        }
    }

    /// Waits for the acknowledgement of all that was sent.
    fn settle(&self) -> Result<(), LoadError> {
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(WAIT);
            self.check()?;
        }
        self.check()
    }

    fn check(&self) -> Result<(), LoadError> {
        if let Some(refusal) = self.deliveries.refusal() {
            return Err(LoadError::Delivery {
                topic: self.run.topic.clone(),
                partition: refusal.partition,
                reason: refusal.error,
            });
        }
        if self.run.failed.load(Ordering::Relaxed) {
            return Err(LoadError::GaveUp);
        }
        Ok(())
    }
}

/// At a low rate a block lasts at most about 10 ms, so that records flow and do not come in gusts.
fn block_events(rate: Option<f64>) -> u64 {
    rate.map_or(BLOCK_EVENTS, |rate| ((rate / 100.0) as u64).clamp(1, BLOCK_EVENTS))
}
