//! One memory budget, split over fetch queues, open batches and queued batches.
//!
//! The number of lanes is known at each assignment, and a lane holds at most two batches (the one it
//! fills and the one on its way): each may be as large as an equal share for all of them. Beyond it, a batch may
//! take of what the others leave: of some hundred lanes few have records at the same time, and small batches are
//! dear. A lane that takes more stops as soon as others take theirs, so the batches hold little more than their
//! part of the budget, whatever the database does.

use std::{sync::Arc, time::Duration};

use crate::sync::{
    Condvar, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Of the budget, what the batches may hold.
const BATCH_SHARE: f64 = 0.4;
/// What record batches may hold that were fetched and not read to their end.
const FETCH_SHARE: f64 = 0.125;
/// Where the client fetches itself, for the bytes of records, and what it keeps for a small one besides, which its
/// own limit does not count: about one and a half times the bytes of a record of 200.
const CLIENT_FETCH_SHARE: f64 = 0.25;
const CLIENT_FETCH_OVERHEAD: f64 = 2.5;
/// A batch may take this part of what is free beside all batches: many grow at the same time.
const FREE_PART: usize = 16;
/// Where an equal share is smaller than this, a lane begins a batch only while this part of all is free.
const SHARE_MIN: usize = 256 << 10;
const ROOM_PART: usize = 8;
const BATCH_BYTES_MIN: usize = 32 << 10;
const FETCH_BYTES_MIN: usize = 16 << 10;

/// The budget and its present split.
#[derive(Debug)]
pub struct Memory {
    budget_bytes: usize,
    batch_bytes_max: usize,
    lanes: AtomicUsize,
    /// Bytes in all batches.
    held: AtomicUsize,
    /// Bytes in what was fetched and is not read to its end.
    fetched: AtomicUsize,
    /// Of those who wait for room.
    gate: Mutex<()>,
    freed: Condvar,
}

/// What one batch holds, counted until it is dropped.
#[derive(Debug)]
pub struct Hold {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Hold {
    /// The batch holds so many bytes now.
    pub fn resize(&mut self, bytes: usize) {
        if bytes >= self.bytes {
            self.memory.held.fetch_add(bytes - self.bytes, Relaxed);
        } else {
            self.memory.held.fetch_sub(self.bytes - bytes, Relaxed);
            if self.memory.equal_share() < SHARE_MIN && self.memory.has_room() {
                // Nobody is between its look at the room and its wait.
                drop(self.memory.gate.lock().unwrap_or_else(PoisonError::into_inner));
                self.memory.freed.notify_one();
            }
        }
        self.bytes = bytes;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.resize(0);
    }
}

impl Memory {
    /// A budget, and the size at which a batch is closed at the latest.
    pub fn new(budget_bytes: usize, batch_bytes_max: usize) -> Self {
        Self {
            budget_bytes,
            batch_bytes_max,
            lanes: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            fetched: AtomicUsize::new(0),
            gate: Mutex::new(()),
            freed: Condvar::new(),
        }
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

    /// Counts a batch that takes so many bytes.
    pub fn hold_of(self: &Arc<Self>, bytes: usize) -> Hold {
        let mut hold = self.hold();
        hold.resize(bytes);
        hold
    }

    /// Counts a batch.
    pub fn hold(self: &Arc<Self>) -> Hold {
        Hold { memory: Arc::clone(self), bytes: 0 }
    }

    fn of_batches(&self) -> usize {
        (self.budget_bytes as f64 * BATCH_SHARE) as usize
    }

    fn free(&self) -> usize {
        self.of_batches().saturating_sub(self.held.load(Relaxed))
    }

    /// What each lane's two batches may always hold.
    fn equal_share(&self) -> usize {
        self.of_batches() / (2 * self.lanes.load(Relaxed).max(1))
    }

    /// The size at which a lane closes its batch, at this moment.
    pub fn batch_bytes(&self) -> usize {
        let share = self.equal_share().max(self.free() / FREE_PART);
        share.clamp(BATCH_BYTES_MIN, self.batch_bytes_max.max(BATCH_BYTES_MIN))
    }

    /// Whether a batch that is begun now would become one of a decent size.
    pub fn has_room(&self) -> bool {
        self.equal_share() >= SHARE_MIN || self.free() >= self.of_batches() / ROOM_PART
    }

    /// Waits for room, at most about so long.
    pub fn wait_for_room(&self, time: Duration) {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.has_room() {
            drop(self.freed.wait_timeout(gate, time));
        }
    }

    /// Bytes that were fetched and are not read to their end.
    pub fn fetched(&self) -> usize {
        self.fetched.load(Relaxed)
    }

    /// So many bytes were fetched.
    pub fn fetch(&self, bytes: usize) {
        self.fetched.fetch_add(bytes, Relaxed);
    }

    /// So many of them were read to their end.
    pub fn finish(&self, bytes: usize) {
        self.fetched.fetch_sub(bytes, Relaxed);
    }

    /// What may be fetched ahead for all partitions together, where that is counted.
    pub fn fetch_budget(&self) -> usize {
        (self.budget_bytes as f64 * FETCH_SHARE) as usize
    }

    /// What the client may fetch ahead for each of `partitions` partitions: with split queues
    /// `queued.max.messages.kbytes` is a limit for each partition, not for the client.
    pub fn fetch_bytes(&self, partitions: usize) -> usize {
        let share = self.budget_bytes as f64 * CLIENT_FETCH_SHARE / CLIENT_FETCH_OVERHEAD;
        (share as usize / partitions.max(1)).max(FETCH_BYTES_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: usize = 128 << 20;
    const BATCHES: usize = BUDGET / 10 * 4;

    fn memory(budget: usize, lanes: usize) -> Arc<Memory> {
        let memory = Arc::new(Memory::new(budget, 4 << 20));
        memory.add_lanes(lanes);
        memory
    }

    /// Each lane fills a batch, in turn a little, until all are full.
    #[test]
    fn the_batches_of_all_lanes_fit_into_their_part_of_the_budget() {
        for lanes in [1, 6, 64, 500] {
            let memory = memory(BUDGET, lanes);
            let mut holds: Vec<Hold> = (0..2 * lanes).map(|_| memory.hold()).collect();
            let mut grew = true;
            while std::mem::take(&mut grew) {
                for hold in &mut holds {
                    if hold.bytes < memory.batch_bytes() {
                        hold.resize(hold.bytes + 4096);
                        grew = true;
                    }
                }
            }
            let held = memory.held.load(Relaxed);
            assert!(held <= BATCHES + 2 * lanes * 4096, "{lanes} lanes: {held}");
            drop(holds);
            assert_eq!(memory.held.load(Relaxed), 0);
        }
    }

    #[test]
    fn few_of_many_lanes_have_large_batches() {
        let memory = memory(BUDGET, 500);
        let free = BATCHES / FREE_PART;
        assert!(memory.batch_bytes().abs_diff(free) < 16, "{}", memory.batch_bytes());
        let mut busy = memory.hold();
        busy.resize(BATCHES / 2);
        assert!(memory.batch_bytes().abs_diff(free / 2) < 16, "a part of what is left");
        busy.resize(BATCHES);
        assert_eq!(memory.batch_bytes(), BATCHES / 1000, "the share of each");
    }

    #[test]
    fn few_lanes_do_not_make_a_batch_larger_than_configured() {
        assert_eq!(memory(1 << 30, 1).batch_bytes(), 4 << 20);
    }

    #[test]
    fn lanes_that_leave_give_their_share_back() {
        let memory = memory(32 << 20, 4);
        let mut held = memory.hold();
        held.resize(32 << 20);
        let before = memory.batch_bytes();
        memory.add_lanes(4);
        assert_eq!(memory.batch_bytes(), before / 2);
        memory.remove_lanes(4);
        assert_eq!(memory.batch_bytes(), before);
    }

    #[test]
    fn only_of_hundreds_must_a_lane_wait_for_room() {
        for (lanes, waits) in [(6, false), (64, false), (500, true)] {
            let memory = memory(BUDGET, lanes);
            assert!(memory.has_room());
            let hold = memory.hold_of(BATCHES);
            assert_eq!(!memory.has_room(), waits, "{lanes}");
            drop(hold);
            assert!(memory.has_room());
        }
    }

    #[test]
    fn who_waits_for_room_is_woken_by_it() {
        let memory = memory(BUDGET, 500);
        let hold = memory.hold_of(BATCHES);
        let (sender, begun) = std::sync::mpsc::channel();
        let waiter = {
            let memory = Arc::clone(&memory);
            std::thread::spawn(move || {
                sender.send(()).unwrap();
                let mut waits = 0;
                while !memory.has_room() {
                    memory.wait_for_room(Duration::from_secs(600));
                    waits += 1;
                }
                waits
            })
        };
        begun.recv().unwrap();
        drop(hold);
        assert!(waiter.join().unwrap() <= 1);
    }
}
