//! What became of a write set, as spans for a collector that speaks OTLP (`[tracing]`).
//!
//! A write set is one trace: its batches from their first record on, the wait for a writer, and each step
//! of each try to make them durable, as the writer's clock has noted them. Without `[tracing]` nothing is
//! noted and nothing runs.

mod exporter;
mod otlp;

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Instant,
};

use crossbeam_channel::{Sender, TrySendError, bounded};

use crate::{
    batch::Trigger,
    config::Tracing,
    error::Error,
    lane::{Lane, Outcome},
    metrics,
    sink::Flushed,
    stage::{Stage, Step, ThreadClock},
    watchdog::Watchdog,
};
use exporter::Exporter;

/// Write sets that may wait for the collector. More are dropped, and counted.
const QUEUE_MAX: usize = 1024;
/// Errors that are kept of a write set that is tried again for hours.
const RETRIES_MAX: usize = 100;

/// Takes write sets for the collector; one for all writers.
#[derive(Clone, Debug)]
pub(crate) struct Spans {
    queue: Sender<WriteSet>,
    /// Share of write sets that are told.
    sample: f64,
    random: Random,
    dropped: Arc<AtomicU64>,
}

impl Spans {
    /// Starts the thread that sends; it ends when every clone is gone.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(
        config: &Tracing,
        watchdog: &Watchdog,
    ) -> Result<Option<(Self, JoinHandle<()>)>, Error> {
        let Some(endpoint) = &config.otlp else { return Ok(None) };
        let (queue, waiting) = bounded(QUEUE_MAX);
        let (random, dropped) = (Random::default(), Arc::<AtomicU64>::default());
        let exporter = Exporter::new(endpoint, waiting, random.clone(), Arc::clone(&dropped));
        let thread = watchdog.spawn("spans", move |heart| exporter.run(heart))?;
        Ok(Some((Self { queue, sample: config.sample, random, dropped }, thread)))
    }

    /// A writer takes up a write set.
    pub(crate) fn begin(&self, sink: &str, batches: &[Flushed], clock: &ThreadClock) -> Recording {
        clock.note_steps();
        let gathered_at = Instant::now();
        let batches = batches.iter().map(|flushed| BatchSpan::of(flushed, gathered_at)).collect();
        let set = WriteSet {
            sink: sink.to_owned(),
            gathered_at,
            ended_at: gathered_at,
            batches,
            steps: Vec::new(),
            retries: Vec::new(),
            retry_count: 0,
        };
        Recording { spans: self.clone(), set }
    }
}

/// A write set whose end is not known yet.
#[derive(Debug)]
pub(crate) struct Recording {
    spans: Spans,
    set: WriteSet,
}

impl Recording {
    /// The try failed, and there will be another one.
    pub(crate) fn retry(&mut self, class: &str, message: &str) {
        self.set.retry_count += 1;
        if self.set.retries.len() < RETRIES_MAX {
            let (at, class, message) = (Instant::now(), class.to_owned(), message.to_owned());
            self.set.retries.push(Retry { at, class, message });
        }
    }

    /// A batch has found its fate.
    pub(crate) fn settle(&mut self, flushed: &Flushed, outcome: Outcome) {
        let is_it = |batch: &&mut BatchSpan| {
            Arc::ptr_eq(&batch.lane, &flushed.lane) && batch.begin == flushed.batch.begin
        };
        if let Some(batch) = self.set.batches.iter_mut().find(is_it) {
            batch.settled = Some((Instant::now(), outcome));
        }
    }

    /// Every batch has: tells it, if it is one to be told. What went wrong always is.
    pub(crate) fn finish(mut self, clock: &ThreadClock) {
        self.set.steps = clock.take_steps();
        // It was still in that one when it took the write set up.
        self.set.steps.retain(|step| step.stage != Stage::Gather);
        self.set.ended_at = Instant::now();
        let Spans { queue, sample, random, dropped } = &self.spans;
        if !self.set.is_troubled() && random.fraction() >= *sample {
            return;
        }
        if let Err(TrySendError::Full(_)) = queue.try_send(self.set) {
            dropped.fetch_add(1, Relaxed);
            metrics::traces("dropped", 1);
        }
    }
}

/// What became of one write set.
#[derive(Debug)]
struct WriteSet {
    sink: String,
    /// A writer had its batches together.
    gathered_at: Instant,
    ended_at: Instant,
    batches: Vec<BatchSpan>,
    steps: Vec<Step>,
    retries: Vec<Retry>,
    retry_count: u64,
}

/// One batch of it.
#[derive(Debug)]
struct BatchSpan {
    lane: Arc<Lane>,
    begin: i64,
    end: i64,
    records: u64,
    rows: u64,
    bytes: usize,
    trigger: Trigger,
    /// Its first record came.
    opened_at: Instant,
    /// It was closed, and waits for a writer since.
    sent_at: Instant,
    settled: Option<(Instant, Outcome)>,
}

/// A try that failed.
#[derive(Debug)]
struct Retry {
    at: Instant,
    class: String,
    message: String,
}

impl WriteSet {
    fn is_troubled(&self) -> bool {
        let is_durable = |batch: &BatchSpan| matches!(batch.settled, Some((_, Outcome::Durable)));
        self.retry_count > 0 || !self.batches.iter().all(is_durable)
    }
}

impl BatchSpan {
    fn of(flushed: &Flushed, gathered_at: Instant) -> Self {
        let Flushed { lane, batch, sent_at, .. } = flushed;
        let sent_at = (*sent_at).min(gathered_at);
        Self {
            lane: Arc::clone(lane),
            begin: batch.begin,
            end: batch.end,
            records: batch.records,
            rows: batch.rows(),
            bytes: batch.encoded_bytes(),
            trigger: batch.trigger,
            opened_at: batch.opened_at().unwrap_or(sent_at).min(sent_at),
            sent_at,
            settled: None,
        }
    }
}

/// Numbers that nobody else draws: the hash of a count, with a key that each process makes for itself.
#[derive(Clone, Debug, Default)]
struct Random {
    key: RandomState,
    count: Arc<AtomicU64>,
}

impl Random {
    /// Any number but 0, which is no id.
    fn id(&self) -> u64 {
        self.key.hash_one(self.count.fetch_add(1, Relaxed)).max(1)
    }

    /// From 0 up to but not including 1.
    fn fraction(&self) -> f64 {
        (self.id() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_spread_evenly() {
        let random = Random::default();
        let below = (0..10_000).filter(|_| random.fraction() < 0.1).count();
        assert!((800..1200).contains(&below), "{below}");
    }
}
