//! The poller: owns the main queue, and with it the membership in the group.
//!
//! It never waits for the data path, but for a bounded drain when partitions are taken away: librdkafka
//! sends the heartbeats from a thread of its own meanwhile.
//!
//! Stored offsets and the end of an assignment are both the poller's business alone, on one thread:
//! so no late answer can store an offset for a partition that went elsewhere. Offsets are stored
//! (`store_offsets`, checked against the assignment by librdkafka) and committed as a state, never by a
//! list: a list is checked only against the group's generation, and could move a partition that
//! another member owns by then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _, RebalanceProtocol},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{
    assignment::{Assignment, Owned, Pending},
    client::{Client, Rebalance},
    partition::{PartitionReader, shown},
    position::{PartitionKey, Positions, Starts},
    watermark::Watermarks,
};
use crate::{
    batch::Trigger,
    config::KafkaSource as Config,
    error::{Error, ErrorKind},
    metrics,
    route::{Context, LaneStart, OpenPartition, Route},
    sink::Group,
    status::SourceState,
    watchdog::Heart,
};

const POLL_MAX: Duration = Duration::from_millis(50);
/// How long a commit may take when partitions are given up.
const COMMIT_MAX: Duration = Duration::from_secs(5);
/// How long the consumer may take to leave the group and close.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// How long a member may keep a lane that another owner has claimed: longer than the group needs to
/// find out by itself that this member was gone (session.timeout.ms).
const FENCED_MAX: Duration = Duration::from_secs(60);

type Found = (u64, Result<Option<Starts>, Error>);

pub(super) struct Poller {
    name: String,
    config: Config,
    consumer: Arc<BaseConsumer<Client>>,
    group: Arc<Group>,
    routes: Vec<Arc<Route>>,
    context: Context,
    assignment: Assignment,
    found: (Sender<Found>, Receiver<Found>),
    next_pending: u64,
    fenced_since: Option<Instant>,
    ended: Arc<AtomicBool>,
    watermarks: Option<JoinHandle<()>>,
}

impl Poller {
    pub(super) fn new(
        name: &str,
        config: Config,
        consumer: Arc<BaseConsumer<Client>>,
        group: Arc<Group>,
        routes: Vec<Arc<Route>>,
        context: Context,
    ) -> Self {
        Self {
            name: name.to_owned(),
            config,
            consumer,
            group,
            routes,
            context,
            assignment: Assignment::default(),
            found: crossbeam_channel::unbounded(),
            next_pending: 0,
            fenced_since: None,
            ended: Arc::default(),
            watermarks: None,
        }
    }

    pub(super) fn run(mut self, heart: &Heart) {
        let mut committed_at = Instant::now();
        let watermarks = Watermarks {
            consumer: Arc::clone(&self.consumer),
            topics: self.routes.iter().flat_map(|route| route.topics.clone()).collect(),
            status: Arc::clone(&self.context.status),
            ended: Arc::clone(&self.ended),
        };
        let name = format!("lag-{}", self.name);
        match self.context.watchdog.spawn(&name, move |heart| watermarks.run(heart)) {
            Ok(thread) => self.watermarks = Some(thread),
            Err(error) => self.context.shutdown.fail(error),
        }
        while !self.context.shutdown.is_requested() {
            heart.beat();
            if let Err(error) = self.turn(heart) {
                self.context.shutdown.fail(error);
            }
            if committed_at.elapsed() >= self.config.commit_interval {
                committed_at = Instant::now();
                self.commit();
            }
        }
        self.close(heart);
    }

    /// One look at everything that may have happened.
    fn turn(&mut self, heart: &Heart) -> Result<(), Error> {
        self.poll()?;
        while let Some(rebalance) = self.consumer.context().next_rebalance() {
            match rebalance {
                Rebalance::Assign(partitions) => self.prepare(&partitions)?,
                Rebalance::Revoke(partitions) => self.revoke(&partitions, heart)?,
            }
        }
        while let Ok((number, found)) = self.found.1.try_recv() {
            let Some(pending) = self.assignment.take_pending(number) else { continue };
            if let Some(starts) = found? {
                self.assign(&pending, starts, heart)?;
            }
        }
        self.watch_fences()
    }

    /// Serves the main queue: callbacks, and errors of the client as a whole.
    fn poll(&self) -> Result<(), Error> {
        match self.consumer.poll(POLL_MAX) {
            None => Ok(()),
            Some(Ok(message)) => {
                use rdkafka::Message as _;
                Err(Error::software(format!(
                    "source {}: {}[{}] was delivered to the main queue; its own queue was not split",
                    self.name,
                    message.topic(),
                    message.partition()
                )))
            }
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => Err(Error::new(
                ErrorKind::Temporary,
                format!("source {}: the Kafka client cannot go on: {code}", self.name),
            )),
            Some(Err(error)) => self.answer(&error),
        }
    }

    fn answer(&self, error: &KafkaError) -> Result<(), Error> {
        let code = error.rdkafka_error_code();
        metrics::kafka_error(&code.map_or_else(|| "other".to_owned(), |code| format!("{code:?}")));
        let denied = [
            RDKafkaErrorCode::GroupAuthorizationFailed,
            RDKafkaErrorCode::TopicAuthorizationFailed,
            RDKafkaErrorCode::Authentication,
        ];
        if code.is_some_and(|code| denied.contains(&code)) {
            let text = format!("source {}: {error}; group {}", self.name, self.group.name);
            return Err(Error::new(ErrorKind::Permission, text));
        }
        tracing::warn!(source = self.name, "kafka: {error}");
        Ok(())
    }

    /// Partitions were assigned: looks for their positions, on a thread of its own.
    fn prepare(&mut self, partitions: &TopicPartitionList) -> Result<(), Error> {
        metrics::rebalance("assign");
        let keys = keys_of(partitions);
        tracing::info!(source = self.name, partitions = keys.len(), "assigned");
        if keys.is_empty() {
            // The group waits for the call all the same.
            self.call_assign(&TopicPartitionList::new())?;
            self.tell_state();
            return Ok(());
        }
        let number = self.next_pending;
        self.next_pending += 1;
        let cancelled = Arc::new(AtomicBool::new(false));
        let positions = Positions {
            consumer: Arc::clone(&self.consumer),
            group: Arc::clone(&self.group),
            start: self.config.start,
            routes: self.routes.clone(),
            cancelled: Arc::clone(&cancelled),
        };
        let (sender, status, name) =
            (self.found.0.clone(), Arc::clone(&self.context.status), self.name.clone());
        let (wanted, waiting) = (keys.clone(), Arc::clone(&cancelled));
        let thread =
            self.context.watchdog.spawn(&format!("claim-{}", self.name), move |heart| {
                let note = |reason: &str| {
                    heart.beat();
                    if !waiting.load(Relaxed) {
                        let reason = reason.to_owned();
                        status.set_source(&name, SourceState::Claiming { reason });
                    }
                };
                let found = positions.find(&wanted, &note);
                // The poller waits for this thread before it lets go of the consumer.
                drop(positions);
                let _ = sender.send((number, found));
            })?;
        let partitions = keys.into_iter().collect();
        self.assignment.pending.push(Pending { number, partitions, cancelled, thread });
        Ok(())
    }

    /// The positions are known: splits the queues, assigns, and starts the threads, in that order.
    /// A queue that is split after the assignment would have leaked records to the main queue
    /// (rd_kafka_toppar_op_fetch_start forwards it unless it is split already); and once assigned
    /// with its position, a partition needs no seek.
    fn assign(&mut self, pending: &Pending, starts: Starts, heart: &Heart) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        let mut readers = Vec::new();
        for (key, starts) in starts {
            if !pending.partitions.contains(&key) {
                continue;
            }
            let position = starts.iter().map(|start| start.position).min().unwrap_or(0);
            let added = list.add_partition_offset(&key.0, key.1, Offset::Offset(position));
            added.map_err(|error| self.broken(&error))?;
            readers.push((key.clone(), self.reader(&key, &starts)?));
        }
        self.call_assign(&list)?;
        for (key, (reader, OpenPartition { partition, lanes, stop })) in readers {
            let thread = reader.spawn(partition)?;
            self.assignment.insert(key, Owned { lanes, stop, thread });
        }
        // A position that was only just found (`start = "latest"`) is a position from here on: after
        // a crash it must not be looked for again further on.
        self.commit_and_wait(heart);
        self.tell_state();
        Ok(())
    }

    /// Splits the queue of a partition and opens its lanes.
    fn reader(
        &self,
        (topic, number): &PartitionKey,
        starts: &[LaneStart],
    ) -> Result<(PartitionReader, OpenPartition), Error> {
        let route = self
            .routes
            .iter()
            .find(|route| route.topics.iter().any(|known| **known == **topic))
            .ok_or_else(|| Error::software(format!("assigned {topic}, which no route reads")))?;
        let queue = self
            .consumer
            .split_partition_queue(topic, *number)
            .ok_or_else(|| Error::software(format!("no queue for {topic}[{number}]")))?;
        let open = route.open_partition(topic, *number, &self.group, starts, &self.context)?;
        let reader = PartitionReader {
            queue,
            topic: Arc::clone(topic),
            number: *number,
            wants_headers: route.wants_headers(),
            context: self.context.clone(),
        };
        Ok((reader, open))
    }

    /// Partitions are taken away: drains what is in flight, stores how far it came, lets go.
    fn revoke(&mut self, partitions: &TopicPartitionList, heart: &Heart) -> Result<(), Error> {
        // Cleared by the unassign below.
        let lost = self.consumer.assignment_lost();
        metrics::rebalance(if lost { "lost" } else { "revoke" });
        let keys = keys_of(partitions);
        tracing::info!(source = self.name, partitions = keys.len(), lost, "revoked");
        // What was lost has another owner already: nothing is worth waiting for.
        let deadline = if lost { Instant::now() } else { self.context.drain_deadline() };
        self.assignment.stop(&keys, Trigger::Revoke, deadline);
        self.assignment.join(&keys, deadline, || heart.beat());
        if !lost {
            self.commit_and_wait(heart);
        }
        self.assignment.release(&keys, &self.context.status);
        self.call_unassign(partitions)?;
        self.tell_state();
        Ok(())
    }

    /// Stores the frontiers, moved or not: a commit that failed is made good by the next, and
    /// librdkafka itself leaves out what it knows to be committed.
    fn store(&self) {
        let frontiers = match self.assignment.frontiers() {
            Ok(frontiers) if frontiers.count() == 0 => return,
            Ok(frontiers) => frontiers,
            Err(error) => {
                tracing::warn!(source = self.name, "cannot list the frontiers: {error}");
                return;
            }
        };
        // A partition that librdkafka no longer counts as assigned is refused by itself: its next
        // owner decides.
        if let Err(error) = self.consumer.store_offsets(&frontiers) {
            tracing::debug!(source = self.name, "offsets not stored: {error}");
        }
    }

    fn commit(&self) {
        self.store();
        commit_stored(&self.consumer, CommitMode::Async);
    }

    /// Commits and waits for the answer, but not for ever: with the coordinator away, the client
    /// would wait as long as it takes. What is not committed is read again at least once, or not
    /// at all where the sink keeps checkpoints.
    fn commit_and_wait(&self, heart: &Heart) {
        self.store();
        let consumer = Arc::clone(&self.consumer);
        let commit = std::thread::spawn(move || commit_stored(&consumer, CommitMode::Sync));
        let deadline = Instant::now() + COMMIT_MAX;
        while !commit.is_finished() {
            heart.beat();
            if Instant::now() >= deadline {
                tracing::warn!(
                    source = self.name,
                    "the offsets were not committed in {COMMIT_MAX:?}"
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn call_assign(&self, partitions: &TopicPartitionList) -> Result<(), Error> {
        let called = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_assign(partitions),
            _ => self.consumer.assign(partitions),
        };
        called.map_err(|error| self.broken(&error))
    }

    fn call_unassign(&self, partitions: &TopicPartitionList) -> Result<(), Error> {
        let called = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_unassign(partitions),
            _ => self.consumer.unassign(),
        };
        // Without this call the group would wait for ever: a restart joins it afresh.
        called.map_err(|error| Error::new(ErrorKind::Temporary, self.broken(&error).message))
    }

    fn broken(&self, error: &KafkaError) -> Error {
        Error::software(format!("source {}: the Kafka client refuses: {error}", self.name))
    }

    /// A lane that another owner has claimed is dead here. The group tells this member soon that it
    /// was away; if it does not, two deployments share a name.
    fn watch_fences(&mut self) -> Result<(), Error> {
        let Some(lane) = self.assignment.fenced() else {
            self.fenced_since = None;
            return Ok(());
        };
        let since = *self.fenced_since.get_or_insert_with(Instant::now);
        if since.elapsed() < FENCED_MAX {
            return Ok(());
        }
        let (lane, group) = (shown(&lane.key), &self.group.name);
        Err(Error::new(
            ErrorKind::Temporary,
            format!(
                "{lane}: another process has claimed this lane, but group {group} still counts it as \
                 ours; do two deployments write to the same table in the name of {group}?"
            ),
        ))
    }

    fn tell_state(&self) {
        let partitions = self.assignment.len();
        self.context.status.set_source(&self.name, SourceState::Running { partitions });
    }

    /// The end: drain, commit, leave the group, close.
    fn close(mut self, heart: &Heart) {
        let keys = self.assignment.keys();
        let failed = self.context.shutdown.has_failed();
        let deadline = if failed { Instant::now() } else { self.context.drain_deadline() };
        self.assignment.stop(&keys, Trigger::Shutdown, deadline);
        self.assignment.join(&keys, deadline, || heart.beat());
        if !failed {
            self.commit_and_wait(heart);
        }
        self.assignment.release(&keys, &self.context.status);
        let was_pending = !self.assignment.pending.is_empty();
        // Whoever else holds the consumer ends before it is closed.
        self.ended.store(true, Relaxed);
        let pending = self.assignment.pending.drain(..).map(|pending| {
            pending.cancelled.store(true, Relaxed);
            pending.thread
        });
        for thread in pending.chain(self.watermarks.take()) {
            while !thread.is_finished() {
                heart.beat();
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.consumer.context().close();
        if was_pending && let Err(error) = self.call_assign(&TopicPartitionList::new()) {
            // The group waits for the call; closing the consumer would wait with it.
            tracing::debug!("{error}");
        }
        self.context.status.set_source(&self.name, SourceState::Finished);
        self.drop_consumer(heart);
    }

    /// Dropping the consumer closes it, which waits for the group without a limit of its own.
    fn drop_consumer(self, heart: &Heart) {
        let name = self.name.clone();
        let closer = std::thread::spawn(move || drop(self));
        let deadline = Instant::now() + CLOSE_MAX;
        while !closer.is_finished() {
            heart.beat();
            if Instant::now() >= deadline {
                tracing::warn!(
                    source = name,
                    "the consumer did not close within {CLOSE_MAX:?}; left behind"
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn keys_of(partitions: &TopicPartitionList) -> Vec<PartitionKey> {
    partitions
        .elements()
        .iter()
        .map(|element| (Arc::from(element.topic()), element.partition()))
        .collect()
}

/// Commits what is stored. An asynchronous commit's answer goes to a callback that the client serves
/// only where one is set in its C configuration (rd_kafka_cgrp_propagate_commit_result); a commit
/// that failed is made good by the next.
fn commit_stored(consumer: &BaseConsumer<Client>, mode: CommitMode) {
    match consumer.commit_consumer_state(mode) {
        Ok(()) => metrics::offset_commit(true),
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        Err(error) => {
            metrics::offset_commit(false);
            tracing::warn!("offsets not committed: {error}");
        }
    }
}
