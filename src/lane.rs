//! A lane: one partition on its way to one target of its route.
//!
//! [`Lane`] is what the threads share of it: the partition thread that fills batches, the writer
//! that makes them durable, the source that commits the frontier, and whoever reads the status.

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    batch::Batch,
    mailbox::Sender,
    sink::Group,
    sync::{
        Mutex, MutexGuard, PoisonError,
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
    /// The sink needs the records behind rows, which were not kept.
    NotKept,
}

impl Loss {
    /// The name in metrics and in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Regressed => "regressed",
            Self::NotKept => "not_kept",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fenced => "another owner has claimed the lane",
            Self::Regressed => "the database has gone back in time",
            Self::NotKept => "a row was refused whose record was not kept",
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
const NOT_KEPT: u8 = 4;

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
    low_watermark: AtomicI64,
    high_watermark: AtomicI64,
    progress: Mutex<Progress>,
}

/// What changes with the records of a lane, under one lock.
#[derive(Debug, Default)]
struct Progress {
    counts: Counts,
    open: Held,
    departed: Held,
    /// Timestamp of the last record that became durable.
    durable_ms: Option<i64>,
    /// When that was, as Unix time.
    moved_at_ms: Option<i64>,
    /// The end of what was delivered, and up to where there is no record behind it.
    end: Option<(i64, i64)>,
}

/// What a batch holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Timestamp of its first record, which stands for the oldest.
    pub first_ms: Option<i64>,
    /// Bytes against the memory budget.
    pub bytes: usize,
}

/// Where a lane stands, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Where its records are.
    pub counts: Counts,
    /// The next offset that is not durable in the target.
    pub durable: i64,
    /// The same, but past what lies there and is no record, or was removed by retention before it was read.
    pub reached: i64,
    /// Timestamp of the first record that is in hand and not durable.
    pub oldest_ms: Option<i64>,
    /// Timestamp of the last record that became durable.
    pub durable_ms: Option<i64>,
    /// When that was, as Unix time.
    pub moved_at_ms: Option<i64>,
    /// Bytes of its batches.
    pub held_bytes: usize,
    /// Beginning of the partition as the broker last told it.
    pub low: Option<i64>,
    /// End of the partition as the broker last told it.
    pub high: Option<i64>,
}

impl Standing {
    /// Records behind the end of the partition; never negative. `None` where the end is not known.
    pub fn lag(&self) -> Option<u64> {
        self.high.map(|high| (high - self.reached).max(0) as u64)
    }

    /// Offsets that retention has removed before they were durable.
    pub fn expired(&self) -> u64 {
        self.low.map_or(0, |low| (low - self.durable).max(0) as u64)
    }
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
            low_watermark: AtomicI64::new(-1),
            high_watermark: AtomicI64::new(-1),
            progress: Mutex::default(),
        }
    }

    /// The next offset that is not durable in the target.
    pub fn durable(&self) -> i64 {
        self.durable.load(Acquire)
    }

    /// The broker told where the partition begins.
    pub fn set_low_watermark(&self, low: i64) {
        self.low_watermark.store(low, Relaxed);
    }

    /// The broker told the end of the partition.
    pub fn set_high_watermark(&self, high: i64) {
        self.high_watermark.store(high, Relaxed);
    }

    /// The partition thread took records in.
    pub fn take_in(&self, records: u64) {
        let mut progress = self.progress();
        progress.counts.consumed += records;
        progress.counts.in_flight += records;
    }

    /// What its open batch holds now.
    pub fn hold(&self, open: Held) {
        self.progress().open = open;
    }

    /// The open batch, which holds so much, leaves for the sink.
    pub fn depart(&self, departed: Held) {
        let mut progress = self.progress();
        (progress.open, progress.departed) = (Held::default(), departed);
    }

    /// There is no record from `delivered`, the end of what was delivered, up to `end`: marks of
    /// transactions, records of aborted ones, what compaction removed.
    pub fn reach_end(&self, delivered: i64, end: i64) {
        if delivered < end {
            self.progress().end = Some((delivered, end));
        }
    }

    /// Where its records are, at this moment.
    pub fn counts(&self) -> Counts {
        self.progress().counts
    }

    /// Where it stands, at this moment.
    pub fn standing(&self) -> Standing {
        let known = |watermark: &AtomicI64| Some(watermark.load(Relaxed)).filter(|at| *at >= 0);
        let (low, high) = (known(&self.low_watermark), known(&self.high_watermark));
        let progress = self.progress();
        let durable = self.durable();
        let end = progress.end.filter(|(delivered, _)| *delivered <= durable).map(|(_, end)| end);
        let reached = durable.max(end.unwrap_or(durable)).max(low.unwrap_or(durable));
        Standing {
            counts: progress.counts,
            durable,
            reached,
            oldest_ms: progress.departed.first_ms.or(progress.open.first_ms),
            durable_ms: progress.durable_ms,
            moved_at_ms: progress.moved_at_ms,
            held_bytes: progress.departed.bytes + progress.open.bytes,
            low,
            high,
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
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
            Loss::NotKept => NOT_KEPT,
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
            NOT_KEPT => Some(Loss::NotKept),
            _ => None,
        }
    }

    /// The batch found its fate: moves the frontier and gives the buffers back.
    pub fn settle(&self, mut batch: Batch, outcome: Outcome) {
        batch.hold = None;
        match outcome {
            Outcome::Durable => {
                let mut progress = self.progress();
                progress.departed = Held::default();
                progress.durable_ms = batch.timestamps_ms.last().map(|(ms, _)| *ms);
                progress.moved_at_ms = Some(unix_ms());
                let counts = &mut progress.counts;
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

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64)
}
