//! Where the time of the threads goes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// What a thread spends its time on. Each thread is always in exactly one stage, so the rate of a
/// stage's seconds is the share of the threads' time that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Partition thread: waiting for records from Kafka.
    Poll,
    /// Partition thread: decoding and encoding.
    Encode,
    /// Partition thread: blocked, because the batch before is not durable yet or the queue is full.
    Send,
    /// Writer: waiting for a batch.
    Gather,
    /// Writer: waiting for a connection.
    Connect,
    /// Writer: streaming rows by COPY.
    Copy,
    /// Writer: dead letters and the checkpoint.
    Checkpoint,
    /// Writer: COMMIT, which is the wait for the log to reach the disk.
    Commit,
    /// Writer: backing off after an error.
    Retry,
}

impl Stage {
    /// The stages of a partition thread, in the order of the path of a record.
    pub const OF_PARTITION: [Self; 3] = [Self::Poll, Self::Encode, Self::Send];

    /// The stages of a writer.
    pub const OF_WRITER: [Self; 6] =
        [Self::Gather, Self::Connect, Self::Copy, Self::Checkpoint, Self::Commit, Self::Retry];

    const COUNT: usize = Self::OF_PARTITION.len() + Self::OF_WRITER.len();

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Encode => "encode",
            Self::Send => "send",
            Self::Gather => "gather",
            Self::Connect => "connect",
            Self::Copy => "copy",
            Self::Checkpoint => "checkpoint",
            Self::Commit => "commit",
            Self::Retry => "retry",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// The time that a group of threads has spent in each stage, also in the one that it is in now: a thread
/// that hangs shows before it ends.
#[derive(Clone, Debug, Default)]
pub struct StageClock(Arc<Mutex<Threads>>);

#[derive(Debug, Default)]
struct Threads {
    live: Vec<Arc<Mutex<Lap>>>,
    /// The time of those that have ended.
    ended: StageTimes,
}

impl StageClock {
    /// A thread of the group begins, in `stage`.
    pub fn thread(&self, stage: Stage) -> ThreadClock {
        let (since, times) = (Instant::now(), StageTimes::default());
        let lap = Lap { stage, since, times, steps: None };
        let lap = Arc::new(Mutex::new(lap));
        lock(&self.0).live.push(Arc::clone(&lap));
        ThreadClock { group: Arc::clone(&self.0), lap }
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        lock(&self.0).live.len()
    }

    /// The time spent so far, by stage.
    pub fn read(&self) -> StageTimes {
        let threads = lock(&self.0);
        let live = threads.live.iter();
        live.fold(threads.ended, |sum, lap| sum.plus(&lock(lap).read(Instant::now())))
    }
}

/// The clock of one thread.
#[derive(Debug)]
pub struct ThreadClock {
    group: Arc<Mutex<Threads>>,
    lap: Arc<Mutex<Lap>>,
}

impl ThreadClock {
    /// From now on the thread is in `stage`.
    pub fn enter(&self, stage: Stage) {
        let now = Instant::now();
        let mut lap = lock(&self.lap);
        lap.times = lap.read(now);
        lap.note(now);
        (lap.stage, lap.since) = (stage, now);
    }

    /// From now on each step is noted.
    pub(crate) fn note_steps(&self) {
        lock(&self.lap).steps = Some(Vec::new());
    }

    /// Gives the steps since then, also the one that the thread is in, and notes no more.
    pub(crate) fn take_steps(&self) -> Vec<Step> {
        let mut lap = lock(&self.lap);
        lap.note(Instant::now());
        lap.steps.take().unwrap_or_default()
    }
}

impl Drop for ThreadClock {
    fn drop(&mut self) {
        let mut threads = lock(&self.group);
        threads.ended = threads.ended.plus(&lock(&self.lap).read(Instant::now()));
        threads.live.retain(|lap| !Arc::ptr_eq(lap, &self.lap));
    }
}

#[derive(Debug)]
struct Lap {
    stage: Stage,
    since: Instant,
    times: StageTimes,
    /// The steps until then, where somebody wants them.
    steps: Option<Vec<Step>>,
}

/// Time of a thread in one stage, without a break.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) stage: Stage,
    pub(crate) since: Instant,
    pub(crate) until: Instant,
}

/// Steps that are noted: what is tried again for hours has more than anybody reads.
const STEPS_MAX: usize = 100;

impl Lap {
    fn read(&self, now: Instant) -> StageTimes {
        let mut times = self.times;
        let time = now.saturating_duration_since(self.since);
        times.0[self.stage.index()] += time.as_secs_f64();
        times
    }

    fn note(&mut self, now: Instant) {
        let Some(steps) = &mut self.steps else { return };
        let count = steps.len();
        match steps.last_mut() {
            Some(last) if last.stage == self.stage => last.until = now,
            _ if count < STEPS_MAX => {
                steps.push(Step { stage: self.stage, since: self.since, until: now });
            }
            _ => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds by stage, at one moment or over one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageTimes([f64; Stage::COUNT]);

impl StageTimes {
    /// Seconds in `stage`.
    pub fn seconds(&self, stage: Stage) -> f64 {
        self.0[stage.index()]
    }

    /// Sets the seconds of `stage`.
    pub fn with(mut self, stage: Stage, seconds: f64) -> Self {
        self.0[stage.index()] = seconds;
        self
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|i| (self.0[i] - earlier.0[i]).max(0.0)))
    }

    /// The time in all stages.
    pub fn total(&self) -> f64 {
        self.0.iter().sum()
    }

    /// The share of the time that went to `stage`, 0 to 1.
    pub fn share(&self, stage: Stage) -> f64 {
        let total = self.total();
        if total > 0.0 { self.seconds(stage) / total } else { 0.0 }
    }

    /// The sum of both.
    pub fn plus(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
}

#[cfg(test)]
mod tests {
    use std::{thread::sleep, time::Duration};

    use super::*;

    #[test]
    fn steps_are_noted_only_while_somebody_wants_them() {
        let clock = StageClock::default().thread(Stage::Gather);
        clock.enter(Stage::Copy);
        assert!(clock.take_steps().is_empty());
        clock.note_steps();
        [Stage::Copy, Stage::Commit].into_iter().for_each(|stage| clock.enter(stage));
        let steps = clock.take_steps();
        assert_eq!(
            steps.iter().map(|step| step.stage).collect::<Vec<_>>(),
            [Stage::Copy, Stage::Commit]
        );
        assert_eq!(steps[0].until, steps[1].since);
        clock.note_steps();
        let others = [Stage::Connect, Stage::Copy].into_iter().cycle();
        others.take(3 * STEPS_MAX).for_each(|stage| clock.enter(stage));
        assert_eq!(clock.take_steps().len(), STEPS_MAX);
    }

    #[test]
    fn a_thread_that_hangs_shows_and_one_that_has_ended_leaves_its_time() {
        let clock = StageClock::default();
        let thread = clock.thread(Stage::Gather);
        thread.enter(Stage::Copy);
        let before = clock.read();
        sleep(Duration::from_millis(20));
        let hanging = clock.read();
        assert!(hanging.since(&before).seconds(Stage::Copy) >= 0.02, "{hanging:?}");
        assert_eq!(clock.threads(), 1);
        drop(thread);
        let ended = clock.read();
        assert_eq!(clock.threads(), 0);
        assert!(ended.seconds(Stage::Copy) >= hanging.seconds(Stage::Copy), "{ended:?}");
        assert_eq!(clock.read(), ended);
    }
}
