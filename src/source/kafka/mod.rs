//! The Kafka source.
//!
//! One poller thread owns the group membership; one thread for each assigned partition reads that
//! partition's own queue.

mod admin;
mod assignment;
mod audit;
mod client;
mod dead_letters;
mod discovery;
mod fetch;
pub(crate) mod figures;
mod headers;
mod inspector;
mod member;
mod mend;
mod message;
mod native;
mod offsets;
mod one;
mod partition;
mod poller;
mod position;
mod queue;
pub(crate) mod range;
mod range_reader;
pub(crate) mod range_source;
mod records;
mod topic_id;
mod watermark;

use std::{
    collections::BTreeSet,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    metadata::Metadata,
    producer::{BaseProducer, Producer as _},
    types::RDKafkaErrorCode,
};
use regex::Regex;

pub use self::dead_letters::DeadLetterTopic;
pub(crate) use self::{
    admin::Right,
    inspector::{Inspector, Place, Seen, TopicFacts},
    one::Fetched,
};
use self::{client::Client, discovery::Discovery, message::Message, poller::Poller};
use super::Source;
use crate::{
    config::KafkaSource as Config,
    error::{Error, ErrorKind},
    memory::Memory,
    record::Record,
    route::{Context, Route},
    shutdown::Shutdown,
    sink::{Group, postgres::catalog::nearest},
};

/// How long one question to the brokers may take.
const ASK_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

/// Topics of one Kafka cluster, read by one consumer group.
pub struct KafkaSource {
    name: String,
    config: Config,
    memory: Arc<Memory>,
    shutdown: Shutdown,
    patience: Duration,
    patterns: Vec<Regex>,
    /// Topics that a pattern does not mean.
    ours: BTreeSet<String>,
}

impl KafkaSource {
    /// A source; connects when it is sampled or started, and waits for so long for brokers that do
    /// not answer.
    pub fn new(
        name: &str,
        config: Config,
        memory: Arc<Memory>,
        shutdown: Shutdown,
        patience: Duration,
    ) -> Self {
        let name = name.to_owned();
        Self {
            name,
            config,
            memory,
            shutdown,
            patience,
            patterns: Vec::new(),
            ours: BTreeSet::new(),
        }
    }

    /// With the patterns that its topics were found by: a later topic that matches one is told, unless
    /// it is one of `ours`.
    #[must_use]
    pub(crate) fn with_patterns(mut self, patterns: Vec<Regex>, ours: BTreeSet<String>) -> Self {
        self.patterns = patterns;
        self.ours = ours;
        self
    }

    /// What the cluster has; waits for brokers that do not answer.
    fn metadata(&self, inquirer: &BaseProducer) -> Result<Metadata, Error> {
        let deadline = Instant::now() + self.patience;
        loop {
            let asked = inquirer.client().fetch_metadata(None, ASK_MAX.min(Duration::from_secs(5)));
            match asked {
                Ok(metadata) => return Ok(metadata),
                Err(error) if Instant::now() < deadline => {
                    tracing::warn!(
                        "source {}: no broker of {} answers ({error}); still trying",
                        self.name,
                        self.config.brokers
                    );
                    if self.shutdown.sleep(PAUSE) {
                        return Err(Error::new(
                            ErrorKind::Temporary,
                            "stopped while waiting for Kafka",
                        ));
                    }
                }
                Err(error) => return Err(self.silent(&error)),
            }
        }
    }

    /// The error for brokers that do not answer.
    fn silent(&self, error: &KafkaError) -> Error {
        Error::unavailable(format!(
            "source {}: no broker of {} answers ({error}); is `brokers` right, and is Kafka up? \
             (security.protocol and sasl.* go into sources.{}.properties)",
            self.name, self.config.brokers, self.name
        ))
    }

    /// Numbers of partitions of the topics, in order.
    fn partition_counts(
        &self,
        inquirer: &BaseProducer,
        topics: &[String],
    ) -> Result<Vec<usize>, Error> {
        let metadata = self.metadata(inquirer)?;
        topics
            .iter()
            .map(|name| {
                let topic = metadata.topics().iter().find(|topic| topic.name() == name);
                let count = topic.map(|topic| topic.partitions().len()).filter(|count| *count > 0);
                count.ok_or_else(|| self.missing_topic(name, &metadata))
            })
            .collect()
    }

    /// The error for a topic that is not there, with the likely one.
    fn missing_topic(&self, name: &str, metadata: &Metadata) -> Error {
        let known: Vec<&str> = metadata.topics().iter().map(|topic| topic.name()).collect();
        let hint = nearest(name, &known).map_or_else(
            || " Create it first".to_owned(),
            |near| format!(" Did you mean `{near}`?"),
        );
        Error::config(format!(
            "source {}: the cluster at {} has no topic `{name}` (or this user may not see it).{hint}",
            self.name, self.config.brokers
        ))
    }

    /// The cluster's id, a part of the checkpoints' names: without it the lanes would find other ones. A
    /// client that has seen metadata knows it; one that has just been made may wait a second for its
    /// next look.
    fn cluster_id(&self, inquirer: &BaseProducer) -> Result<String, Error> {
        inquirer.client().fetch_cluster_id(ASK_MAX).ok_or_else(|| {
            Error::unavailable(format!(
                "source {}: the brokers at {} do not tell the id of their cluster",
                self.name, self.config.brokers
            ))
        })
    }

    /// A client for questions about the cluster. A producer, as that belongs to no group: to end, a
    /// consumer may wait a second for an answer about its coordinator.
    fn inquirer(&self) -> Result<BaseProducer, Error> {
        let mut config = client::base_config(&self.config);
        // Properties of consumers are warned of.
        config.set("log_level", "3");
        config.create().map_err(|error| self.misconfigured(&error))
    }

    /// A consumer outside the group, for samples.
    fn sampler(&self) -> Result<BaseConsumer, Error> {
        let mut config = client::base_config(&self.config);
        config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.remove("group.instance.id");
        config.set("group.id", "tidegate-sample").set("log_level", "3");
        config.create().map_err(|error| self.misconfigured(&error))
    }

    fn start_discovery(&self, topics: &[String], context: &Context) -> Result<(), Error> {
        let discovery = Discovery {
            source: self.name.clone(),
            inquirer: self.inquirer()?,
            patterns: self.patterns.clone(),
            known: topics.iter().chain(&self.ours).cloned().collect(),
            shutdown: context.shutdown.clone(),
        };
        let name = format!("topics-{}", self.name);
        context.watchdog.spawn(&name, move |heart| discovery.run(heart)).map(drop)
    }

    fn misconfigured(&self, error: &KafkaError) -> Error {
        Error::config(format!(
            "sources.{}: the Kafka client refuses its settings: {error}",
            self.name
        ))
    }

    /// The topic of this cluster that takes dead letters.
    ///
    /// # Errors
    /// When the brokers do not answer, or the topic is not there.
    pub(crate) fn dead_letter_topic(&self, topic: &str) -> Result<DeadLetterTopic, Error> {
        self.check(std::slice::from_ref(&topic.to_owned()))
            .map_err(|error| Error::new(error.kind, format!("dead letters: {error}")))?;
        DeadLetterTopic::new(topic, &self.config).map_err(|error| self.misconfigured(&error))
    }

    /// Checks the source without reading: brokers, topics, partitions.
    ///
    /// # Errors
    /// When the brokers do not answer or a topic is not there.
    pub fn check(&self, topics: &[String]) -> Result<Vec<usize>, Error> {
        self.partition_counts(&self.inquirer()?, topics)
    }
}

impl Source for KafkaSource {
    fn topics(&self) -> Result<Vec<String>, Error> {
        let metadata = self.metadata(&self.inquirer()?)?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }

    fn look(
        &self,
        topics: &[String],
        count: usize,
        wait: Duration,
        visit: &mut dyn FnMut(&Record<'_>) -> bool,
    ) -> Result<(), Error> {
        let counts = self.partition_counts(&self.inquirer()?, topics)?;
        let consumer = self.sampler()?;
        let mut list = TopicPartitionList::new();
        for (topic, partitions) in topics.iter().zip(counts) {
            for partition in 0..partitions as i32 {
                let added = list.add_partition_offset(topic, partition, Offset::Beginning);
                added.map_err(|error| self.misconfigured(&error))?;
            }
        }
        consumer.assign(&list).map_err(|error| self.misconfigured(&error))?;
        let begun = Instant::now();
        let mut of_use = 0;
        let mut quiet_since = Instant::now();
        let mut said = false;
        while of_use < count && !self.shutdown.is_requested() {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let topic = message.topic();
                    if let Some(message) = Message::of(&message) {
                        of_use += usize::from(visit(&message.record(topic)));
                    }
                    quiet_since = Instant::now();
                }
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::TopicAuthorizationFailed,
                ))) => {
                    let text = format!(
                        "source {}: this user may not read {}",
                        self.name,
                        topics.join(", ")
                    );
                    return Err(Error::new(ErrorKind::Permission, text));
                }
                Some(Err(error)) => tracing::warn!("source {}: {error}", self.name),
                None if quiet_since.elapsed() < Duration::from_secs(1) => {}
                None if of_use > 0 || begun.elapsed() >= wait => break,
                None if !said => {
                    tracing::info!(
                        "waiting for a first record of {} to see its fields",
                        topics.join(", ")
                    );
                    said = true;
                }
                None => {}
            }
        }
        Ok(())
    }

    fn start(
        self: Box<Self>,
        routes: Vec<Arc<Route>>,
        context: Context,
    ) -> Result<JoinHandle<()>, Error> {
        let topics: Vec<String> = routes.iter().flat_map(|route| route.topics.clone()).collect();
        let inquirer = self.inquirer()?;
        let counts = self.partition_counts(&inquirer, &topics)?;
        let cluster_id = self.cluster_id(&inquirer)?;
        drop(inquirer);
        // This member may end up with all partitions.
        let fetch_bytes = self.memory.fetch_bytes(counts.iter().sum());
        let config = client::group_config(&self.config, fetch_bytes);
        let consumer: BaseConsumer<Client> = config
            .create_with_context(Client::new(&self.name))
            .map_err(|error| self.misconfigured(&error))?;
        let group = Arc::new(Group { name: self.config.group.clone(), cluster_id });
        if !self.patterns.is_empty() {
            self.start_discovery(&topics, &context)?;
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|error| self.misconfigured(&error))?;
        let poller = Poller::new(
            &self.name,
            self.config,
            Arc::new(consumer),
            group,
            routes,
            context.clone(),
        );
        context.watchdog.spawn(&format!("poll-{}", self.name), move |heart| poller.run(heart))
    }
}
