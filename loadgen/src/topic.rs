//! Finds or creates the topic and learns where its partitions end.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::error::LoadError;

/// How long a broker may take to answer before it counts as unreachable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two questions whether a new topic is ready, as no event says so.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The topic to write to.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) name: String,
    /// Each partition's low and high watermark before the run.
    pub(crate) watermarks: Vec<(i64, i64)>,
}

/// How to make the topic if it is missing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Creation {
    pub(crate) partitions: u32,
    pub(crate) replication: u32,
}

impl Topic {
    /// Opens the topic, creating it if it is missing.
    pub(crate) fn open(
        config: &ClientConfig,
        brokers: &str,
        name: &str,
        creation: Creation,
    ) -> Result<Self, LoadError> {
        let admin: AdminClient<DefaultClientContext> =
            config.create().map_err(|source| LoadError::Client { source })?;
        let unreachable = |source| LoadError::Unreachable {
            brokers: brokers.to_owned(),
            timeout_s: ANSWER_TIMEOUT.as_secs(),
            source,
        };
        let mut count = partition_count(&admin, name, ANSWER_TIMEOUT).map_err(unreachable)?;
        if count.is_none() {
            create(&admin, name, creation)?;
            count = await_leaders(&admin, name).map_err(unreachable)?;
        }
        let count = count.ok_or_else(|| LoadError::Topic {
            topic: name.to_owned(),
            reason: "some partition has no leader".to_owned(),
        })?;
        let watermarks = (0..count)
            .map(|partition| watermarks(&admin, name, partition))
            .collect::<Result<_, _>>()
            .map_err(|error| LoadError::Topic {
                topic: name.to_owned(),
                reason: format!("its watermarks cannot be read: {error}"),
            })?;
        Ok(Topic { name: name.to_owned(), watermarks })
    }
}

/// How many partitions the topic has; `None` if it is missing or a partition has no leader yet.
fn partition_count(
    admin: &AdminClient<DefaultClientContext>,
    name: &str,
    timeout: Duration,
) -> Result<Option<i32>, KafkaError> {
    // All topics are asked for: to ask for one by name may make the broker create it, with the
    // broker's own number of partitions.
    let metadata = admin.inner().fetch_metadata(None, timeout)?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
    Ok(topic
        .map(|topic| topic.partitions())
        .filter(|partitions| !partitions.is_empty())
        .filter(|partitions| partitions.iter().all(|partition| partition.leader() >= 0))
        .map(|partitions| partitions.len() as i32))
}

fn create(
    admin: &AdminClient<DefaultClientContext>,
    name: &str,
    creation: Creation,
) -> Result<(), LoadError> {
    let failed = |reason: String| LoadError::CreateTopic {
        topic: name.to_owned(),
        partitions: creation.partitions,
        reason,
    };
    let replication = TopicReplication::Fixed(creation.replication as i32);
    let topic = NewTopic::new(name, creation.partitions as i32, replication);
    let options = AdminOptions::new()
        .request_timeout(Some(ANSWER_TIMEOUT))
        .operation_timeout(Some(ANSWER_TIMEOUT));
    let results = block_on(admin.create_topics([&topic], &options))
        .map_err(|error| failed(error.to_string()))?;
    for result in results {
        match result {
            // Someone else created it in the meantime, or it waits for a leader: both are fine.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(failed(code.to_string())),
        }
    }
    Ok(())
}

/// Waits until every partition of a new topic has a leader; `None` if that takes too long.
fn await_leaders(
    admin: &AdminClient<DefaultClientContext>,
    name: &str,
) -> Result<Option<i32>, KafkaError> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let count = partition_count(admin, name, left.max(Duration::from_millis(1)))?;
        if count.is_some() || left.is_zero() {
            return Ok(count);
        }
        std::thread::sleep(RETRY_PAUSE);
    }
}

/// Low and high watermark of one partition.
fn watermarks(
    admin: &AdminClient<DefaultClientContext>,
    name: &str,
    partition: i32,
) -> Result<(i64, i64), KafkaError> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        match admin.inner().fetch_watermarks(name, partition, ANSWER_TIMEOUT) {
            Err(error) if is_settling(&error) && Instant::now() < deadline => {
                std::thread::sleep(RETRY_PAUSE);
            }
            result => return result,
        }
    }
}

/// Whether the broker has only just learnt of its partition: metadata names a leader before that
/// leader knows that it is one.
fn is_settling(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
        )
    )
}

/// Runs one future on this thread; the admin client wakes it from a thread of its own.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
