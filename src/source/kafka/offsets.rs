//! Offsets that are committed to Kafka.
//!
//! Stored offsets and the end of an assignment are both the poller's business alone, on one thread:
//! so no late answer can store an offset for a partition that went elsewhere. Offsets are stored
//! (`store_offsets`, checked against the assignment by librdkafka) and committed as a state, never by a
//! list: a list is checked only against the group's generation, and could move a partition that
//! another member owns by then.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{client::Client, poller::Poller};
use crate::{failpoint::failpoint, metrics, watchdog::Heart};

/// How long a commit may take when partitions are given up.
const COMMIT_MAX: Duration = Duration::from_secs(5);

impl Poller {
    /// Stores the frontiers, moved or not: a commit that failed is made good by the next, and
    /// librdkafka itself leaves out what it knows to be committed.
    fn store(&self) {
        let frontiers = match self.assignment.frontiers() {
            Ok(frontiers) if frontiers.count() == 0 => return,
            Ok(frontiers) => frontiers,
            Err(error) => {
                tracing::warn!(source = self.name, "cannot list the frontiers: {error}");
                return;
            }
        };
        // A partition that librdkafka no longer counts as assigned is refused by itself: its next
        // owner decides.
        if let Err(error) = self.consumer.store_offsets(&frontiers) {
            tracing::debug!(source = self.name, "offsets not stored: {error}");
        }
    }

    pub(super) fn commit(&self) {
        self.store();
        failpoint!("offsets.stored");
        commit_stored(&self.consumer, CommitMode::Async);
        failpoint!("offsets.committed");
    }

    /// Commits and waits for the answer, but not for ever: with the coordinator away, the client
    /// would wait as long as it takes. What is not committed is read again at least once, or not
    /// at all where the sink keeps checkpoints.
    pub(super) fn commit_and_wait(&self, heart: &Heart) {
        self.store();
        let consumer = Arc::clone(&self.consumer);
        let commit = std::thread::spawn(move || commit_stored(&consumer, CommitMode::Sync));
        let deadline = Instant::now() + COMMIT_MAX;
        while !commit.is_finished() {
            heart.beat();
            if Instant::now() >= deadline {
                tracing::warn!(
                    source = self.name,
                    "the offsets were not committed in {COMMIT_MAX:?}"
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Commits what is stored. An asynchronous commit's answer goes to a callback that the client serves
/// only where one is set in its C configuration (rd_kafka_cgrp_propagate_commit_result); a commit
/// that failed is made good by the next.
fn commit_stored(consumer: &BaseConsumer<Client>, mode: CommitMode) {
    match consumer.commit_consumer_state(mode) {
        Ok(()) => metrics::offset_commit(true),
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        Err(error) => {
            metrics::offset_commit(false);
            tracing::warn!("offsets not committed: {error}");
        }
    }
}
