//! Finds the highest rate that a tidegate sustains: holds one rate after the other, and looks whether
//! its lag grows.
//!
//! The lag of a hold is what Kafka has acknowledged, by this side's own count, less what became durable
//! meanwhile: unlike the lag that the service tells, it does not wait for anybody to ask the brokers.

mod report;
mod search;
mod status;
mod trend;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use report::{LimitReport, Step};
use search::Search;
pub use status::Bottleneck;
use status::{Gap, Instances, Snapshot};
pub use trend::Finding;
use trend::{Point, Trend, judge};

use crate::error::LoadError;
use crate::load::{Load, Report};
use crate::profile::Clock;

/// Looks at the status in a hold.
const LOOKS: u32 = 50;
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(100);
/// How long a tidegate may be silent, or without some partition, before that ends the search.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the lag of a hold may take to go.
const DRAIN_MAX: Duration = Duration::from_secs(180);
/// What the last acknowledgements may take without being held against the producer.
const SETTLE_MAX: Duration = Duration::from_millis(500);
/// How long a rate far above the limit is held, to see what limits it.
const NAME_MAX: Duration = Duration::from_secs(20);
/// A lag of so many seconds' records is as good as none: a tail that other producers keep up.
const DRAINED_S: f64 = 0.1;

/// A search for the highest sustained rate.
#[derive(Debug, Clone)]
pub struct FindLimit {
    /// What to produce; `rate`, `count` and `duration` are the search's own.
    pub load: Load,
    /// The admin servers of all instances, as `host:port` or URL.
    pub status: Vec<String>,
    /// The first rate, in records a second.
    pub start: f64,
    /// How long each rate is held.
    pub hold: Duration,
    /// Whether each step is shown on standard error.
    pub show: bool,
}

/// What was seen in one hold.
#[derive(Debug, Default)]
struct Looks {
    all: Vec<Look>,
    /// Records a second, at the end.
    produced: f64,
    /// Since when there is nothing to see, and why.
    gap: Option<(Instant, Gap)>,
}

/// One look at the status.
#[derive(Debug)]
struct Look {
    /// Seconds since the hold began.
    at_s: f64,
    /// Records of the hold that Kafka has.
    acknowledged: u64,
    snapshot: Snapshot,
}

impl FindLimit {
    /// Searches until the limit is found or `stop` is set. What is known by then is in the report,
    /// also when something fails under way.
    ///
    /// # Errors
    /// When no broker or no tidegate can be asked, or it does not read the topic.
    pub fn run(&self, stop: &AtomicBool) -> Result<LimitReport, LoadError> {
        let partitions = self.load.open_topic()?.watermarks.len();
        let instances = Instances::new(&self.status, &self.load.topic, partitions);
        self.await_lanes(&instances, stop)?;
        let mut report = LimitReport::new(&self.load.topic, self.hold);
        if self.show {
            eprintln!("{}", LimitReport::HEAD);
        }
        let searched = self.search(&instances, stop, &mut report);
        report.interrupted = stop.load(Ordering::Relaxed);
        report.error = searched.err();
        Ok(report)
    }

    fn search(
        &self,
        instances: &Instances,
        stop: &AtomicBool,
        report: &mut LimitReport,
    ) -> Result<(), LoadError> {
        let mut search = Search::new(self.start);
        let mut load = Load { show_progress: false, ..self.load.clone() };
        self.drain(instances, stop, self.start)?;
        while let Some(asked) = search.next().filter(|_| !stop.load(Ordering::Relaxed)) {
            let looks = self.hold(instances, stop, &mut load, asked, self.hold)?;
            // A hold that was cut short says nothing.
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let Some(step) = looks.sum_up(asked, self.hold) else { continue };
            search.learn(asked, step.produced_per_s, step.finding);
            if self.show {
                eprintln!("{step}");
            }
            report.steps.push(step);
            report.drain = self.drain(instances, stop, asked)?;
        }
        if report.exceeded().is_some() && report.bottleneck().is_none() {
            // Near the limit nobody is behind for long enough to tell by what: far above it, somebody is.
            let most = report.steps.iter().map(|step| step.asked_per_s).fold(0.0, f64::max);
            let rate = 1.5 * most;
            let looks = self.hold(instances, stop, &mut load, rate, NAME_MAX)?;
            report.named = looks.bottleneck();
            report.drain = self.drain(instances, stop, rate)?;
        }
        Ok(())
    }

    /// Waits until the instances read every partition of the topic.
    fn await_lanes(&self, instances: &Instances, stop: &AtomicBool) -> Result<(), LoadError> {
        let since = Instant::now();
        loop {
            match instances.ask() {
                Ok(_) => return Ok(()),
                Err(_) if stop.load(Ordering::Relaxed) => return Ok(()),
                // A topic that was just made shows in the group after a while; an address that is
                // wrong stays wrong.
                Err(Gap::Unread { .. }) if since.elapsed() < PATIENCE => {
                    thread::sleep(LOOK_PAUSE_MIN);
                }
                Err(gap) => return Err(gap.into_error(&self.load.topic)),
            }
        }
    }

    /// Waits until the lag is gone; gives how long that took.
    fn drain(
        &self,
        instances: &Instances,
        stop: &AtomicBool,
        rate: f64,
    ) -> Result<Duration, LoadError> {
        let since = Instant::now();
        loop {
            let asked = instances.ask();
            let is_overdue = since.elapsed() > DRAIN_MAX;
            match asked {
                Ok(Snapshot { lag: Some(lag), .. }) if lag as f64 <= DRAINED_S * rate => {
                    return Ok(since.elapsed());
                }
                Ok(snapshot) if is_overdue => {
                    return Err(LoadError::Lag {
                        topic: self.load.topic.clone(),
                        lag: snapshot.lag.unwrap_or(0),
                        seconds: DRAIN_MAX.as_secs(),
                    });
                }
                Err(gap) if is_overdue => return Err(gap.into_error(&self.load.topic)),
                _ if stop.load(Ordering::Relaxed) => return Ok(since.elapsed()),
                _ => thread::sleep(LOOK_PAUSE_MIN),
            }
        }
    }

    /// Produces at one rate and looks on. Beyond the time of a step, only until a bottleneck is named.
    fn hold(
        &self,
        instances: &Instances,
        stop: &AtomicBool,
        load: &mut Load,
        asked: f64,
        duration: Duration,
    ) -> Result<Looks, LoadError> {
        load.rate = Some(asked);
        load.duration = Some(duration);
        let acknowledged = AtomicU64::new(0);
        let end = AtomicBool::new(false);
        let mut looks = Looks::default();
        let produced = thread::scope(|scope| {
            let producer = scope.spawn(|| load.run_counting(&end, &acknowledged));
            let since = Instant::now();
            while !producer.is_finished() {
                let snapshot = instances.ask();
                looks.take(snapshot, since.elapsed(), acknowledged.load(Ordering::Relaxed));
                let is_named = duration == NAME_MAX && looks.bottleneck().is_some();
                if is_named || looks.is_blind() || stop.load(Ordering::Relaxed) {
                    end.store(true, Ordering::Relaxed);
                }
                thread::sleep((self.hold / LOOKS).max(LOOK_PAUSE_MIN));
            }
            producer.join().map_err(|_| LoadError::Thread)
        })??;
        continue_behind(load, &produced);
        if looks.is_blind()
            && let Some((_, gap)) = looks.gap
        {
            return Err(gap.into_error(&self.load.topic));
        }
        let seconds = produced.elapsed.saturating_sub(SETTLE_MAX).max(duration).as_secs_f64();
        looks.produced = produced.ledger.produced as f64 / seconds;
        match produced.error {
            Some(error) => Err(error),
            None => Ok(looks),
        }
    }
}

impl Looks {
    fn take(&mut self, asked: Result<Snapshot, Gap>, at: Duration, acknowledged: u64) {
        match asked {
            Ok(snapshot) => {
                self.gap = None;
                self.all.push(Look { at_s: at.as_secs_f64(), acknowledged, snapshot });
            }
            // Partitions that change hands are away for a moment.
            Err(gap) => {
                let since = self.gap.take().map_or_else(Instant::now, |(since, _)| since);
                self.gap = Some((since, gap));
            }
        }
    }

    fn is_blind(&self) -> bool {
        self.gap.as_ref().is_some_and(|(since, _)| since.elapsed() > PATIENCE)
    }

    /// What was named last, if anything was.
    fn bottleneck(&self) -> Option<Bottleneck> {
        let named = |look: &&Look| look.snapshot.bottleneck.is_named();
        self.all.iter().rfind(named).map(|look| look.snapshot.bottleneck.clone())
    }

    /// What they show of a hold for which `asked` was the goal; `None` without any look.
    fn sum_up(mut self, asked: f64, hold: Duration) -> Option<Step> {
        let hold_s = hold.as_secs_f64();
        // Behind it, the lag is only what is left to do.
        self.all.retain(|look| look.at_s <= hold_s);
        let durable_before = self.all.first()?.snapshot.durable;
        let lag = |look: &Look| {
            look.acknowledged as f64 - (look.snapshot.durable - durable_before) as f64
        };
        let points: Vec<Point> =
            self.all.iter().map(|look| Point { at_s: look.at_s, lag: lag(look) }).collect();
        let last = self.all.last()?;
        let middle = self.all.iter().find(|look| look.at_s >= hold_s / 2.0)?;
        let rows = last.snapshot.written.saturating_sub(middle.snapshot.written);
        let finding = judge(&points, hold_s, asked, self.produced);
        // Some seconds go by before it is named: what is named in a hold may be left from the one before.
        let named = if finding == Finding::Grows { self.bottleneck() } else { None };
        Some(Step {
            asked_per_s: asked,
            produced_per_s: self.produced,
            rows_per_s: rows as f64 / (last.at_s - middle.at_s).max(1e-9),
            lag_records: lag(last).max(0.0),
            lag_growth_per_s: Trend::of_second_half(&points, hold_s).map(|trend| trend.slope),
            p50_ms: last.snapshot.p50_ms,
            p99_ms: last.snapshot.p99_ms,
            bottleneck: named.unwrap_or_else(|| last.snapshot.bottleneck.clone()),
            finding,
        })
    }
}

/// The next hold's orders come behind those of the last: a table may have a key.
fn continue_behind(load: &mut Load, report: &Report) {
    let produced = report.ledger.produced;
    load.profile.start_id += produced as i64;
    if let Clock::Fixed { start_ms, step_us } = &mut load.profile.clock {
        *start_ms += (produced * *step_us / 1000) as i64;
    }
}
