//! What the engine is doing now: read by /metrics, /status, /readyz and the state line.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;

use crate::{
    lane::{Lane, LaneKey},
    latency::Latency,
    memory::Memory,
    observation::Observation,
    registry::Registry,
    sink::Flushed,
    source::kafka::figures::ClientFigures,
    stage::StageClock,
    verdict::Waits,
};

/// How often the warning about one and the same outage is repeated.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The state of an engine, shared by its threads.
#[derive(Debug)]
pub struct Status {
    /// When the engine was started.
    pub started: Instant,
    /// Time of all partition threads.
    pub partition_clock: StageClock,
    /// Record timestamp to committed row.
    pub latency: Arc<Latency>,
    /// The memory budget.
    pub memory: Arc<Memory>,
    lanes: Mutex<BTreeMap<LaneKey, Arc<Lane>>>,
    sinks: Mutex<BTreeMap<String, Arc<SinkStatus>>>,
    sources: Mutex<BTreeMap<String, SourceState>>,
    registries: Mutex<Vec<Arc<Registry>>>,
    routes: Mutex<Vec<RouteStatus>>,
    clients: Mutex<BTreeMap<String, ClientFigures>>,
    /// Sources whose brokers do not answer: since when, and why.
    silent: Mutex<BTreeMap<String, (Instant, String)>>,
    consumed_bytes: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    observation: Mutex<Arc<Observation>>,
    draining: AtomicBool,
}

/// A route, as it was opened.
#[derive(Clone, Debug)]
pub struct RouteStatus {
    /// Its name.
    pub name: String,
    /// The name of its source.
    pub source: String,
    /// Its topics.
    pub topics: Vec<String>,
    /// Where it writes.
    pub targets: Vec<TargetStatus>,
}

/// One place that a route writes to.
#[derive(Clone, Debug)]
pub struct TargetStatus {
    /// The name in lanes: `sink` or `sink.table`.
    pub name: Arc<str>,
    /// The sink's name.
    pub sink: String,
    /// The table, if the sink has tables.
    pub table: Option<String>,
}

/// Where a source stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// Not yet connected, or waiting for its first assignment.
    Starting,
    /// Reading so many partitions.
    Running {
        /// Partitions owned now; 0 is a member in stand-by.
        partitions: usize,
    },
    /// Owns partitions but cannot read them yet.
    Claiming {
        /// Who does not answer.
        party: Party,
        /// Why not.
        reason: String,
    },
    /// At its end.
    Finished,
}

/// Somebody who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The source's brokers.
    Brokers,
    /// A sink.
    Sink,
}

impl Status {
    /// A fresh status.
    pub fn new(memory: Arc<Memory>) -> Self {
        Self {
            started: Instant::now(),
            partition_clock: StageClock::default(),
            latency: Arc::default(),
            memory,
            lanes: Mutex::default(),
            sinks: Mutex::default(),
            sources: Mutex::default(),
            registries: Mutex::default(),
            routes: Mutex::default(),
            clients: Mutex::default(),
            silent: Mutex::default(),
            consumed_bytes: Mutex::default(),
            observation: Mutex::default(),
            draining: AtomicBool::new(false),
        }
    }

    /// A lane begins.
    pub fn add_lane(&self, lane: &Arc<Lane>) {
        lock(&self.lanes).insert(lane.key.clone(), Arc::clone(lane));
        self.memory.add_lanes(1);
    }

    /// A lane ends: its series vanish.
    pub fn remove_lane(&self, lane: &Arc<Lane>) {
        lock(&self.lanes).remove(&lane.key);
        self.memory.remove_lanes(1);
    }

    /// The lanes of now, by name.
    pub fn lanes(&self) -> Vec<Arc<Lane>> {
        lock(&self.lanes).values().cloned().collect()
    }

    /// Records behind, over all lanes whose end is known.
    pub fn lag(&self) -> u64 {
        self.lanes().iter().filter_map(|lane| lane.standing().lag()).sum()
    }

    /// A route was opened.
    pub fn add_route(&self, route: RouteStatus) {
        lock(&self.routes).push(route);
    }

    /// The routes, in the order of the configuration.
    pub fn routes(&self) -> Vec<RouteStatus> {
        lock(&self.routes).clone()
    }

    /// The figures of a source's client.
    pub fn set_client(&self, source: &str, figures: ClientFigures) {
        lock(&self.clients).insert(source.to_owned(), figures);
    }

    /// The figures of the sources' clients, as far as they have any.
    pub fn clients(&self) -> BTreeMap<String, ClientFigures> {
        lock(&self.clients).clone()
    }

    /// The brokers of a source answer.
    pub fn brokers_answered(&self, source: &str) {
        lock(&self.silent).remove(source);
    }

    /// The brokers of a source do not answer a question.
    pub fn brokers_silent(&self, source: &str, error: &str) {
        let mut silent = lock(&self.silent);
        let (_, reason) =
            silent.entry(source.to_owned()).or_insert_with(|| (Instant::now(), String::new()));
        error.clone_into(reason);
    }

    /// Whose brokers have not answered for so long, and why.
    pub fn silent_brokers(&self, least: Duration) -> Vec<String> {
        let silent = lock(&self.silent);
        let for_long = silent.iter().filter(|(_, (since, _))| since.elapsed() >= least);
        let shown = |(source, (since, reason)): (&String, &(Instant, String))| {
            let seconds = since.elapsed().as_secs();
            format!("source {source}: the brokers do not answer for {seconds} s: {reason}")
        };
        for_long.map(shown).collect()
    }

    /// Counts the bytes of keys and payloads that were taken in from a source.
    pub fn consumed_bytes_of(&self, source: &str) -> Arc<AtomicU64> {
        Arc::clone(lock(&self.consumed_bytes).entry(source.to_owned()).or_default())
    }

    /// Bytes of keys and payloads so far, by source.
    pub fn consumed_bytes(&self) -> Vec<(String, u64)> {
        let counters = lock(&self.consumed_bytes);
        counters.iter().map(|(source, bytes)| (source.clone(), bytes.load(Relaxed))).collect()
    }

    /// What was seen of the last seconds.
    pub fn observation(&self) -> Arc<Observation> {
        Arc::clone(&lock(&self.observation))
    }

    /// The last seconds were looked at.
    pub fn set_observation(&self, observation: Observation) {
        *lock(&self.observation) = Arc::new(observation);
    }

    /// From now on it only finishes what is in flight.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// `running`, `degraded` or `draining`.
    pub fn state(&self) -> &'static str {
        match self.draining.load(Relaxed) {
            true => "draining",
            false if self.obstacles().is_empty() => "running",
            false => "degraded",
        }
    }

    /// A registry that records wait for when it does not answer.
    pub fn add_registry(&self, registry: &Arc<Registry>) {
        lock(&self.registries).push(Arc::clone(registry));
    }

    /// A sink begins.
    pub fn add_sink(&self, name: &str, sink: Arc<SinkStatus>) {
        lock(&self.sinks).insert(name.to_owned(), sink);
    }

    /// The sinks, by name.
    pub fn sinks(&self) -> Vec<(String, Arc<SinkStatus>)> {
        lock(&self.sinks).iter().map(|(name, sink)| (name.clone(), Arc::clone(sink))).collect()
    }

    /// A source's new state.
    pub fn set_source(&self, name: &str, state: SourceState) {
        lock(&self.sources).insert(name.to_owned(), state);
    }

    /// The sources, by name.
    pub fn sources(&self) -> Vec<(String, SourceState)> {
        lock(&self.sources).iter().map(|(name, state)| (name.clone(), state.clone())).collect()
    }

    /// Why the engine is not ready; empty when it is.
    pub fn obstacles(&self) -> Vec<String> {
        let sources = self.sources().into_iter().filter_map(|(name, state)| match state {
            SourceState::Starting => Some(format!("source {name} has no assignment yet")),
            SourceState::Claiming { reason, .. } => Some(format!("source {name}: {reason}")),
            SourceState::Running { .. } | SourceState::Finished => None,
        });
        let sinks = self.sinks().into_iter().filter_map(|(name, sink)| {
            sink.outage().map(|outage| {
                let seconds = outage.since.elapsed().as_secs();
                format!("sink {name} is away for {seconds} s: {}", outage.message)
            })
        });
        sources.chain(sinks).chain(self.registry_outages()).collect()
    }

    /// The registries that do not answer.
    pub fn registry_outages(&self) -> Vec<String> {
        lock(&self.registries)
            .iter()
            .filter_map(|registry| registry.outage())
            .map(|(since, message)| format!("{message}, for {} s", since.elapsed().as_secs()))
            .collect()
    }
}

/// A sink that takes nothing.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Since when.
    pub since: Instant,
    /// SQLSTATE or the like.
    pub class: String,
    /// What it said.
    pub message: String,
    warned: Instant,
}

/// The state of one sink.
#[derive(Debug)]
pub struct SinkStatus {
    /// Time of all its writers.
    pub clock: StageClock,
    /// Number of writers.
    pub writers: usize,
    queue: Receiver<Flushed>,
    outage: Mutex<Option<Outage>>,
    bytes: AtomicU64,
    waits: Mutex<Option<(Instant, Waits)>>,
}

impl SinkStatus {
    /// The status of a sink that is fed by `queue`.
    pub fn new(writers: usize, queue: Receiver<Flushed>) -> Self {
        Self {
            clock: StageClock::default(),
            writers,
            queue,
            outage: Mutex::default(),
            bytes: AtomicU64::new(0),
            waits: Mutex::default(),
        }
    }

    /// Batches that wait for a writer.
    pub fn queue_depth(&self) -> usize {
        self.queue.len()
    }

    /// Batches that may wait for a writer.
    pub fn queue_capacity(&self) -> usize {
        self.queue.capacity().unwrap_or(0)
    }

    /// So many bytes of encoded rows became durable.
    pub fn add_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes of encoded rows that are durable.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Its connections were looked at.
    pub fn set_waits(&self, waits: Waits) {
        *lock(&self.waits) = Some((Instant::now(), waits));
    }

    /// What its connections waited for when they were last looked at, if that is not longer ago.
    pub fn waits(&self, age_max: Duration) -> Option<Waits> {
        let waits = lock(&self.waits);
        waits.as_ref().filter(|(at, _)| at.elapsed() <= age_max).map(|(_, waits)| waits.clone())
    }

    /// The present outage.
    pub fn outage(&self) -> Option<Outage> {
        lock(&self.outage).clone()
    }

    /// A write met an outage. True if it is worth a line in the log.
    pub fn degraded(&self, class: &str, message: &str) -> bool {
        let now = Instant::now();
        let mut outage = lock(&self.outage);
        match &mut *outage {
            Some(known) => {
                known.class = class.to_owned();
                known.message = message.to_owned();
                let due = now.duration_since(known.warned) >= WARNING_INTERVAL;
                if due {
                    known.warned = now;
                }
                due
            }
            None => {
                let (class, message) = (class.to_owned(), message.to_owned());
                *outage = Some(Outage { since: now, class, message, warned: now });
                true
            }
        }
    }

    /// A write went through.
    pub fn recovered(&self) {
        if let Some(outage) = lock(&self.outage).take() {
            tracing::info!("the sink is back after {:.1} s", outage.since.elapsed().as_secs_f64());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
