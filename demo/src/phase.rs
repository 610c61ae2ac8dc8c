//! Produces records and waits, at the same time, until all of them are in Postgres.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use loadgen::{Ledger, Load};
use stack::Client;

use crate::{
    error::Error,
    interrupt::Interrupt,
    latency::Latency,
    progress::{Progress, Reading},
    service::{Service, Status},
};

const TURN: Duration = Duration::from_millis(50);
const STALL_MAX: Duration = Duration::from_secs(60);
/// The checkpoints move in the transactions of the rows, and no offset is skipped in a topic that
/// one idempotent producer writes.
const WRITTEN_SQL: &str = "SELECT coalesce(sum(next_offset), 0)::bigint FROM tidegate.checkpoints";

/// What moves records, and who may be asked about it.
pub(crate) struct Phase<'a> {
    pub(crate) service: &'a Service,
    pub(crate) client: &'a Client,
    pub(crate) interrupt: &'a Interrupt,
    /// Records of earlier phases.
    pub(crate) before: u64,
    /// Latencies are read once so many records of this phase are written, if at all.
    pub(crate) warm_up: Option<u64>,
}

/// How a phase went.
pub(crate) struct Outcome {
    pub(crate) ledger: Ledger,
    /// From the first record produced to the last one acknowledged by Kafka.
    pub(crate) producing: Duration,
    /// From the first record produced to the last one durable in Postgres.
    pub(crate) elapsed: Duration,
    pub(crate) seen: Seen,
}

/// What tidegate said meanwhile.
#[derive(Default)]
pub(crate) struct Seen {
    /// The last status while there was something to do.
    pub(crate) status: Option<Status>,
    /// All latencies up to the end of the warm-up.
    pub(crate) warm_up: Option<Latency>,
}

impl Phase<'_> {
    /// # Errors
    /// When records cannot be produced, do not arrive, or a signal comes.
    pub(crate) fn run(&self, load: &Load) -> Result<Outcome, Error> {
        let (stop, produced) = (AtomicBool::new(false), AtomicU64::new(0));
        let started = Instant::now();
        let (watched, produced) = thread::scope(|scope| {
            let producer = scope.spawn(|| load.run_counting(&stop, &produced));
            let watched = self.watch(started, load.count, &produced, || producer.is_finished());
            let elapsed = started.elapsed();
            stop.store(true, Relaxed);
            (watched.map(|seen| (seen, elapsed)), producer.join())
        });
        let (seen, elapsed) = watched?;
        let report = produced.map_err(|_| Error::LoadPanicked)??;
        match report.error {
            Some(error) => Err(error.into()),
            None => {
                let (ledger, producing) = (report.ledger, report.elapsed);
                Ok(Outcome { ledger, producing, elapsed, seen })
            }
        }
    }

    /// Returns when everything is written that was produced.
    fn watch(
        &self,
        started: Instant,
        count: Option<u64>,
        produced: &AtomicU64,
        is_complete: impl Fn() -> bool,
    ) -> Result<Seen, Error> {
        let mut progress = Progress::new(started, count);
        let mut seen = Seen::default();
        let mut is_ready = false;
        let mut moved = (Reading::default(), Instant::now());
        loop {
            self.interrupt.check()?;
            self.service.check_runs()?;
            // Asked first: the count is the last one if the answer is yes.
            let is_complete = is_complete();
            is_ready = is_ready || self.service.is_ready();
            let written = if is_ready { self.client.query_one_i64(WRITTEN_SQL)? as u64 } else { 0 };
            let written = written.saturating_sub(self.before);
            // What is written was produced, even if its acknowledgement is still on its way.
            let reading = Reading { produced: produced.load(Relaxed).max(written), written };
            if seen.warm_up.is_none() && self.warm_up.is_some_and(|records| written >= records) {
                seen.warm_up = Some(Latency::parse(&self.service.metrics()?)?);
            }
            if is_complete && reading.written >= reading.produced {
                progress.end(reading);
                return Ok(seen);
            }
            if reading != moved.0 {
                moved = (reading, Instant::now());
            } else if moved.1.elapsed() > STALL_MAX {
                return Err(self.stalled(reading));
            }
            if is_ready && progress.is_due() {
                // Whether it ended, the next turn finds out, and says more than a refused connection.
                if let Ok(now) = self.service.status() {
                    progress.show(reading, now.lag_records);
                    seen.status = Some(now).filter(|now| now.lag_records > 0).or(seen.status);
                }
            }
            thread::sleep(TURN);
        }
    }

    fn stalled(&self, reading: Reading) -> Error {
        Error::Stalled {
            seconds: STALL_MAX.as_secs(),
            produced: reading.produced,
            written: reading.written,
            log_tail: self.service.log_tail(),
        }
    }
}
