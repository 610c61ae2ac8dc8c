//! The engine: builds sinks, routes and sources, and owns the order in which they start and end.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use tokio::runtime::Runtime;

use crate::{
    batch::BatchPolicy,
    config::{self, Config, DeadLetters},
    error::{Error, ErrorKind},
    filter::Filter,
    incidents,
    memory::Memory,
    observer::Observer,
    route::{Context, Route, RouteTarget, target_name},
    selector::Selector,
    shape::Shape,
    shutdown::Shutdown,
    sink::{Flushed, Sink, ndjson::NdjsonSink, null::NullSink, postgres::PostgresSink},
    source::{
        Source,
        kafka::{DeadLetterTopic, KafkaSource},
        ndjson::NdjsonSource,
    },
    spans::Spans,
    spares::Spares,
    state_line::StateLine,
    status::{RouteStatus, SinkStatus, SourceState, Status, TargetStatus},
    topics,
    watchdog::Watchdog,
    writer::WriterThread,
};

/// How long a start waits for a database or for brokers that do not answer.
const START_MAX: Duration = Duration::from_secs(30);
/// Batches of a sink that may wait, for each of its writers. No bound on memory, which is that a
/// lane has one batch on its way: it is how many quiet partitions can share a transaction.
const QUEUE_PER_WRITER: usize = 64;
/// Records that are looked at to make a missing table.
const SAMPLE_RECORDS: usize = 1000;
const TURN: Duration = Duration::from_millis(100);
/// How long the writers may take to end after the sources did; they are idle by then.
const JOIN_MAX: Duration = Duration::from_secs(5);
/// How long the last spans may take.
const SPANS_MAX: Duration = Duration::from_secs(2);

/// Runs the sources, routes and sinks of a configuration.
pub struct Engine {
    config: Config,
    context: Context,
    runtime: Runtime,
    sinks: BTreeMap<String, Arc<dyn Sink>>,
    sources: BTreeMap<String, MakeSource>,
    span_thread: Option<JoinHandle<()>>,
}

/// Makes a source each time that one is needed.
type MakeSource = Box<dyn Fn(&Context) -> Box<dyn Source> + Send>;

/// The routes of each source.
type Routes = BTreeMap<String, Vec<Arc<Route>>>;

/// A sink with the queue that feeds its writers.
struct Feed {
    sink: Arc<dyn Sink>,
    sender: Sender<Flushed>,
    receiver: Receiver<Flushed>,
    status: Arc<SinkStatus>,
}

impl Engine {
    /// An engine for `config`; nothing is opened yet.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn new(config: Config) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("io")
            .enable_all()
            .build()
            .map_err(|error| Error::software(format!("cannot start the runtime: {error}")))?;
        let memory = Arc::new(Memory::new(config.memory.budget, config.batch.bytes));
        let shutdown = Shutdown::default();
        let watchdog = Watchdog::new(shutdown.clone());
        let (spans, span_thread) = Spans::start(&config.tracing, &watchdog)?.unzip();
        let context = Context {
            watchdog,
            shutdown,
            status: Arc::new(Status::new(Arc::clone(&memory))),
            spares: Arc::new(Spares::new(&memory)),
            memory,
            policy: BatchPolicy {
                rows: config.batch.rows,
                bytes: config.batch.bytes,
                age: config.batch.age,
            },
            drain: config.shutdown.drain,
            spans,
        };
        config.registries.values().for_each(|registry| context.status.add_registry(registry));
        for name in config.sources.keys() {
            context.status.set_source(name, SourceState::Starting);
        }
        let (sinks, sources) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { config, context, runtime, sinks, sources, span_thread })
    }

    /// Uses `sink` where the configuration has `kind = "handler"` under that name.
    #[must_use]
    pub fn with_sink(mut self, name: &str, sink: impl Sink) -> Self {
        self.sinks.insert(name.to_owned(), Arc::new(sink));
        self
    }

    /// Reads what `make` gives in place of the source of that name.
    #[must_use]
    pub(crate) fn with_source(
        mut self,
        name: &str,
        make: impl Fn(&Context) -> Box<dyn Source> + Send + 'static,
    ) -> Self {
        self.sources.insert(name.to_owned(), Box::new(make));
        self
    }

    /// The order to stop; may be given from any thread, also from a signal's.
    pub fn shutdown(&self) -> Shutdown {
        self.context.shutdown.clone()
    }

    /// What the engine is doing.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.context.status)
    }

    /// The runtime's handle, for servers beside the engine.
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        self.runtime.handle()
    }

    /// Runs until every source is at its end, a stop is asked for, or something fails.
    ///
    /// # Errors
    /// The failure that ended it. Nothing is committed past what is durable.
    pub fn run(mut self) -> Result<(), Error> {
        let (routes, feeds) = match self.open() {
            Ok(opened) => opened,
            // Told to stop while waiting for a database, a broker or a first record.
            Err(_) if self.context.shutdown.is_requested() => return Ok(()),
            Err(error) => return Err(error),
        };
        let writers = self.start_writers(&feeds)?;
        let mut sources = Vec::new();
        for (name, routes) in routes {
            let started = self.source(&name)?.start(routes, self.context.clone());
            match started {
                Ok(thread) => sources.push(thread),
                Err(error) => self.context.shutdown.fail(error),
            }
        }
        let watched = feeds
            .iter()
            .map(|(name, feed)| (name.clone(), Arc::clone(&feed.sink), Arc::clone(&feed.status)));
        let observer = Observer::new(self.status(), watched);
        self.watch(&sources, observer);
        self.context.status.drain();
        let ended = self.join(sources) && {
            drop(feeds);
            join_until(writers, Instant::now() + JOIN_MAX)
        };
        // The last spans: a collector that hangs is not waited for.
        self.context.spans = None;
        join_until(self.span_thread.into_iter().collect(), Instant::now() + SPANS_MAX);
        if ended {
            // Not the runtime's own wait: a connection that hangs must not keep the process.
            self.runtime.shutdown_timeout(Duration::from_secs(1));
        } else {
            // A thread that still waits inside the runtime would panic when its timers go.
            std::mem::forget(self.runtime);
        }
        match self.context.shutdown.failure() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Opens the sinks and the targets of all routes; gives the routes by source.
    fn open(&mut self) -> Result<(Routes, BTreeMap<String, Feed>), Error> {
        let is_handler = |name| self.config.sinks.get(name) == Some(&config::Sink::Handler);
        if let Some(name) = self.sinks.keys().find(|name| !is_handler(*name)) {
            return Err(Error::config(format!(
                "a sink was registered as `{name}`, but the configuration has no sinks.{name} with \
                 kind = \"handler\""
            )));
        }
        let mut feeds = BTreeMap::new();
        for name in self.config.sinks.keys() {
            let sink = self.sink(name)?;
            let writers = sink.writers();
            let (sender, receiver) = crossbeam_channel::bounded(writers * QUEUE_PER_WRITER);
            let status = Arc::new(SinkStatus::new(writers, receiver.clone()));
            feeds.insert(name.clone(), Feed { sink, sender, receiver, status });
        }
        let mut routes = Routes::new();
        for route in &self.resolve_topics()? {
            let opened = self.open_route(route, &feeds)?;
            routes.entry(route.source.clone()).or_default().push(Arc::new(opened));
        }
        Ok((routes, feeds))
    }

    /// The routes with the topics that there are in place of patterns.
    fn resolve_topics(&self) -> Result<Vec<config::Route>, Error> {
        let mut known = BTreeMap::new();
        for name in self.config.sources.keys() {
            if topics::wants_all(&self.config, name) {
                known.insert(name.clone(), self.source(name)?.topics()?);
            }
        }
        let routes = topics::resolve(&self.config, &known)?;
        topics::check(&self.config, &routes)?;
        Ok(routes)
    }

    fn open_route(
        &self,
        route: &config::Route,
        feeds: &BTreeMap<String, Feed>,
    ) -> Result<Route, Error> {
        let (mut targets, mut shown) = (Vec::new(), Vec::new());
        let mut selectors: Vec<Selector> = Vec::new();
        for configured in &route.to {
            let Some(feed) = feeds.get(&configured.sink) else {
                return Err(Error::software(format!("no sink {}", configured.sink)));
            };
            let mut shape = || {
                let samples = self.source(&route.source)?.sample(&route.topics, SAMPLE_RECORDS)?;
                Shape::of(route, &samples)
            };
            let dead_letters = self.dead_letter_topic(route, configured)?;
            let target = feed.sink.open(configured, &mut shape, dead_letters)?;
            let filter = configured.filter.clone();
            selectors.extend(target.selectors());
            selectors.extend(filter.iter().flat_map(Filter::selectors));
            let name = target_name(&configured.sink, target.as_ref());
            shown.push(TargetStatus {
                name: Arc::clone(&name),
                sink: configured.sink.clone(),
                table: Some(target.name()).filter(|table| !table.is_empty()),
            });
            targets.push(RouteTarget { name, target, filter, queue: feed.sender.clone() });
        }
        self.context.status.add_route(RouteStatus {
            name: route.name.clone(),
            source: route.source.clone(),
            topics: route.topics.clone(),
            targets: shown,
        });
        Ok(Route {
            source: route.source.clone(),
            topics: route.topics.clone(),
            selectors: Selector::distinct(selectors),
            format: route.format.clone(),
            max_record_bytes: route.max_record_bytes,
            max_dead_letter_percent: route.max_dead_letter_percent as u64,
            targets,
        })
    }

    /// Builds a configured sink. A new kind of sink is one line here.
    fn sink(&self, name: &str) -> Result<Arc<dyn Sink>, Error> {
        let context = &self.context;
        Ok(match &self.config.sinks[name] {
            config::Sink::Postgres(config) => {
                let runtime = self.runtime.handle().clone();
                let shutdown = context.shutdown.clone();
                let rollups = self.config.rollups.iter().filter(|rollup| rollup.sink == name);
                let sink = PostgresSink::new(name, config, runtime, shutdown, START_MAX)?;
                Arc::new(sink.with_rollups(rollups.cloned()))
            }
            config::Sink::Ndjson(config) => Arc::new(NdjsonSink::new(name, &config.path)),
            config::Sink::Null => Arc::new(NullSink),
            config::Sink::Handler => self.sinks.get(name).cloned().ok_or_else(|| {
                Error::config(format!(
                    "sinks.{name}: a handler is registered by the program that embeds tidegate \
                     (Engine::with_sink); the tidegate binary has none"
                ))
            })?,
        })
    }

    /// Builds a configured source. A new kind of source is one line here.
    fn source(&self, name: &str) -> Result<Box<dyn Source>, Error> {
        if let Some(make) = self.sources.get(name) {
            return Ok(make(&self.context));
        }
        Ok(match &self.config.sources[name] {
            config::Source::Kafka(config) => {
                let own = self.config.routes.iter().filter(|route| route.source == name);
                let patterns = own.flat_map(config::Route::patterns).collect();
                let ours = topics::of_dead_letters(&self.config);
                Box::new(self.kafka_source(name, config).with_patterns(patterns, ours))
            }
            config::Source::Ndjson(config) => Box::new(NdjsonSource::new(name, &config.path)),
        })
    }

    fn kafka_source(&self, name: &str, config: &config::KafkaSource) -> KafkaSource {
        let context = &self.context;
        KafkaSource::new(
            name,
            config.clone(),
            Arc::clone(&context.memory),
            context.shutdown.clone(),
            START_MAX,
        )
    }

    /// The topic for the dead letters of a target, if they do not go to the sink.
    fn dead_letter_topic(
        &self,
        route: &config::Route,
        target: &config::Target,
    ) -> Result<Option<Arc<DeadLetterTopic>>, Error> {
        let DeadLetters::Topic(topic) = &target.dead_letters else { return Ok(None) };
        let config::Source::Kafka(config) = &self.config.sources[&route.source] else {
            return Err(Error::software("a dead-letter topic of a source without brokers"));
        };
        let source = self.kafka_source(&route.source, config);
        Ok(Some(Arc::new(source.dead_letter_topic(topic)?)))
    }

    fn start_writers(&self, feeds: &BTreeMap<String, Feed>) -> Result<Vec<JoinHandle<()>>, Error> {
        let mut threads = Vec::new();
        for (name, feed) in feeds {
            self.context.status.add_sink(name, Arc::clone(&feed.status));
            if feed.sink.is_tended() {
                let sink = Arc::clone(&feed.sink);
                let thread = format!("tend-{name}");
                threads.push(self.context.watchdog.spawn(&thread, move |heart| sink.tend(heart))?);
            }
            threads.extend(WriterThread::spawn_all(
                feed.sink.as_ref(),
                name,
                &feed.receiver,
                &feed.status,
                &self.context,
            )?);
        }
        Ok(threads)
    }

    /// Looks after the threads until the sources end or are told to.
    fn watch(&self, sources: &[JoinHandle<()>], mut observer: Observer) {
        let mut state_line = StateLine::new(Arc::clone(&self.context.status));
        while !self.context.shutdown.sleep(TURN) {
            if sources.iter().all(JoinHandle::is_finished) {
                return;
            }
            observer.tick();
            state_line.tick();
            incidents::write_repeats();
            self.check_threads();
        }
    }

    /// Waits for the sources, which drain and commit. False if a thread hangs.
    fn join(&self, sources: Vec<JoinHandle<()>>) -> bool {
        for source in sources {
            while !source.is_finished() {
                std::thread::sleep(Duration::from_millis(5));
                if self.check_threads() {
                    return false;
                }
            }
            // A panic has reported itself already.
            let _ = source.join();
        }
        true
    }

    /// True if a thread is silent: then the engine has failed, and the thread cannot be waited for.
    fn check_threads(&self) -> bool {
        let Some((name, silence)) = self.context.watchdog.silent() else { return false };
        self.context.shutdown.fail(Error::new(
            ErrorKind::Software,
            format!("thread {name} has been silent for {} s", silence.as_secs()),
        ));
        true
    }
}

/// Waits for the threads until the deadline; says whether all have ended.
fn join_until(threads: Vec<JoinHandle<()>>, deadline: Instant) -> bool {
    let mut ended = true;
    for thread in threads {
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.is_finished() {
            let _ = thread.join();
        } else {
            ended = false;
        }
    }
    ended
}
