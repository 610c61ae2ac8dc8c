//! The poller: owns the main queue, and with it the membership in the group.
//!
//! It never waits for the data path, but for a bounded drain when partitions are taken away: librdkafka
//! sends the heartbeats from a thread of its own meanwhile.

use std::{
    collections::BTreeMap,
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
    consumer::{BaseConsumer, Consumer as _, RebalanceProtocol},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{
    assignment::{Assignment, Owned, Pending, Purpose},
    audit::Audit,
    client::{Client, Rebalance},
    fetch::{Fetcher, Settings},
    partition::PartitionReader,
    position::{PartitionKey, Positions, Starts},
    queue::PartitionQueue,
    records::Records,
    watermark::Watermarks,
};
use crate::{
    batch::Trigger,
    config::KafkaSource as Config,
    error::{Error, ErrorKind},
    failpoint::failpoint,
    metrics,
    route::{Context, LaneStart, OpenPartition, Reading, Route},
    sink::Group,
    status::SourceState,
    watchdog::Heart,
};

const POLL_MAX: Duration = Duration::from_millis(50);
/// While positions are being found, which nothing in the queue tells of.
const POLL_PENDING_MAX: Duration = Duration::from_millis(2);
/// How long the consumer may take to leave the group and close: with the commit's 5 s, less than 10 s
/// besides the drain. A member that did not leave is gone when its session has run out.
const CLOSE_MAX: Duration = Duration::from_secs(4);
type Found = (u64, Result<Option<Starts>, Error>);

/// A partition that is ready to be read.
pub(super) type Reader = (PartitionKey, PartitionReader, OpenPartition);

pub(super) struct Poller {
    pub(super) name: String,
    config: Config,
    pub(super) consumer: Arc<BaseConsumer<Client>>,
    pub(super) group: Arc<Group>,
    routes: Vec<Arc<Route>>,
    pub(super) context: Context,
    pub(super) assignment: Assignment,
    found: (Sender<Found>, Receiver<Found>),
    next_pending: u64,
    /// When lanes of a partition were last claimed again after another owner had claimed them.
    pub(super) reclaimed_at: BTreeMap<PartitionKey, Instant>,
    ended: Arc<AtomicBool>,
    /// Unless the client is to fetch itself.
    pub(super) fetcher: Option<Fetcher>,
    /// The threads beside this one that hold the consumer or the lanes.
    companions: Vec<JoinHandle<()>>,
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
            reclaimed_at: BTreeMap::new(),
            ended: Arc::default(),
            fetcher: None,
            companions: Vec::new(),
        }
    }

    pub(super) fn run(mut self, heart: &Heart) {
        let mut committed_at = Instant::now();
        if let Err(error) = self.start_companions() {
            self.context.shutdown.fail(error);
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

    fn start_companions(&mut self) -> Result<(), Error> {
        if let Some(settings) = Settings::of(&self.config, &self.context.memory) {
            let (name, consumer) = (&self.name, Arc::clone(&self.consumer));
            let started = Fetcher::start(name, settings, consumer, &self.context.watchdog)?;
            self.fetcher = Some(started.0);
            self.companions.push(started.1);
        }
        let watermarks = Watermarks {
            source: self.name.clone(),
            consumer: Arc::clone(&self.consumer),
            topics: self.routes.iter().flat_map(|r| &r.topics).map(|t| Arc::from(&**t)).collect(),
            status: Arc::clone(&self.context.status),
            shutdown: self.context.shutdown.clone(),
            ended: Arc::clone(&self.ended),
        };
        let audit = Audit {
            routes: self.routes.clone(),
            status: Arc::clone(&self.context.status),
            ended: Arc::clone(&self.ended),
        };
        let watchdog = &self.context.watchdog;
        let lag = watchdog.spawn(&format!("lag-{}", self.name), |heart| watermarks.run(heart))?;
        self.companions.push(lag);
        let audit = watchdog.spawn(&format!("audit-{}", self.name), |heart| audit.run(heart))?;
        self.companions.push(audit);
        Ok(())
    }

    /// One look at everything that may have happened.
    fn turn(&mut self, heart: &Heart) -> Result<(), Error> {
        self.poll()?;
        if let Some(mut figures) = self.consumer.context().next_figures() {
            self.fetcher.iter().for_each(|fetcher| fetcher.add_to(&mut figures));
            self.context.status.set_client(&self.name, figures);
        }
        while let Some(rebalance) = self.consumer.context().next_rebalance() {
            match rebalance {
                Rebalance::Assign { partitions, generation } => {
                    self.prepare(&partitions, generation)?;
                }
                Rebalance::Revoke(partitions) => self.revoke(&partitions, heart)?,
            }
        }
        while let Ok((number, found)) = self.found.1.try_recv() {
            let Some(pending) = self.assignment.take_pending(number) else { continue };
            if let Some(starts) = found? {
                match pending.purpose {
                    Purpose::Assign => self.assign(&pending, starts, heart)?,
                    Purpose::Resume(loss) => self.resume(&pending, starts, loss)?,
                }
            }
        }
        self.mend()
    }

    /// Serves the main queue: callbacks, and errors of the client as a whole.
    fn poll(&self) -> Result<(), Error> {
        let is_pending = !self.assignment.pending.is_empty();
        match self.consumer.poll(if is_pending { POLL_PENDING_MAX } else { POLL_MAX }) {
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

    /// Partitions were assigned: looks for their positions.
    fn prepare(&mut self, partitions: &TopicPartitionList, generation: i32) -> Result<(), Error> {
        metrics::rebalance("assign");
        let protocol = self.consumer.rebalance_protocol();
        self.assignment.supersede(!matches!(protocol, RebalanceProtocol::Cooperative));
        let keys = keys_of(partitions);
        tracing::info!(source = self.name, partitions = keys.len(), generation, "assigned");
        if keys.is_empty() {
            // The group waits for the call all the same.
            self.call_assign(&TopicPartitionList::new())?;
            self.tell_state();
            return Ok(());
        }
        self.find(keys, generation, Purpose::Assign)
    }

    /// Looks for the positions of partitions and claims their lanes, on a thread of its own.
    pub(super) fn find(
        &mut self,
        keys: Vec<PartitionKey>,
        generation: i32,
        purpose: Purpose,
    ) -> Result<(), Error> {
        let number = self.next_pending;
        self.next_pending += 1;
        let cancelled = Arc::new(AtomicBool::new(false));
        let positions = Positions {
            consumer: Arc::clone(&self.consumer),
            group: Arc::clone(&self.group),
            generation,
            start: self.config.start,
            routes: self.routes.clone(),
            cancelled: Arc::clone(&cancelled),
        };
        let (sender, status, name) =
            (self.found.0.clone(), Arc::clone(&self.context.status), self.name.clone());
        let (wanted, waiting) = (keys.clone(), Arc::clone(&cancelled));
        let thread =
            self.context.watchdog.spawn(&format!("claim-{}", self.name), move |heart| {
                let note = |party, reason: &str| {
                    heart.beat();
                    if !waiting.load(Relaxed) {
                        let reason = reason.to_owned();
                        status.set_source(&name, SourceState::Claiming { party, reason });
                    }
                };
                failpoint!("claim.begun");
                let found = positions.find(&wanted, &note);
                failpoint!("claim.made");
                // The poller waits for this thread before it lets go of the consumer.
                drop(positions);
                let _ = sender.send((number, found));
            })?;
        let partitions = keys.into_iter().collect();
        self.assignment.pending.push(Pending { number, purpose, partitions, cancelled, thread });
        Ok(())
    }

    /// The positions are known: splits the queues, assigns, and starts the threads, in that order.
    /// A queue that is split after the assignment would have leaked records to the main queue
    /// (rd_kafka_toppar_op_fetch_start forwards it unless it is split already); and once assigned
    /// with its position, a partition needs no seek.
    fn assign(&mut self, pending: &Pending, starts: Starts, heart: &Heart) -> Result<(), Error> {
        let (positions, readers) = self.open(pending, starts)?;
        self.call_assign(&positions)?;
        if self.fetcher.is_some() && positions.count() > 0 {
            // The client keeps them for the group, and does not read them.
            self.consumer.pause(&positions).map_err(|error| self.broken(&error))?;
        }
        failpoint!("assigned");
        self.start(readers)?;
        // A position that was only just found (`start = "latest"`) is a position from here on: after
        // a crash it must not be looked for again further on.
        self.commit_and_wait(heart);
        self.tell_state();
        Ok(())
    }

    /// Opens the partitions whose lanes have been claimed; the others are another member's.
    pub(super) fn open(
        &mut self,
        pending: &Pending,
        mut starts: Starts,
    ) -> Result<(TopicPartitionList, Vec<Reader>), Error> {
        let mut positions = TopicPartitionList::new();
        let mut readers = Vec::new();
        for key in &pending.partitions {
            let Some(starts) = starts.remove(key) else {
                self.assignment.stray(key.clone());
                continue;
            };
            let position = starts.iter().map(|start| start.position).min().unwrap_or(0);
            let added = positions.add_partition_offset(&key.0, key.1, Offset::Offset(position));
            added.map_err(|error| self.broken(&error))?;
            readers.push(self.reader(key.clone(), position, &starts)?);
        }
        Ok((positions, readers))
    }

    /// Splits the queue of a partition and opens its lanes.
    fn reader(
        &self,
        key: PartitionKey,
        position: i64,
        starts: &[LaneStart],
    ) -> Result<Reader, Error> {
        let (topic, number) = &key;
        let route = self
            .routes
            .iter()
            .find(|route| route.topics.iter().any(|known| **known == **topic))
            .ok_or_else(|| Error::software(format!("assigned {topic}, which no route reads")))?;
        let queue = PartitionQueue::split(&self.consumer, topic, *number)
            .ok_or_else(|| Error::software(format!("no queue for {topic}[{number}]")))?;
        let (group, context) = (&self.group, &self.context);
        let open =
            route.open_partition(topic, *number, group, starts, Reading::Repeatable, context)?;
        let reader = PartitionReader {
            records: Records::open(self.fetcher.as_ref(), queue, &key, position),
            topic: Arc::clone(topic),
            number: *number,
            context: self.context.clone(),
        };
        Ok((key, reader, open))
    }

    pub(super) fn start(&mut self, readers: Vec<Reader>) -> Result<(), Error> {
        for (key, reader, OpenPartition { partition, lanes, stop }) in readers {
            let thread = reader.spawn(partition)?;
            self.assignment.insert(key, Owned { lanes, stop, thread });
        }
        Ok(())
    }

    /// Partitions are taken away: drains what is in flight, stores how far it came, lets go.
    fn revoke(&mut self, partitions: &TopicPartitionList, heart: &Heart) -> Result<(), Error> {
        // Cleared by the unassign below.
        let lost = self.consumer.assignment_lost();
        metrics::rebalance(if lost { "lost" } else { "revoke" });
        let keys = keys_of(partitions);
        tracing::info!(source = self.name, partitions = keys.len(), lost, "revoked");
        // What happens to them from here on is another story.
        self.reclaimed_at.retain(|key, _| !keys.contains(key));
        // What was lost has another owner already: nothing is worth waiting for.
        let deadline = if lost { Instant::now() } else { self.context.drain_deadline() };
        failpoint!("revoke.begun");
        self.stop(&keys, Trigger::Revoke, deadline);
        self.assignment.join(&keys, deadline, || heart.beat());
        failpoint!("revoke.drained");
        if !lost {
            self.commit_and_wait(heart);
        }
        failpoint!("revoke.committed");
        self.assignment.release(&keys, &self.context.status);
        self.call_unassign(partitions)?;
        if lost {
            // Out of the group, until it takes this member in again.
            self.context.status.set_source(&self.name, SourceState::Starting);
        } else {
            self.tell_state();
        }
        Ok(())
    }

    /// Tells the threads of `keys` to drain and to end.
    fn stop(&mut self, keys: &[PartitionKey], trigger: Trigger, deadline: Instant) {
        self.assignment.stop(keys, trigger, deadline);
        self.fetcher.iter().for_each(Fetcher::wake);
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
            // The group also takes back what it has given and this member has not assigned: its
            // lanes were another's, or their positions were still being looked for. The client
            // refuses to unassign that.
            RebalanceProtocol::Cooperative => self
                .consumer
                .assignment()
                .map(|assigned| intersection(partitions, &assigned))
                .and_then(|assigned| self.consumer.incremental_unassign(&assigned)),
            _ => self.consumer.unassign(),
        };
        // Without this call the group would wait for ever: a restart joins it afresh.
        called.map_err(|error| Error::new(ErrorKind::Temporary, self.broken(&error).message))
    }

    pub(super) fn broken(&self, error: &KafkaError) -> Error {
        Error::software(format!("source {}: the Kafka client refuses: {error}", self.name))
    }

    pub(super) fn tell_state(&self) {
        let partitions = self.assignment.len();
        self.context.status.set_source(&self.name, SourceState::Running { partitions });
    }

    /// The end: drain, commit, leave the group, close.
    fn close(mut self, heart: &Heart) {
        // The companions end while this thread drains and commits.
        self.ended.store(true, Relaxed);
        let keys = self.assignment.keys();
        let failed = self.context.shutdown.has_failed();
        let deadline = if failed { Instant::now() } else { self.context.drain_deadline() };
        self.stop(&keys, Trigger::Shutdown, deadline);
        self.assignment.join(&keys, deadline, || heart.beat());
        failpoint!("shutdown.drained");
        if !failed {
            self.commit_and_wait(heart);
        }
        failpoint!("shutdown.committed");
        self.assignment.release(&keys, &self.context.status);
        let was_pending = self.assignment.pending.iter().any(|p| p.purpose == Purpose::Assign);
        // Whoever else holds the consumer ends before it is closed.
        self.fetcher.take().inspect(Fetcher::end);
        let pending = self.assignment.pending.drain(..).map(|pending| {
            pending.cancelled.store(true, Relaxed);
            pending.thread
        });
        for thread in pending.chain(self.companions.drain(..)) {
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
        // Not the poller as a whole: the writers end when nobody holds the routes any more, and the
        // consumer may be left behind.
        let Self { name, consumer, .. } = self;
        let closer = std::thread::spawn(move || drop(consumer));
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

/// What of `partitions` is in `others`.
fn intersection(
    partitions: &TopicPartitionList,
    others: &TopicPartitionList,
) -> TopicPartitionList {
    let mut both = TopicPartitionList::new();
    for (topic, partition) in keys_of(partitions) {
        if others.find_partition(&topic, partition).is_some() {
            both.add_partition(&topic, partition);
        }
    }
    both
}
