//! Where the records of a partition come from.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

use super::{
    fetch::{Feed, Fetcher},
    position::PartitionKey,
    queue::PartitionQueue,
};
use crate::record::Record;

/// The records of one partition, in order.
pub(super) enum Records {
    /// Fetched by ourselves; librdkafka's own queue stays split, and is not read.
    Fetched(Box<Feed>, #[expect(dead_code, reason = "held until the thread ends")] PartitionQueue),
    /// From librdkafka's queue.
    Queued(PartitionQueue),
}

impl Records {
    /// From `position` on, by `fetcher` if there is one; `queue` is the partition's, split.
    pub(super) fn open(
        fetcher: Option<&Fetcher>,
        queue: PartitionQueue,
        (topic, partition): &PartitionKey,
        position: i64,
    ) -> Self {
        match fetcher {
            Some(fetcher) => {
                Self::Fetched(Box::new(fetcher.open(topic, *partition, position)), queue)
            }
            None => Self::Queued(queue),
        }
    }

    /// The offset behind all that was read, also behind marks of transactions, which are not given.
    pub(super) fn position(&self) -> Option<i64> {
        match self {
            Self::Fetched(feed, _) => Some(feed.position()),
            Self::Queued(queue) => queue.position(),
        }
    }

    /// Gives `visit` the records that are there, or else waits for the next one, at most so long; goes on
    /// while `visit` says so. A fault comes with its offset, and so does the partition's end where it is asked for.
    /// Says how many records came.
    pub(super) fn read(
        &mut self,
        topic: &str,
        wait: Duration,
        mut visit: impl FnMut(Result<&Record<'_>, (RDKafkaErrorCode, i64)>) -> bool,
    ) -> u32 {
        let queue = match self {
            Self::Fetched(feed, _) => return feed.read(topic, wait, visit),
            Self::Queued(queue) => queue,
        };
        let mut messages = queue.read(wait);
        let mut count = 0;
        while let Some(message) = messages.next() {
            let goes_on = match message {
                Ok(message) => {
                    count += 1;
                    visit(Ok(&message.record(topic)))
                }
                Err(fault) => visit(Err(fault)),
            };
            if !goes_on {
                break;
            }
        }
        count
    }
}
