//! What ends a run early, and the exit code that says so.

use std::io;

use rdkafka::error::KafkaError;

use crate::ledger::LedgerError;
use crate::profile::ProfileError;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(
        "no broker answered at {brokers} within {timeout_s} s: is Kafka running there and is the \
         address right?"
    )]
    Unreachable { brokers: String, timeout_s: u64, source: KafkaError },
    #[error("a Kafka client property is wrong: check --property")]
    Client { source: KafkaError },
    #[error("cannot create topic {topic} with {partitions} partitions: {reason}")]
    CreateTopic { topic: String, partitions: u32, reason: String },
    #[error("topic {topic} is not usable: {reason}")]
    Topic { topic: String, reason: String },
    #[error("cannot send to partition {partition} of {topic}: {reason}")]
    Send { topic: String, partition: u32, reason: KafkaError },
    #[error("partition {partition} of {topic} did not take a record: {reason}")]
    Delivery { topic: String, partition: i32, reason: KafkaError },
    #[error(
        "partition {partition} of {topic} was empty and got {produced} records, but they take the \
         offsets {first_offset} to {next_offset}: does someone else write to this topic?"
    )]
    Offsets { topic: String, partition: i32, produced: u64, first_offset: i64, next_offset: i64 },
    #[error(
        "no tidegate answers at {url}: is it running there, and is --status the address of its admin \
         server (admin.listen)? {reason}"
    )]
    Status { url: String, reason: String },
    #[error(
        "{partitions} partitions of topic {topic} are read by none of the instances that were asked: \
         does a route have that topic, and is there a --status for each instance?"
    )]
    Unread { topic: String, partitions: usize },
    #[error(
        "a lag of {lag} records of topic {topic} was not gone within {seconds} s: is the sink there? \
         If it is only slow, begin at a lower --rate"
    )]
    Lag { topic: String, lag: u64, seconds: u64 },
    #[error("cannot write {path}")]
    File { path: String, source: io::Error },
    #[error("gave up because another thread failed")]
    GaveUp,
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("cannot write the records")]
    Output(#[from] io::Error),
    #[error("cannot start a thread or handle a signal")]
    System { source: io::Error },
    #[error("a producer thread ended without a result: this is a bug in loadgen")]
    Thread,
}

impl LoadError {
    /// The process's exit code, after sysexits.h.
    pub fn exit_code(&self) -> u8 {
        match self {
            LoadError::Profile(_) | LoadError::Client { .. } => 64,
            LoadError::Unreachable { .. }
            | LoadError::Status { .. }
            | LoadError::Unread { .. }
            | LoadError::Lag { .. } => 69,
            _ => 70,
        }
    }
}
