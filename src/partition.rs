//! The work of one partition thread: decode a record once, encode it for each target, fill
//! batches, hand them to the writers.
//!
//! Knows nothing of Kafka: a source pushes records and calls [`Partition::tick`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::SendTimeoutError;

use crate::{
    batch::{Batch, BatchPolicy, Trigger},
    error::Error,
    failpoint::failpoint,
    intake::Decoder,
    lane::{Acknowledgement, Lane, Outcome},
    lane_feed::LaneFeed,
    mailbox::Receiver,
    memory::Memory,
    metrics,
    record::Record,
    selector::Selector,
    shutdown::Shutdown,
    sink::Flushed,
    spares::Spares,
    stage::{Stage, StageClock, ThreadClock},
    stop::Stop,
    watchdog::Heart,
};

/// The longest that a partition thread waits without a look at its orders.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// The longest pause between two questions to a schema registry that does not answer.
const SCHEMA_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How soon to look again when a batch is due but the one before it is still on its way.
const WAIT_FOR_WRITER: Duration = Duration::from_millis(2);

/// What one partition thread owns.
pub(crate) struct Partition {
    /// What the rows hold, in order.
    selectors: Vec<Selector>,
    decoder: Decoder,
    /// How often the decoder was replaced, or put to other records than the one that is pushed.
    turns: u64,
    lanes: Vec<LaneFeed>,
    acknowledgements: Receiver<Acknowledgement>,
    stop: Arc<Stop>,
    shutdown: Shutdown,
    memory: Arc<Memory>,
    spares: Arc<Spares>,
    policy: BatchPolicy,
    clock: ThreadClock,
    /// Bytes of keys and payloads that were taken in since the last time, and all of the source's.
    unpublished_bytes: u64,
    source_bytes: Arc<AtomicU64>,
}

/// What a partition thread shares with the rest of the engine.
pub(crate) struct PartitionParts {
    pub(crate) selectors: Vec<Selector>,
    pub(crate) decoder: Decoder,
    pub(crate) lanes: Vec<LaneFeed>,
    pub(crate) acknowledgements: Receiver<Acknowledgement>,
    pub(crate) stop: Arc<Stop>,
    pub(crate) shutdown: Shutdown,
    pub(crate) memory: Arc<Memory>,
    pub(crate) spares: Arc<Spares>,
    pub(crate) policy: BatchPolicy,
    pub(crate) clock: StageClock,
    pub(crate) source_bytes: Arc<AtomicU64>,
}

impl Partition {
    pub(crate) fn new(parts: PartitionParts) -> Self {
        let mut partition = Self {
            selectors: parts.selectors,
            decoder: parts.decoder,
            turns: 0,
            lanes: parts.lanes,
            acknowledgements: parts.acknowledgements,
            stop: parts.stop,
            shutdown: parts.shutdown,
            memory: parts.memory,
            spares: parts.spares,
            policy: parts.policy,
            clock: parts.clock.thread(Stage::Encode),
            unpublished_bytes: 0,
            source_bytes: parts.source_bytes,
        };
        partition.policy.bytes = partition.memory.batch_bytes();
        partition
    }

    /// The first offset that any lane still wants.
    pub(crate) fn position(&self) -> i64 {
        self.lanes.iter().map(|feed| feed.open.end).min().unwrap_or(0)
    }

    /// Whether the thread must end: it was told to, the engine failed, or a lane was taken over.
    pub(crate) fn must_stop(&self) -> bool {
        self.stop.is_requested()
            || self.shutdown.has_failed()
            || self.lanes.iter().any(|feed| feed.lane.is_closed())
    }

    /// Takes one record in. May block while a lane's earlier batch is not durable; a lane has not taken
    /// the record then if the thread must stop.
    pub(crate) fn push(&mut self, record: &Record<'_>, heart: &Heart) {
        if !self.prepare(record, heart) {
            return;
        }
        self.unpublished_bytes += record.bytes() as u64;
        let begins = |feed: &LaneFeed| feed.open.is_empty() && record.offset >= feed.open.end;
        if self.lanes.iter().any(begins) && !self.memory.has_room() {
            self.wait_for_room(heart);
        }
        let mut decoded = self.decoder.decode(record);
        let mut turn = self.turns;
        for index in 0..self.lanes.len() {
            // A lane that was further than the others when the partition was assigned has these.
            if record.offset < self.lanes[index].open.end {
                continue;
            }
            // For the lane before, other records were encoded anew: the spans are theirs.
            if turn != self.turns {
                decoded = self.decoder.decode_again(record);
                turn = self.turns;
            }
            let feed = &mut self.lanes[index];
            if feed.open.is_empty() {
                feed.begin(&self.spares);
            }
            let row = decoded.as_ref().map(|()| self.decoder.row(record));
            if let Some(wish) = feed.offer(record, row)
                && !self.take_with_change(index, record, wish, heart)
            {
                return;
            }
            failpoint!("record.encoded");
            if let Some(trigger) = self.lanes[index].open.is_full(&self.policy) {
                self.flush(index, trigger, None, heart);
            }
        }
    }

    /// Hundreds of lanes that all fill a batch would fill small ones, which are dear: this one waits for others'
    /// to be done with, though not for long. Their sink may stand still.
    #[cold]
    fn wait_for_room(&self, heart: &Heart) {
        self.enter(Stage::Send);
        let until = Instant::now() + WAIT_MAX;
        while !self.memory.has_room() && !self.must_stop() && Instant::now() < until {
            heart.beat();
            self.memory.wait_for_room(until.saturating_duration_since(Instant::now()));
        }
        self.enter(Stage::Encode);
    }

    /// Waits until what the record cannot be read without is there. False if an order to stop comes
    /// first: then the record is not taken, and whoever reads the lane next reads it.
    #[inline]
    fn prepare(&mut self, record: &Record<'_>, heart: &Heart) -> bool {
        self.decoder.prepare(record).is_ok() || self.wait_for_schema(record, heart)
    }

    #[cold]
    fn wait_for_schema(&mut self, record: &Record<'_>, heart: &Heart) -> bool {
        let mut pause = WAIT_MAX;
        loop {
            let until = Instant::now() + pause;
            while Instant::now() < until {
                if self.must_stop() {
                    return false;
                }
                self.enter(Stage::Poll);
                std::thread::sleep(WAIT_MAX.min(self.wait()).max(WAIT_FOR_WRITER));
                self.enter(Stage::Encode);
                // What came before it goes its way meanwhile.
                self.tick(heart);
            }
            if self.decoder.prepare(record).is_ok() {
                return true;
            }
            pause = (pause * 2).min(SCHEMA_PAUSE_MAX);
        }
    }

    /// Housekeeping between records: collects acknowledgements and closes batches that are due.
    pub(crate) fn tick(&mut self, heart: &Heart) {
        heart.beat();
        self.policy.bytes = self.memory.batch_bytes();
        while let Some(acknowledgement) = self.acknowledgements.try_recv() {
            self.settle(acknowledgement);
        }
        self.encode_stale(heart);
        let now = Instant::now();
        for index in 0..self.lanes.len() {
            let feed = &self.lanes[index];
            let due = feed.deadline(&self.policy).is_some_and(|deadline| deadline <= now);
            if due && !feed.frontier.is_pending() {
                self.flush(index, Trigger::Age, None, heart);
            }
        }
        self.publish();
    }

    /// How long the source may wait for a record before the next tick is due.
    pub(crate) fn wait(&self) -> Duration {
        let now = Instant::now();
        let mut wait = WAIT_MAX;
        for feed in &self.lanes {
            if let Some(deadline) = feed.deadline(&self.policy) {
                let left = deadline.saturating_duration_since(now);
                let due_but_blocked = left.is_zero() && feed.frontier.is_pending();
                wait = wait.min(if due_but_blocked { WAIT_FOR_WRITER } else { left });
            }
        }
        wait
    }

    /// Whether no lane has anything in hand, nor waits for a writer.
    pub(crate) fn is_idle(&self) -> bool {
        self.lanes.iter().all(|feed| feed.open.is_empty() && !feed.frontier.is_pending())
    }

    /// What the thread does from now on, where the source knows it: `Poll` while it waits for a record,
    /// else `Encode`.
    pub(crate) fn enter(&self, stage: Stage) {
        self.clock.enter(stage);
    }

    /// Whether a lane has nothing in hand, and yet a lag: what is left may be no record.
    pub(crate) fn may_be_at_end(&self) -> bool {
        self.lanes.iter().any(|feed| {
            feed.open.is_empty()
                && !feed.frontier.is_pending()
                && feed.lane.standing().lag().is_some_and(|lag| lag > 0)
        })
    }

    /// The source has delivered everything up to `end`: what lies between the last record and it is none
    /// (marks of transactions, records of aborted ones).
    pub(crate) fn reach_end(&self, end: i64) {
        for feed in &self.lanes {
            feed.lane.reach_end(feed.open.end, end);
        }
    }

    /// Closes what is open and waits until it is durable, at most until the deadline of the order
    /// to stop. Says whether everything is.
    pub(crate) fn drain(&mut self, heart: &Heart) -> bool {
        let Some((trigger, deadline)) = self.stop.order() else { return false };
        let mut drained = true;
        for index in 0..self.lanes.len() {
            if self.lanes[index].open.records > 0 {
                self.flush(index, trigger, Some(deadline), heart);
            }
        }
        for index in 0..self.lanes.len() {
            drained &= self.wait_until_settled(index, Some(deadline), heart)
                && self.lanes[index].open.is_empty();
        }
        self.publish();
        drained
    }

    /// Hands the open batch of a lane to the writers. Leaves it open if an order to stop comes
    /// first, or past the deadline.
    fn flush(&mut self, index: usize, trigger: Trigger, deadline: Option<Instant>, heart: &Heart) {
        self.publish();
        if !self.wait_until_settled(index, deadline, heart)
            || deadline.is_some_and(|deadline| Instant::now() >= deadline)
        {
            return;
        }
        let feed = &mut self.lanes[index];
        let (records, letters) = (feed.open.records, &feed.open.dead_letters);
        if let Err(tripped) = feed.breaker.check(records, letters.len() as u64) {
            // Nothing of this batch is written, so it is all there for the next start.
            self.shutdown.fail(feed.halt(tripped, letters.last()));
            return;
        }
        let end = feed.open.end;
        if let Err(broken) = feed.depart() {
            let key = &feed.lane.key;
            self.shutdown.fail(Error::software(format!(
                "{}[{}] to {}: the batch {:?} does not continue at offset {}",
                key.topic, key.partition, key.target, broken.found, broken.expected
            )));
            return;
        }
        // It gets its buffers with its first record.
        let mut batch = std::mem::replace(&mut feed.open, Batch::new(end));
        batch.trigger = trigger;
        metrics::batch_closed(trigger, batch.rows(), batch.encoded_bytes());
        failpoint!("batch.closed");
        self.send(index, batch, heart);
    }

    /// Hands a batch to the writers, which has departed.
    fn send(&mut self, index: usize, mut batch: Batch, heart: &Heart) {
        batch.hold = Some(self.memory.hold_of(batch.capacity()));
        self.publish();
        let feed = &self.lanes[index];
        let (lane, target) = (Arc::clone(&feed.lane), feed.target.id());
        let (queue, sent_at) = (feed.queue.clone(), feed.departed_at());
        let flushed = Flushed { lane, target, batch, sent_at, outcome: None };
        let Err(full) = queue.try_send(flushed) else { return };
        let mut flushed = full.into_inner();
        self.clock.enter(Stage::Send);
        loop {
            heart.beat();
            flushed = match queue.send_timeout(flushed, WAIT_MAX) {
                Ok(()) => break,
                Err(SendTimeoutError::Timeout(back)) if !self.is_given_up(&back.lane) => back,
                // The batch is read again by whoever reads the lane next.
                Err(SendTimeoutError::Timeout(back) | SendTimeoutError::Disconnected(back)) => {
                    back.lane.cancel();
                    break;
                }
            };
        }
        self.clock.enter(Stage::Encode);
    }

    /// Whether nobody waits any more for what the lane still holds: it is closed, the engine has
    /// failed, or the deadline of the order to stop is over.
    fn is_given_up(&self, lane: &Lane) -> bool {
        lane.is_closed()
            || self.shutdown.has_failed()
            || self.stop.order().is_some_and(|(_, deadline)| Instant::now() >= deadline)
    }

    /// Waits until the lane has no batch on its way. False if it must not be waited for any more.
    fn wait_until_settled(
        &mut self,
        index: usize,
        deadline: Option<Instant>,
        heart: &Heart,
    ) -> bool {
        while let Some(acknowledgement) = self.acknowledgements.try_recv() {
            self.settle(acknowledgement);
        }
        self.encode_stale(heart);
        let is_blocked = self.lanes[index].frontier.is_pending();
        if is_blocked {
            self.clock.enter(Stage::Send);
        }
        while self.lanes[index].frontier.is_pending() {
            let given_up = match deadline {
                Some(deadline) => Instant::now() >= deadline || self.shutdown.has_failed(),
                None => self.must_stop(),
            };
            if given_up || self.lanes[index].lane.is_closed() {
                break;
            }
            if let Some(acknowledgement) = self.acknowledgements.recv_timeout(WAIT_MAX) {
                self.settle(acknowledgement);
                self.encode_stale(heart);
            }
            heart.beat();
        }
        if is_blocked {
            self.clock.enter(Stage::Encode);
        }
        !self.lanes[index].frontier.is_pending() && !self.lanes[index].lane.is_closed()
    }

    fn settle(&mut self, acknowledgement: Acknowledgement) {
        let feed = &mut self.lanes[acknowledgement.index];
        if acknowledgement.outcome == Outcome::Durable {
            feed.arrive(acknowledgement.at);
            // With those that the sink has refused.
            let Batch { records, dead_letters: letters, .. } = &acknowledgement.batch;
            feed.note_letters(letters);
            if let Err(tripped) = feed.breaker.add(*records, letters.len() as u64) {
                self.shutdown.fail(feed.halt(tripped, letters.last()));
            }
        }
        match acknowledgement.outcome {
            Outcome::Stale => feed.stale = Some(acknowledgement.batch),
            _ => self.spares.put(acknowledgement.batch),
        }
    }

    fn publish(&mut self) {
        self.source_bytes.fetch_add(std::mem::take(&mut self.unpublished_bytes), Relaxed);
        for feed in &mut self.lanes {
            feed.publish();
        }
    }
}

mod adapting;

#[cfg(test)]
mod changes;
#[cfg(test)]
mod histories;

#[cfg(test)]
mod tests;
