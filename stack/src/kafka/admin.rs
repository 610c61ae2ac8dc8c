//! Creates and deletes topics, and waits until the brokers agree that they did.

use std::{
    fmt,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication, TopicResult},
    client::DefaultClientContext,
    config::RDKafkaLogLevel,
    error::KafkaResult,
    types::RDKafkaErrorCode,
};

use crate::{Error, Result, runtime};

const LIMIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

pub(super) struct Admin {
    client: Arc<AdminClient<DefaultClientContext>>,
}

impl Admin {
    pub(super) fn new(bootstrap_servers: &str) -> Result<Self> {
        let client = ClientConfig::new()
            .set("bootstrap.servers", bootstrap_servers)
            // The default grows to 10 s, which a restarted broker would have to wait for.
            .set("reconnect.backoff.max.ms", "500")
            .set_log_level(RDKafkaLogLevel::Emerg)
            .create()
            .map_err(|source| Error::Kafka { action: "create a Kafka client".into(), source })?;
        Ok(Self { client: Arc::new(client) })
    }

    pub(super) fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replicas: i32,
        settings: &[(&str, &str)],
    ) -> Result<()> {
        let action = format!("create topic '{name}'");
        let settings: Vec<(String, String)> =
            settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let (client, topic) = (Arc::clone(&self.client), name.to_owned());
        let result = runtime::wait_for(&action, LIMIT, async move {
            let mut new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(replicas));
            for (key, value) in &settings {
                new = new.set(key, value);
            }
            client.create_topics([&new], &options()).await
        })?;
        check(&action, result)?;
        self.wait_until(&action, name, |leaders| has_leaders(leaders, partitions))
    }

    pub(super) fn add_partitions(&self, name: &str, partitions: i32) -> Result<()> {
        let action = format!("give topic '{name}' {partitions} partitions");
        let (client, topic) = (Arc::clone(&self.client), name.to_owned());
        let result = runtime::wait_for(&action, LIMIT, async move {
            let new = NewPartitions::new(&topic, partitions as usize);
            client.create_partitions([&new], &options()).await
        })?;
        check(&action, result)?;
        self.wait_until(&action, name, |leaders| has_leaders(leaders, partitions))
    }

    pub(super) fn delete_topic(&self, name: &str) -> Result<()> {
        let action = format!("delete topic '{name}'");
        let (client, topic) = (Arc::clone(&self.client), name.to_owned());
        let result = runtime::wait_for(&action, LIMIT, async move {
            client.delete_topics(&[&topic], &options()).await
        })?;
        check(&action, result)?;
        self.wait_until(&action, name, <[i32]>::is_empty)
    }

    /// Waits until the leaders of the topic's partitions are as they should be; a topic that does
    /// not exist has none.
    fn wait_until(&self, action: &str, topic: &str, done: impl Fn(&[i32]) -> bool) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let metadata =
                self.client.inner().fetch_metadata(Some(topic), LIMIT).map_err(|source| {
                    Error::Kafka { action: format!("{action}: ask for its metadata"), source }
                })?;
            let leaders: Vec<i32> = metadata
                .topics()
                .iter()
                .flat_map(|topic| topic.partitions())
                .map(|partition| partition.leader())
                .collect();
            if done(&leaders) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::TimedOut { action: action.into(), limit_s: LIMIT.as_secs() });
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admin")
    }
}

fn has_leaders(leaders: &[i32], partitions: i32) -> bool {
    leaders.len() == partitions as usize && leaders.iter().all(|leader| *leader >= 0)
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(LIMIT)).operation_timeout(Some(LIMIT))
}

fn check(action: &str, result: KafkaResult<Vec<TopicResult>>) -> Result<()> {
    let results = result.map_err(|source| Error::Kafka { action: action.into(), source })?;
    let refused: Option<RDKafkaErrorCode> =
        results.into_iter().find_map(|result| result.err().map(|(_, code)| code));
    match refused {
        Some(code) => Err(Error::Refused { action: action.into(), code }),
        None => Ok(()),
    }
}
