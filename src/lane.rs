//! A lane: one partition on its way to one target of its route.
//!
//! [`Lane`] is what the threads share of it: the partition thread that fills batches, the writer
//! that makes them durable, the source that commits the frontier, and whoever reads the status.

use std::{fmt, sync::Arc, time::Instant};

use crate::{
    batch::Batch,
    mailbox::Sender,
    sink::Group,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU8, Ordering::Acquire, Ordering::Relaxed, Ordering::Release},
    },
};

/// Which lane: names that appear in metrics, logs and the checkpoint table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey {
    /// Kafka topic, or the name of an ndjson source.
    pub topic: Arc<str>,
    /// Kafka partition.
    pub partition: i32,
    /// `sink` or `sink.table`.
    pub target: Arc<str>,
}

/// The right to advance a lane's checkpoint, as claimed when its partition was assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The checkpoint row.
    pub checkpoint_id: i64,
    /// Counts the claims of that row; an older one can no longer advance it.
    pub epoch: i64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its rows, dead letters and checkpoint are in the sink.
    Durable,
    /// The lane is not the writer's to move on; nothing of the batch was written.
    Lost(Loss),
    /// The target was changed after the batch was encoded for it; nothing of it was written, and it is
    /// to be encoded anew.
    Stale,
    /// It was given up before it was written: the lane was cancelled.
    Discarded,
}

/// Why a lane cannot go on although its partition is still assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Another owner has claimed it.
    Fenced,
    /// The sink went back in time: it does not have what was durable in it.
    Regressed,
}

impl Loss {
    /// The name in metrics and in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Regressed => "regressed",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fenced => "another owner has claimed the lane",
            Self::Regressed => "the database has gone back in time",
        })
    }
}

/// A writer's answer to the partition thread; gives the batch back for reuse.
#[derive(Debug)]
pub struct Acknowledgement {
    /// The lane's place in its partition thread.
    pub index: usize,
    /// What became of the batch.
    pub outcome: Outcome,
    /// When that was known.
    pub at: Instant,
    /// The batch itself.
    pub batch: Batch,
}

const ACTIVE: u8 = 0;
const CANCELLED: u8 = 1;
const FENCED: u8 = 2;
const REGRESSED: u8 = 3;

/// What the threads share of one lane, from the assignment of its partition to its revocation.
#[derive(Debug)]
pub struct Lane {
    /// Its name.
    pub key: LaneKey,
    /// In whose name it is read.
    pub group: Arc<Group>,
    /// Exactly-once only.
    pub claim: Option<Claim>,
    /// Its place in the partition thread.
    pub index: usize,
    acknowledgements: Sender<Acknowledgement>,
    state: AtomicU8,
    durable: AtomicI64,
    high_watermark: AtomicI64,
    counts: Mutex<Counts>,
}

/// Where the records of this assignment are: consumed = written + coalesced + filtered +
/// dead-lettered + in flight, in every snapshot. The partition thread counts what it takes in, the writer what it makes durable
/// and the records that this settles: a row lost on the way breaks the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records taken in.
    pub consumed: u64,
    /// Rows that are durable.
    pub written: u64,
    /// Rows that a later row of the same key in the same transaction stands for.
    pub coalesced: u64,
    /// Records that were passed over, with all before them durable.
    pub filtered: u64,
    /// Dead letters that are durable.
    pub dead_lettered: u64,
    /// Records in the open batch and in the one on its way.
    pub in_flight: u64,
}

impl Counts {
    /// The counts of both.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            consumed: self.consumed + other.consumed,
            written: self.written + other.written,
            coalesced: self.coalesced + other.coalesced,
            filtered: self.filtered + other.filtered,
            dead_lettered: self.dead_lettered + other.dead_lettered,
            in_flight: self.in_flight + other.in_flight,
        }
    }

    /// Records that have found their fate.
    pub fn settled(&self) -> u64 {
        self.written + self.coalesced + self.filtered + self.dead_lettered
    }
}

impl Lane {
    /// A lane whose next record is at `position`.
    pub fn new(
        key: LaneKey,
        group: Arc<Group>,
        claim: Option<Claim>,
        index: usize,
        position: i64,
        acknowledgements: Sender<Acknowledgement>,
    ) -> Self {
        Self {
            key,
            group,
            claim,
            index,
            acknowledgements,
            state: AtomicU8::new(ACTIVE),
            durable: AtomicI64::new(position),
            high_watermark: AtomicI64::new(-1),
            counts: Mutex::default(),
        }
    }

    /// The next offset that is not durable in the target.
    pub fn durable(&self) -> i64 {
        self.durable.load(Acquire)
    }

    /// The end of the partition as the broker last told it; `None` before it has.
    pub fn high_watermark(&self) -> Option<i64> {
        Some(self.high_watermark.load(Relaxed)).filter(|high| *high >= 0)
    }

    /// The broker told the end of the partition.
    pub fn set_high_watermark(&self, high: i64) {
        self.high_watermark.store(high, Relaxed);
    }

    /// Records behind the end of the partition; never negative.
    pub fn lag(&self) -> Option<u64> {
        self.high_watermark().map(|high| (high - self.durable()).max(0) as u64)
    }

    /// The partition thread took records in.
    pub fn take_in(&self, records: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.consumed += records;
        counts.in_flight += records;
    }

    /// Where its records are, at this moment.
    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more of it may be written: its partition goes to another owner.
    pub fn cancel(&self) {
        self.close(CANCELLED);
    }

    /// Nothing more of it can be written: the sink has told so.
    pub fn lose(&self, loss: Loss) {
        self.close(match loss {
            Loss::Fenced => FENCED,
            Loss::Regressed => REGRESSED,
        });
    }

    /// The first reason is the one that counts.
    fn close(&self, state: u8) {
        let _ = self.state.compare_exchange(ACTIVE, state, Release, Relaxed);
    }

    /// Whether it was cancelled or lost.
    pub fn is_closed(&self) -> bool {
        self.state.load(Acquire) != ACTIVE
    }

    /// Why it was lost, if it was.
    pub fn loss(&self) -> Option<Loss> {
        match self.state.load(Acquire) {
            FENCED => Some(Loss::Fenced),
            REGRESSED => Some(Loss::Regressed),
            _ => None,
        }
    }

    /// The batch found its fate: moves the frontier and gives the buffers back.
    pub fn settle(&self, batch: Batch, outcome: Outcome) {
        match outcome {
            Outcome::Durable => {
                let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
                counts.written += batch.rows() - batch.coalesced;
                counts.coalesced += batch.coalesced;
                counts.filtered += batch.filtered;
                counts.dead_lettered += batch.dead_letters.len() as u64;
                counts.in_flight -= batch.records;
                self.durable.store(batch.end, Release);
            }
            Outcome::Lost(loss) => self.lose(loss),
            Outcome::Stale | Outcome::Discarded => {}
        }
        let (index, at) = (self.index, Instant::now());
        // The partition thread may be gone: then nobody waits for the answer.
        self.acknowledgements.send(Acknowledgement { index, outcome, at, batch });
    }
}
