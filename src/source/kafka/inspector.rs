//! Looks at a cluster from outside: no member of the group, and nothing is committed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, OwnedResourceSpecifier, ResourceSpecifier},
    client::DefaultClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::{Metadata, MetadataTopic},
};
use tokio::runtime::Handle;

use super::{
    KafkaSource,
    admin::{self, GroupDescription, Right, TopicsQuestion},
    client,
    position::{self, Known, PartitionKey},
};
use crate::{
    error::{Error, ErrorKind},
    lane::LaneKey,
};

/// How long one try for the first answer takes.
const TRY_MAX: Duration = Duration::from_secs(1);
const POLL_MAX: Duration = Duration::from_millis(50);
/// Questions of which the median is the round trip.
const ROUND_TRIPS: usize = 5;

/// Looks at the cluster of one source.
pub(crate) struct Inspector<'a> {
    source: &'a KafkaSource,
    consumer: BaseConsumer<Witness>,
    pub(crate) cluster_id: String,
    metadata: Metadata,
}

/// What the brokers know of one partition.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    /// The first offset that is there.
    pub(crate) low: i64,
    /// Its end.
    pub(crate) high: i64,
    /// What the group has committed.
    pub(crate) committed: Option<i64>,
    /// Where a lane begins that has no checkpoint.
    pub(crate) begins: i64,
}

/// A record, without what is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) offset: i64,
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp_ms: Option<i64>,
}

/// What a user may do with a topic, and how the topic is set up; each with the reason if it is not told.
pub(crate) struct TopicFacts {
    pub(crate) id: Option<String>,
    pub(crate) rights: Option<Vec<Right>>,
    pub(crate) settings: Result<BTreeMap<String, String>, String>,
}

/// Keeps why the brokers cannot be talked to.
#[derive(Default)]
struct Witness(Mutex<Vec<(RDKafkaErrorCode, String)>>);

impl ClientContext for Witness {
    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push((code, reason.to_owned()));
        }
    }

    /// What matters comes as an error.
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}
}

impl ConsumerContext for Witness {}

impl KafkaSource {
    /// Waits for the brokers' first answer.
    ///
    /// # Errors
    /// When they do not answer in time, or refuse the log-in.
    pub(crate) fn inspect(&self) -> Result<Inspector<'_>, Error> {
        let mut config = client::base_config(&self.config);
        config.remove("group.instance.id");
        // Of each partition one record is read, at most.
        config.set("group.id", &self.config.group).set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "error").set("queued.min.messages", "1");
        config.set("fetch.message.max.bytes", "65536").set("fetch.wait.max.ms", "50");
        let consumer: BaseConsumer<Witness> = config
            .create_with_context(Witness::default())
            .map_err(|error| self.misconfigured(&error))?;
        let deadline = Instant::now() + self.patience;
        let metadata = loop {
            match consumer.fetch_metadata(None, TRY_MAX) {
                Ok(metadata) => break metadata,
                Err(error) => {
                    while consumer.poll(Duration::ZERO).is_some() {}
                    if let Some(refusal) = self.refusal(consumer.context()) {
                        return Err(refusal);
                    }
                    if Instant::now() >= deadline {
                        return Err(self.silent(&error));
                    }
                }
            }
        };
        let cluster_id = consumer.client().fetch_cluster_id(self.patience).unwrap_or_default();
        Ok(Inspector { source: self, consumer, cluster_id, metadata })
    }

    /// Why trying again would not help.
    fn refusal(&self, witness: &Witness) -> Option<Error> {
        let seen = witness.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().find_map(|(code, reason)| {
            let (kind, what) = match code {
                RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
                    (ErrorKind::Permission, "the brokers refuse the log-in")
                }
                RDKafkaErrorCode::SSL => (ErrorKind::Config, "TLS with the brokers fails"),
                _ => return None,
            };
            let name = &self.name;
            let text = format!(
                "source {name}: {what}: {reason} (security.protocol, ssl.* and sasl.* go into \
                 sources.{name}.properties)"
            );
            Some(Error::new(kind, text))
        })
    }

    fn failed(&self, what: &str, error: &KafkaError) -> Error {
        use RDKafkaErrorCode::{
            ClusterAuthorizationFailed, GroupAuthorizationFailed, TopicAuthorizationFailed,
        };
        let refused = matches!(
            error.rdkafka_error_code(),
            Some(TopicAuthorizationFailed | GroupAuthorizationFailed | ClusterAuthorizationFailed)
        );
        let kind = if refused { ErrorKind::Permission } else { ErrorKind::Unavailable };
        Error::new(kind, format!("source {}: {what}: {error}", self.name))
    }
}

impl Inspector<'_> {
    /// The brokers that are there: their ids and addresses.
    pub(crate) fn brokers(&self) -> Vec<(i32, String)> {
        let brokers = self.metadata.brokers().iter();
        brokers
            .map(|broker| (broker.id(), format!("{}:{}", broker.host(), broker.port())))
            .collect()
    }

    /// The median of some questions about one topic.
    pub(crate) fn round_trip(&self, topic: &str) -> Result<Duration, Error> {
        let mut times = Vec::new();
        for _ in 0..ROUND_TRIPS {
            let since = Instant::now();
            let asked = self.consumer.fetch_metadata(Some(topic), self.source.patience);
            asked.map_err(|error| self.source.failed("metadata", &error))?;
            times.push(since.elapsed());
        }
        times.sort_unstable();
        Ok(times[ROUND_TRIPS / 2])
    }

    /// A topic as the cluster has it.
    ///
    /// # Errors
    /// When it is not there, or this user may not see it.
    pub(crate) fn topic(&self, name: &str) -> Result<&MetadataTopic, Error> {
        let found = self.metadata.topics().iter().find(|topic| topic.name() == name);
        if let Some(topic) = found.filter(|topic| !topic.partitions().is_empty()) {
            return Ok(topic);
        }
        // Asked for by its name, one that may not be seen is told apart from one that is not there.
        let asked = self.consumer.fetch_metadata(Some(name), self.source.patience);
        let error = asked.ok().and_then(|asked| asked.topics().first()?.error());
        match error.map(RDKafkaErrorCode::from) {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                let text = format!(
                    "source {}: this user may not see {name}; it needs Read and Describe: \
                     kafka-acls.sh --add --allow-principal User:NAME --operation Read --operation \
                     Describe --topic {name}",
                    self.source.name
                );
                Err(Error::new(ErrorKind::Permission, text))
            }
            _ => Err(self.source.missing_topic(name, &self.metadata)),
        }
    }

    /// Where the partitions of some topics begin and end, and where the group stands. Those without a
    /// leader are left out: nobody can tell.
    pub(crate) fn places(&self, topics: &[String]) -> Result<Vec<Place>, Error> {
        let mut keys = Vec::new();
        for name in topics {
            let topic: Arc<str> = Arc::from(name.as_str());
            let led = self.topic(name)?.partitions().iter().filter(|found| found.leader() >= 0);
            keys.extend(led.map(|found| key(&topic, found.id())));
        }
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |error: KafkaError| {
            let what =
                format!("the ends of the partitions and what {} has committed", self.group());
            self.source.failed(&what, &error)
        };
        let known = position::known(&self.consumer, &keys, self.source.patience);
        let known = known.map_err(failed)?;
        let start = self.source.config.start;
        let place = |(key, known): (LaneKey, Known)| {
            let begins = match known.committed {
                Some(committed) => Ok(committed),
                None => position::first_offset(&self.consumer, &key, &known, start),
            };
            let LaneKey { topic, partition, .. } = key;
            let Known { low, high, committed, .. } = known;
            Ok(Place { topic, partition, low, high, committed, begins: begins.map_err(failed)? })
        };
        keys.into_iter().zip(known).map(place).collect()
    }

    /// The group of the source.
    pub(crate) fn group(&self) -> &str {
        &self.source.config.group
    }

    /// What the coordinator says of the group.
    pub(crate) fn describe_group(&self) -> Result<GroupDescription, Error> {
        use RDKafkaErrorCode::{
            CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator,
        };
        let (group, limit) = (self.group(), self.source.patience);
        let deadline = Instant::now() + limit;
        loop {
            let described = admin::describe_group(self.consumer.client(), group, limit);
            let error = match described {
                Ok(described) => return Ok(described),
                Err(error) => error,
            };
            let passes = matches!(
                error.rdkafka_error_code(),
                Some(CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator)
            );
            if !passes || Instant::now() >= deadline {
                return Err(self.source.failed(&format!("group {group}"), &error));
            }
            thread::sleep(POLL_MAX);
        }
    }

    /// The ids of topics, what this user may do with them, and how they are set up.
    pub(crate) fn topic_facts(
        &self,
        runtime: &Handle,
        topics: &[&str],
    ) -> Result<BTreeMap<String, TopicFacts>, Error> {
        let question = TopicsQuestion {
            topics,
            broker: self.metadata.orig_broker_id(),
            rights: true,
            timeout: self.source.patience,
        };
        let described = admin::describe_topics(self.consumer.client(), &question)
            .map_err(|error| self.source.failed("the topics", &error))?;
        let mut settings = self.settings(runtime, topics);
        let facts = described.into_iter().map(|topic| {
            let settings = settings.remove(&topic.name);
            let settings = settings.unwrap_or_else(|| Err("no answer".to_owned()));
            (topic.name, TopicFacts { id: topic.id, rights: topic.rights, settings })
        });
        Ok(facts.collect())
    }

    /// The settings of topics, or why they are not told.
    fn settings(
        &self,
        runtime: &Handle,
        topics: &[&str],
    ) -> BTreeMap<String, Result<BTreeMap<String, String>, String>> {
        let failed = |error: &KafkaError| {
            topics.iter().map(|topic| ((*topic).to_owned(), Err(error.to_string()))).collect()
        };
        let mut config = client::base_config(&self.source.config);
        config.set("log_level", "0");
        let client: AdminClient<DefaultClientContext> = match config.create() {
            Ok(client) => client,
            Err(error) => return failed(&error),
        };
        let asked: Vec<ResourceSpecifier<'_>> =
            topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let options = AdminOptions::new().request_timeout(Some(self.source.patience));
        let answers = match runtime.block_on(client.describe_configs(&asked, &options)) {
            Ok(answers) => answers,
            Err(error) => return failed(&error),
        };
        let answers = answers.into_iter().flatten().filter_map(|answer| {
            let OwnedResourceSpecifier::Topic(name) = answer.specifier else { return None };
            let entries = answer.entries.into_iter();
            let settings: BTreeMap<String, String> =
                entries.filter_map(|entry| Some((entry.name, entry.value?))).collect();
            // The binding drops the refusal, and leaves nothing.
            let refused = || "this user may not see them".to_owned();
            Some((name, if settings.is_empty() { Err(refused()) } else { Ok(settings) }))
        });
        answers.collect()
    }

    /// Whether a lane can go on from a position.
    ///
    /// # Errors
    /// When retention has removed what is there, or the topic is another one.
    pub(crate) fn check_position(
        place: &Place,
        position: i64,
        [old, new]: [Option<&String>; 2],
        what: &str,
    ) -> Result<(), Error> {
        let Place { topic, partition, low, high, .. } = place;
        let key = key(topic, *partition);
        position::check_topic(&key, position, old, new, *low)?;
        position::check(&key, position, &Known::of(*low, *high), what)
    }

    /// The first record at or behind each of these offsets. What does not come within the patience is
    /// left out: an end of a partition, marks of transactions alone, a broker that is slow.
    pub(crate) fn first_records(
        &self,
        from: &[(PartitionKey, i64)],
    ) -> Result<BTreeMap<PartitionKey, Seen>, Error> {
        let failed = |error: KafkaError| self.source.failed("the oldest records", &error);
        let mut found = BTreeMap::new();
        if from.is_empty() {
            return Ok(found);
        }
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in from {
            let offset = Offset::Offset(*offset);
            list.add_partition_offset(topic, *partition, offset).map_err(failed)?;
        }
        self.consumer.assign(&list).map_err(failed)?;
        let deadline = Instant::now() + self.source.patience;
        while found.len() < from.len() && Instant::now() < deadline {
            let Some(Ok(message)) = self.consumer.poll(POLL_MAX) else { continue };
            let key = (Arc::from(message.topic()), message.partition());
            let seen =
                Seen { offset: message.offset(), timestamp_ms: message.timestamp().to_millis() };
            if found.contains_key(&key) {
                continue;
            }
            let mut done = TopicPartitionList::new();
            done.add_partition(message.topic(), message.partition());
            self.consumer.pause(&done).map_err(failed)?;
            found.insert(key, seen);
        }
        self.consumer.unassign().map_err(failed)?;
        Ok(found)
    }
}

fn key(topic: &Arc<str>, partition: i32) -> LaneKey {
    LaneKey { topic: Arc::clone(topic), partition, target: Arc::from("") }
}
