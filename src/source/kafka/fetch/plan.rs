//! Which partitions a broker is asked for, and how much of them.
//!
//! Pure: no I/O, and the clock is passed in.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use rdkafka::error::RDKafkaErrorCode;

use super::{Inbox, lock, wire::Asked};

/// The most of one partition in one answer, also where there are hundreds: each piece makes a batch and wakes up
/// threads. Batches are not cut: what is less than a batch brings nothing, and librdkafka's producers fill batches of
/// up to 1 MB.
const PARTITION_MAX: usize = 512 << 10;
/// The most of one answer.
const ANSWER_MAX: usize = 2 << 20;
/// What a partition may have when others keep what they have: else one sink that stands still would be the
/// end of all that is read beside it.
const RESERVE: usize = 64 << 10;
const STILL: Duration = Duration::from_secs(1);

/// One partition that is fetched.
pub(super) struct Slot {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Of the last batch that was fetched, or -1.
    pub(super) leader_epoch: i32,
    pub(super) leader: Leader,
    pub(super) retry_at: Option<Instant>,
    /// It has failed for good.
    pub(super) is_over: bool,
    /// When it was given something last.
    pub(super) turn: u64,
    /// Where the records end that may be read, as of the last answer.
    pub(super) end: i64,
    /// Since when its offset is said not to be there.
    pub(super) doubted_since: Option<Instant>,
    pub(super) inbox: Arc<Inbox>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leader {
    Unknown,
    Broker(i32),
}

impl Slot {
    pub(super) fn new(topic: Arc<str>, partition: i32, offset: i64, inbox: Arc<Inbox>) -> Self {
        Self {
            topic,
            partition,
            offset,
            leader_epoch: -1,
            leader: Leader::Unknown,
            retry_at: None,
            is_over: false,
            turn: 0,
            end: 0,
            doubted_since: None,
            inbox,
        }
    }

    /// It cannot be read on.
    pub(super) fn fail(&mut self, fault: RDKafkaErrorCode) {
        self.is_over = true;
        lock(&self.inbox.content).fault = Some((fault, self.offset));
        self.inbox.came.notify_all();
    }
}

/// What is known of the memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    pub(super) bytes_max: usize,
    pub(super) held: usize,
    /// For how long nothing was given back.
    pub(super) still_for: Duration,
    /// It was so for long, and is still full: who has nothing gets a little.
    pub(super) is_tight: bool,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The slots to ask for, in this order, with what each may bring, and all of them.
    Ask {
        slots: Vec<(u64, usize)>,
        bytes_max: usize,
        /// Others are left out, as they have enough.
        others_have_enough: bool,
        /// Only a little, as the memory is full and stays so.
        is_tight: bool,
    },
    /// Nothing, unless something changes or this time is over.
    Wait(Duration),
}

/// The longest wait.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// What `broker` is asked for.
pub(super) fn plan(slots: &BTreeMap<u64, Slot>, broker: i32, pool: Pool, now: Instant) -> Plan {
    let share = (pool.bytes_max / slots.len().max(1)).clamp(RESERVE, 2 * PARTITION_MAX);
    let free = pool.bytes_max.saturating_sub(pool.held);
    let is_full = free < PARTITION_MAX && pool.held > 0;
    if is_full && pool.still_for < STILL && !pool.is_tight {
        return Plan::Wait(STILL.saturating_sub(pool.still_for).min(WAIT_MAX));
    }
    let (mut wait, mut others_have_enough) = (WAIT_MAX, false);
    let mut wanted: Vec<(u64, &Slot)> = Vec::new();
    for (number, slot) in slots {
        if slot.leader != Leader::Broker(broker) || slot.is_over {
            continue;
        }
        if let Some(left) = slot.retry_at.and_then(|at| at.checked_duration_since(now))
            && !left.is_zero()
        {
            wait = wait.min(left);
            continue;
        }
        let waiting = slot.inbox.waiting_bytes.load(Relaxed);
        let held = waiting + slot.inbox.reading_bytes.load(Relaxed);
        // One that stands still holds its share, or what came at once, and no more.
        let is_wanted = held == 0 || !is_full && held + PARTITION_MAX <= share;
        if is_wanted {
            wanted.push((*number, slot));
        } else {
            others_have_enough = true;
        }
    }
    if wanted.is_empty() {
        return Plan::Wait(wait);
    }
    wanted.sort_by_key(|(_, slot)| slot.turn);
    let (partition_max, bytes_max) =
        if is_full { (RESERVE, ANSWER_MAX) } else { (PARTITION_MAX, free.min(ANSWER_MAX)) };
    // Those that are known to have more, though not how much, are enough at some number.
    let mut expected = 0;
    let enough = |(_, slot): &(u64, &Slot)| {
        let before = expected;
        expected += if slot.offset < slot.end { partition_max / 4 } else { 0 };
        before < bytes_max
    };
    let slots =
        wanted.into_iter().take_while(enough).map(|(number, _)| (number, partition_max)).collect();
    Plan::Ask { slots, bytes_max, others_have_enough, is_tight: is_full }
}

/// The partitions by topic, topics in the order of their first partition.
pub(super) fn by_topic(
    slots: &BTreeMap<u64, Slot>,
    order: &[(u64, usize)],
) -> Vec<(Arc<str>, Vec<Asked>)> {
    let mut topics: Vec<(Arc<str>, Vec<Asked>)> = Vec::new();
    for (number, bytes_max) in order {
        let Some(slot) = slots.get(number) else { continue };
        let asked = Asked {
            partition: slot.partition,
            offset: slot.offset,
            leader_epoch: slot.leader_epoch,
            bytes_max: *bytes_max as i32,
        };
        match topics.iter_mut().find(|(topic, _)| *topic == slot.topic) {
            Some((_, partitions)) => partitions.push(asked),
            None => topics.push((Arc::clone(&slot.topic), vec![asked])),
        }
    }
    topics
}

#[cfg(test)]
mod tests;
