//! What the group knows of this member: the generation that it is in, and whether it still counts.

use std::{
    sync::{
        Arc,
        atomic::Ordering::{AcqRel, Release},
    },
    time::Duration,
};

use rdkafka::{
    TopicPartitionList,
    bindings::{
        rd_kafka_consumer_group_metadata, rd_kafka_consumer_group_metadata_destroy,
        rd_kafka_consumer_group_metadata_generation_id,
    },
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::client::Client;

/// How long the group may take to answer a commit.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The generation of the group that this member is in; with the consumer protocol (KIP-848) the
/// member's epoch. Both only grow while the group exists. -1 or 0 for a client that is no member.
#[allow(unsafe_code)]
pub(super) fn generation(consumer: &BaseConsumer<Client>) -> i32 {
    let client = consumer.client().native_ptr();
    // SAFETY: `client` is valid as long as `consumer` is borrowed. The metadata are a copy of the
    // client's (rd_kafka_consumer_group_metadata asks its main thread for it), null for a client
    // without a group, and ours to destroy, which happens once and after the last use.
    unsafe {
        let metadata = rd_kafka_consumer_group_metadata(client);
        if metadata.is_null() {
            return -1;
        }
        let generation = rd_kafka_consumer_group_metadata_generation_id(metadata);
        rd_kafka_consumer_group_metadata_destroy(metadata);
        generation
    }
}

/// Whether the group still counts this member in: it then accepts a commit of `offsets`, which are to
/// be the committed ones, so that nothing moves. A list is checked against member and generation
/// alone, which is just what is asked here.
///
/// # Errors
/// When the group does not answer: to be asked again.
pub(super) fn is_counted(
    consumer: &Arc<BaseConsumer<Client>>,
    offsets: TopicPartitionList,
) -> Result<bool, KafkaError> {
    let (sender, answer) = crossbeam_channel::bounded(1);
    let consumer = Arc::clone(consumer);
    // A commit waits for the coordinator as long as it takes, and is sent then: one at a time.
    if consumer.context().asks_group.swap(true, AcqRel) {
        return Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::PreviousInProgress));
    }
    std::thread::spawn(move || {
        let answer = consumer.commit(&offsets, CommitMode::Sync);
        consumer.context().asks_group.store(false, Release);
        drop(consumer);
        let _ = sender.send(answer);
    });
    let Ok(answer) = answer.recv_timeout(ANSWER_MAX) else {
        return Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::RequestTimedOut));
    };
    let out = [
        RDKafkaErrorCode::UnknownMemberId,
        RDKafkaErrorCode::IllegalGeneration,
        RDKafkaErrorCode::FencedInstanceId,
        RDKafkaErrorCode::StaleMemberEpoch,
        RDKafkaErrorCode::FencedMemberEpoch,
        RDKafkaErrorCode::AssignmentLost,
        RDKafkaErrorCode::Fatal,
    ];
    match answer {
        // The coordinator looks at member and generation first; a rebalance is only the next thing.
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::RebalanceInProgress)) => Ok(true),
        Err(KafkaError::ConsumerCommit(code)) if out.contains(&code) => Ok(false),
        Err(error) => Err(error),
    }
}
