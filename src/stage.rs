//! Where the time of the threads goes.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
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
    /// Every stage, in the order of the path of a record.
    pub const ALL: [Self; 9] = [
        Self::Poll,
        Self::Encode,
        Self::Send,
        Self::Gather,
        Self::Connect,
        Self::Copy,
        Self::Checkpoint,
        Self::Commit,
        Self::Retry,
    ];

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

/// The time that a group of threads has spent in each stage.
#[derive(Debug, Default)]
pub struct StageClock([AtomicU64; Stage::ALL.len()]);

impl StageClock {
    /// Adds time to a stage.
    pub fn add(&self, stage: Stage, time: Duration) {
        self.0[stage.index()].fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// The time spent so far, by stage.
    pub fn read(&self) -> StageTimes {
        StageTimes(std::array::from_fn(|i| {
            Duration::from_nanos(self.0[i].load(Relaxed)).as_secs_f64()
        }))
    }
}

/// Seconds by stage, at one moment or over one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageTimes([f64; Stage::ALL.len()]);

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

    /// The sum of both.
    pub fn plus(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
}
