//! One record of a topic, by its place.

use std::time::{Duration, Instant};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::Consumer as _,
    error::{KafkaError, RDKafkaErrorCode},
    producer::Producer as _,
};

use super::{ASK_MAX, KafkaSource, message::Message};
use crate::{
    batch::Original,
    error::{Error, ErrorKind},
};

const POLL_MAX: Duration = Duration::from_millis(100);

/// What a cluster has at one place of a topic.
pub(crate) struct Fetched {
    pub(crate) cluster_id: String,
    /// The first offset that is there, and the end of the partition.
    pub(crate) bounds: (i64, i64),
    /// The record, kept; `None` if there is none at this place.
    pub(crate) record: Option<Vec<u8>>,
}

impl KafkaSource {
    /// Reads the record at `offset` of a partition.
    ///
    /// # Errors
    /// When the brokers do not answer, or have no such topic or partition.
    pub(crate) fn fetch(&self, topic: &str, partition: i32, offset: i64) -> Result<Fetched, Error> {
        let inquirer = self.inquirer()?;
        let topics = [topic.to_owned()];
        let count = self.partition_counts(&inquirer, &topics)?.first().copied().unwrap_or(0);
        if usize::try_from(partition).is_ok_and(|number| number >= count) || partition < 0 {
            return Err(Error::config(format!(
                "source {}: topic {topic} has {count} partitions, from 0 on, and none is {partition}",
                self.name
            )));
        }
        let away = |error: KafkaError| Error::unavailable(format!("source {}: {error}", self.name));
        let client = inquirer.client();
        let cluster_id = client.fetch_cluster_id(ASK_MAX).unwrap_or_default();
        let bounds = client.fetch_watermarks(topic, partition, ASK_MAX).map_err(away)?;
        let mut record = None;
        if (bounds.0..bounds.1).contains(&offset) {
            let consumer = self.sampler()?;
            let mut list = TopicPartitionList::new();
            let added = list.add_partition_offset(topic, partition, Offset::Offset(offset));
            added.and_then(|()| consumer.assign(&list)).map_err(|e| self.misconfigured(&e))?;
            let deadline = Instant::now() + self.patience;
            while Instant::now() < deadline {
                match consumer.poll(POLL_MAX) {
                    None => {}
                    // The next one that there is, if the place is empty.
                    Some(Ok(message)) => {
                        let kept = Message::of(&message).filter(|_| message.offset() == offset);
                        record = kept.map(|message| {
                            let mut bytes = Vec::new();
                            Original::keep(&message.record(topic), &mut bytes);
                            bytes
                        });
                        break;
                    }
                    Some(Err(KafkaError::MessageConsumption(
                        RDKafkaErrorCode::TopicAuthorizationFailed,
                    ))) => {
                        let text = format!("source {}: this user may not read {topic}", self.name);
                        return Err(Error::new(ErrorKind::Permission, text));
                    }
                    Some(Err(error)) => tracing::warn!("source {}: {error}", self.name),
                }
            }
        }
        Ok(Fetched { cluster_id, bounds, record })
    }
}
