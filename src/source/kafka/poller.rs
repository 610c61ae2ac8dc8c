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
    sync::{Arc, atomic::AtomicBool},
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
/// How long the consumer may take to leave the group and close.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// How long a member may keep a lane that another owner has claimed: longer than the group needs to
/// find out by itself that this member was gone (session.timeout.ms is 45 s).
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
        }
    }

    pub(super) fn run(mut self, heart: &Heart) {
        let mut committed_at = Instant::now();
        while !self.context.shutdown.is_requested() {
            heart.beat();
            if let Err(error) = self.turn(heart) {
                self.context.shutdown.fail(error);
            }
            if committed_at.elapsed() >= self.config.commit_interval {
                committed_at = Instant::now();
                self.commit(CommitMode::Async);
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
                Rebalance::Revoke(partitions) => self.revoke(&partitions, heart),
            }
        }
        while let Ok((number, found)) = self.found.1.try_recv() {
            let Some(pending) = self.assignment.take_pending(number) else { continue };
            if let Some(starts) = found? {
                self.assign(&pending, starts)?;
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
        let wanted = keys.clone();
        let thread =
            self.context.watchdog.spawn(&format!("claim-{}", self.name), move |heart| {
                let note = |reason: &str| {
                    heart.beat();
                    status.set_source(&name, SourceState::Claiming { reason: reason.to_owned() });
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
    fn assign(&mut self, pending: &Pending, starts: Starts) -> Result<(), Error> {
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
    fn revoke(&mut self, partitions: &TopicPartitionList, heart: &Heart) {
        // Cleared by the unassign below.
        let lost = self.consumer.assignment_lost();
        metrics::rebalance(if lost { "lost" } else { "revoke" });
        let keys = keys_of(partitions);
        tracing::info!(source = self.name, partitions = keys.len(), lost, "revoked");
        // What was lost has another owner already: nothing is worth waiting for.
        let deadline = if lost { Instant::now() } else { self.context.drain_deadline() };
        self.assignment.stop(&keys, Trigger::Revoke, deadline);
        self.assignment.join(&keys, || heart.beat());
        if !lost {
            self.commit(CommitMode::Sync);
        }
        self.assignment.release(&keys, &self.context.status);
        self.call_unassign(partitions);
        self.tell_state();
    }

    /// Stores the frontiers and commits them.
    fn commit(&mut self, mode: CommitMode) {
        match self.assignment.moved_frontiers() {
            Ok(moved) if moved.count() > 0 => {
                // A partition that librdkafka no longer counts as assigned is refused by itself:
                // its next owner decides.
                if let Err(error) = self.consumer.store_offsets(&moved) {
                    tracing::debug!(source = self.name, "offsets not stored: {error}");
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(source = self.name, "cannot list the frontiers: {error}");
                return;
            }
        }
        // Also if nothing has moved: a commit that failed (in the middle of a rebalance, say) is
        // made good by the next, and one that has nothing to say is not sent.
        match self.consumer.commit_consumer_state(mode) {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => {
                metrics::offset_commit(false);
                tracing::warn!(source = self.name, "offsets not committed: {error}");
            }
        }
    }

    fn call_assign(&self, partitions: &TopicPartitionList) -> Result<(), Error> {
        let called = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_assign(partitions),
            _ => self.consumer.assign(partitions),
        };
        called.map_err(|error| self.broken(&error))
    }

    fn call_unassign(&self, partitions: &TopicPartitionList) {
        let called = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_unassign(partitions),
            _ => self.consumer.unassign(),
        };
        if let Err(error) = called {
            tracing::warn!(source = self.name, "unassign: {error}");
        }
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
        if self.context.shutdown.has_failed() {
            self.assignment.stop(&keys, Trigger::Shutdown, Instant::now());
            self.assignment.join(&keys, || heart.beat());
        } else {
            self.assignment.stop(&keys, Trigger::Shutdown, self.context.drain_deadline());
            self.assignment.join(&keys, || heart.beat());
            self.commit(CommitMode::Sync);
        }
        self.assignment.release(&keys, &self.context.status);
        let was_pending = !self.assignment.pending.is_empty();
        for pending in self.assignment.pending.drain(..) {
            pending.cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
            while !pending.thread.is_finished() {
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
