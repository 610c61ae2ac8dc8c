//! The writer pool of a sink: gather, write, retry, acknowledge.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::{
    batch::BatchPolicy,
    error::Error,
    failpoint::failpoint,
    lane::{Loss, Outcome},
    latency::Latency,
    metrics,
    route::Context,
    shutdown::Shutdown,
    sink::{Flushed, Sink, WriteError, Writer},
    spans::{Recording, Spans},
    stage::{Stage, ThreadClock},
    status::SinkStatus,
    watchdog::Heart,
};

const WAIT_MAX: Duration = Duration::from_millis(250);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Low enough to resume within seconds of the sink's return, whatever the length of the outage.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A write set holds so many full batches at most. A COPY has a price of its own in Postgres: each row
/// buffer that it makes is registered in a table which is searched through for the next one, 1.7 ms
/// for 20,000 rows.
const FULL_BATCHES_MAX: usize = 2;

/// How long less than one full batch waits for others, while as many of the pool write already: hundreds of
/// lanes would else make a transaction of each little batch.
const LINGER: Duration = Duration::from_millis(5);
const BUSY_MIN: usize = 2;

/// One thread of the pool.
pub(crate) struct WriterThread {
    sink_name: String,
    writer: Box<dyn Writer>,
    queue: Receiver<Flushed>,
    /// A batch of another target, taken from the queue while gathering.
    held: Option<Flushed>,
    policy: BatchPolicy,
    /// How many of the pool write.
    writing: Arc<AtomicUsize>,
    status: Arc<SinkStatus>,
    clock: Arc<ThreadClock>,
    latency: Arc<Latency>,
    shutdown: Shutdown,
    spans: Option<Spans>,
}

impl WriterThread {
    /// Starts the writer threads of `sink`; they end when every sender of `queue` is gone.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn spawn_all(
        sink: &dyn Sink,
        sink_name: &str,
        queue: &Receiver<Flushed>,
        status: &Arc<SinkStatus>,
        context: &Context,
    ) -> Result<Vec<JoinHandle<()>>, Error> {
        let writing = Arc::new(AtomicUsize::new(0));
        let spawn = |number| {
            let clock = Arc::new(status.clock.thread(Stage::Gather));
            let thread = Self {
                sink_name: sink_name.to_owned(),
                writer: sink.writer(Arc::clone(&clock)),
                queue: queue.clone(),
                held: None,
                policy: context.policy,
                writing: Arc::clone(&writing),
                status: Arc::clone(status),
                clock,
                latency: Arc::clone(&context.status.latency),
                shutdown: context.shutdown.clone(),
                spans: context.spans.clone(),
            };
            let name = format!("write-{sink_name}-{number}");
            context.watchdog.spawn(&name, move |heart| thread.run(heart))
        };
        (0..sink.writers()).map(spawn).collect()
    }

    fn run(mut self, heart: &Heart) {
        loop {
            heart.beat();
            self.clock.enter(Stage::Gather);
            let first = match self.held.take() {
                Some(held) => Ok(held),
                None => self.queue.recv_timeout(WAIT_MAX),
            };
            match first {
                Ok(first) => {
                    let mut batches = self.gather(first);
                    failpoint!("batch.gathered");
                    self.writing.fetch_add(1, Relaxed);
                    self.write(&mut batches, heart);
                    self.writing.fetch_sub(1, Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// The batches that are ready for the same target, so that many partitions cost few transactions.
    fn gather(&mut self, first: Flushed) -> Vec<Flushed> {
        let target = first.target;
        let mut records = first.batch.records;
        let mut bytes = first.batch.held_bytes();
        let mut batches = vec![first];
        let begun = Instant::now();
        let room_for_one = FULL_BATCHES_MAX - 1;
        while records <= (self.policy.rows * room_for_one) as u64
            && bytes <= self.policy.bytes * room_for_one
        {
            let is_small = records < self.policy.rows as u64 && bytes < self.policy.bytes;
            let next = if is_small && self.writing.load(Relaxed) >= BUSY_MIN {
                self.queue.recv_timeout(LINGER.saturating_sub(begun.elapsed())).ok()
            } else {
                self.queue.try_recv().ok()
            };
            let Some(next) = next else { break };
            if next.target != target {
                self.held = Some(next);
                break;
            }
            records += next.batch.records;
            bytes += next.batch.held_bytes();
            batches.push(next);
        }
        batches
    }

    /// Writes until every batch has found its fate: an outage is waited out, however long it is.
    fn write(&mut self, batches: &mut Vec<Flushed>, heart: &Heart) {
        let mut backoff = Backoff::default();
        let begin = |spans: &Spans| spans.begin(&self.sink_name, batches, &self.clock);
        let mut recording = self.spans.as_ref().map(begin);
        loop {
            heart.beat();
            if self.shutdown.has_failed() {
                batches.iter().for_each(|flushed| flushed.lane.cancel());
            }
            settle_closed(batches, &mut recording);
            let Some(first) = batches.first() else { break };
            let target = first.target;
            let started = Instant::now();
            // Until the writer says more of what it does.
            self.clock.enter(Stage::Copy);
            let result = self.writer.write(target, batches, heart);
            self.settle_written(batches, started.elapsed(), &mut recording);
            match result {
                Ok(()) => {
                    if batches.is_empty() {
                        self.status.recovered();
                        break;
                    }
                    self.shutdown.fail(Error::software(format!(
                        "sink {} left a batch without an outcome",
                        self.sink_name
                    )));
                }
                Err(WriteError::Outage { class, message }) => {
                    metrics::retry(&self.sink_name, &class);
                    recording.iter_mut().for_each(|recording| recording.retry(&class, &message));
                    if self.status.degraded(&class, &message) {
                        tracing::warn!(
                            sink = self.sink_name,
                            sqlstate = class,
                            "sink is away, will try again for ever: {message}"
                        );
                    }
                    self.clock.enter(Stage::Retry);
                    std::thread::sleep(backoff.next());
                }
                Err(WriteError::Halt(error)) => self.shutdown.fail(error),
            }
        }
        if let Some(recording) = recording {
            recording.finish(&self.clock);
        }
    }

    fn settle_written(
        &self,
        batches: &mut Vec<Flushed>,
        took: Duration,
        recording: &mut Option<Recording>,
    ) {
        let now_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        for flushed in batches.extract_if(.., |flushed| flushed.outcome.is_some()) {
            let outcome = flushed.outcome.unwrap_or(Outcome::Discarded);
            if outcome == Outcome::Durable {
                metrics::batch_written(&self.sink_name, took);
                self.status.add_bytes(flushed.batch.encoded_bytes());
                for (timestamp_ms, count) in &flushed.batch.timestamps_ms {
                    let age_ms = (now_ms - timestamp_ms).max(0) as u64;
                    self.latency.record(age_ms, u64::from(*count));
                }
            } else if let Outcome::Lost(loss) = outcome
                // Else this process itself has claimed the lane again, for a neighbour's sake.
                && flushed.lane.loss() != Some(Loss::NotKept)
            {
                let key = &flushed.lane.key;
                if loss == Loss::Fenced {
                    metrics::fenced();
                }
                tracing::warn!(
                    topic = &*key.topic,
                    partition = key.partition,
                    target = &*key.target,
                    "a batch was not written here: {loss}"
                );
            }
            recording.iter_mut().for_each(|recording| recording.settle(&flushed, outcome));
            flushed.lane.settle(flushed.batch, outcome);
            failpoint!("batch.settled");
        }
    }
}

fn settle_closed(batches: &mut Vec<Flushed>, recording: &mut Option<Recording>) {
    for flushed in batches.extract_if(.., |flushed| flushed.lane.is_closed()) {
        let outcome = flushed.lane.loss().map_or(Outcome::Discarded, Outcome::Lost);
        recording.iter_mut().for_each(|recording| recording.settle(&flushed, outcome));
        flushed.lane.settle(flushed.batch, outcome);
    }
}

/// Doubling pauses with full jitter, so that the writers of many instances do not come back at once.
#[derive(Debug, Default)]
struct Backoff {
    attempts: u32,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let bound = (BACKOFF_MIN * 2u32.pow(self.attempts.min(8))).min(BACKOFF_MAX);
        self.attempts += 1;
        // The clock's low digits are random enough to spread writers.
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
        bound.mul_f64(0.5 + f64::from(nanos % 1000) / 2000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..20).map(|_| backoff.next()).collect();
        assert!(pauses[0] <= BACKOFF_MIN);
        assert!(pauses.iter().all(|pause| *pause <= BACKOFF_MAX));
        assert!(pauses[19] >= BACKOFF_MAX / 2);
    }
}
