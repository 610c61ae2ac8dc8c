//! The ids of topics: a topic that was deleted and made anew under its old name has another one, and
//! the offsets of the old one mean nothing in it.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
};

use super::admin::{TopicsQuestion, describe_topics};
use crate::sink::TopicIds;

/// Asks for the ids of `topics`; a topic that is not there, or has none, is left out.
///
/// # Errors
/// When the brokers do not answer in time.
pub(super) fn topic_ids<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topics: &[Arc<str>],
    timeout: Duration,
) -> Result<TopicIds, KafkaError> {
    let Some(first) = topics.first() else { return Ok(TopicIds::new()) };
    // Any broker can answer: the one that answers this.
    let broker = consumer.fetch_metadata(Some(first), timeout)?.orig_broker_id();
    let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
    let question = TopicsQuestion { topics: &names, broker, rights: false, timeout };
    let described = describe_topics(consumer.client(), &question)?;
    let id = |topic: &Arc<str>| {
        let found = described.iter().find(|found| found.name == **topic)?;
        Some((Arc::clone(topic), found.id.clone()?))
    };
    Ok(topics.iter().filter_map(id).collect())
}
