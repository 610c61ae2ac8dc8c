//! One memory budget, split over fetch queues, open batches and queued batches.
//!
//! The split is by arithmetic and not by permits: the number of lanes is known at each assignment,
//! and a lane holds at most two batches (the one it fills and the one on its way), so
//! `2 × lanes × batch_bytes` bounds what the batches hold, whatever the database does.

use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Of the budget, what the batches may hold; the fetch queues get a quarter, and the rest is for
/// the client's and the allocator's own use.
const BATCH_SHARE: f64 = 0.5;
const FETCH_SHARE: f64 = 0.25;
/// What librdkafka keeps for a small message besides its bytes, which its own limit does not count:
/// about one and a half times the bytes of a record of 200.
const FETCH_OVERHEAD: f64 = 2.5;
const BATCH_BYTES_MIN: usize = 32 << 10;
const FETCH_BYTES_MIN: usize = 16 << 10;

/// The budget and its present split.
#[derive(Debug)]
pub struct Memory {
    budget_bytes: usize,
    batch_bytes_max: usize,
    lanes: AtomicUsize,
}

impl Memory {
    /// A budget, and the size at which a batch is closed at the latest.
    pub fn new(budget_bytes: usize, batch_bytes_max: usize) -> Self {
        Self { budget_bytes, batch_bytes_max, lanes: AtomicUsize::new(0) }
    }

    /// The whole budget.
    pub fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// So many lanes more share it.
    pub fn add_lanes(&self, lanes: usize) {
        self.lanes.fetch_add(lanes, Relaxed);
    }

    /// So many lanes less share it.
    pub fn remove_lanes(&self, lanes: usize) {
        self.lanes.fetch_sub(lanes, Relaxed);
    }

    /// The size at which a lane closes its batch.
    pub fn batch_bytes(&self) -> usize {
        let lanes = self.lanes.load(Relaxed).max(1);
        let share = (self.budget_bytes as f64 * BATCH_SHARE) as usize / (2 * lanes);
        share.clamp(BATCH_BYTES_MIN, self.batch_bytes_max.max(BATCH_BYTES_MIN))
    }

    /// What the client may fetch ahead for each of `partitions` partitions: with split queues
    /// `queued.max.messages.kbytes` is a limit for each partition, not for the client.
    pub fn fetch_bytes(&self, partitions: usize) -> usize {
        let share = self.budget_bytes as f64 * FETCH_SHARE / FETCH_OVERHEAD;
        (share as usize / partitions.max(1)).max(FETCH_BYTES_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batches_of_all_lanes_fit_into_half_of_the_budget() {
        for lanes in [1, 6, 64, 500] {
            let memory = Memory::new(128 << 20, 4 << 20);
            memory.add_lanes(lanes);
            assert!(memory.batch_bytes() * 2 * lanes <= 64 << 20, "{lanes} lanes");
        }
    }

    #[test]
    fn few_lanes_do_not_make_a_batch_larger_than_configured() {
        let memory = Memory::new(1 << 30, 4 << 20);
        memory.add_lanes(1);
        assert_eq!(memory.batch_bytes(), 4 << 20);
    }

    #[test]
    fn lanes_that_leave_give_their_share_back() {
        let memory = Memory::new(64 << 20, 64 << 20);
        memory.add_lanes(4);
        let before = memory.batch_bytes();
        memory.add_lanes(4);
        assert_eq!(memory.batch_bytes(), before / 2);
        memory.remove_lanes(4);
        assert_eq!(memory.batch_bytes(), before);
    }
}
