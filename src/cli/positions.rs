//! Where lanes stand, by what Kafka and the databases say: for commands that ask both.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::runtime::Handle;

use super::PATIENCE;
use crate::{
    config::{Config, Delivery, Sink, Source, Target},
    error::Error,
    memory::Memory,
    shutdown::Shutdown,
    sink::postgres::{PostgresSink, StoredPosition},
    source::kafka::{KafkaSource, Place},
};

/// The Kafka sources of a configuration, to look at.
pub(super) fn kafka_sources(config: &Config) -> BTreeMap<&str, KafkaSource> {
    let memory = Arc::new(Memory::new(config.memory.budget, config.batch.bytes));
    let sources = config.sources.iter().filter_map(|(name, source)| {
        let Source::Kafka(kafka) = source else { return None };
        let (memory, shutdown) = (Arc::clone(&memory), Shutdown::default());
        let source = KafkaSource::new(name, kafka.clone(), memory, shutdown, PATIENCE);
        Some((name.as_str(), source))
    });
    sources.collect()
}

/// The databases of a configuration that some route writes to, to look at; the error is one of a URL or a
/// certificate that cannot be used.
pub(super) fn databases<'a>(
    config: &'a Config,
    runtime: &Handle,
) -> BTreeMap<&'a str, Result<PostgresSink, Error>> {
    let targets = config.routes.iter().flat_map(|route| &route.to);
    let used: BTreeSet<&str> = targets.map(|target| &*target.sink).collect();
    let sinks = config.sinks.iter().filter(|(name, _)| used.contains(name.as_str()));
    let databases = sinks.filter_map(|(name, sink)| {
        let Sink::Postgres(postgres) = sink else { return None };
        let (handle, shutdown) = (runtime.clone(), Shutdown::default());
        Some((name.as_str(), PostgresSink::new(name, postgres, handle, shutdown, PATIENCE)))
    });
    databases.collect()
}

/// The name of a target in lanes.
pub(super) fn lane_name(target: &Target) -> String {
    match &target.table {
        None => target.sink.clone(),
        Some(table) => {
            let schema = table.schema.as_deref().unwrap_or("public");
            format!("{}.{schema}.{}", target.sink, table.name)
        }
    }
}

/// Where a lane stands, and by what.
#[derive(Clone, Debug)]
pub(super) enum Standing<'a> {
    Checkpoint(&'a StoredPosition),
    /// What the group has committed.
    Committed(i64),
    /// Nowhere yet: it begins here.
    Begins(i64),
}

impl Standing<'_> {
    /// The first offset that is not durable.
    pub(super) fn offset(&self) -> i64 {
        match self {
            Self::Checkpoint(stored) => stored.next_offset,
            Self::Committed(offset) | Self::Begins(offset) => *offset,
        }
    }
}

/// Where the lane of `target` stands in a partition.
pub(super) fn standing<'a>(
    target: &Target,
    place: &Place,
    stored: &'a [StoredPosition],
) -> Standing<'a> {
    let name = lane_name(target);
    let mine = |stored: &&StoredPosition| {
        stored.topic == *place.topic && stored.partition == place.partition && stored.target == name
    };
    let checkpoint = stored.iter().find(mine).filter(|_| target.delivery == Delivery::ExactlyOnce);
    match (checkpoint, place.committed) {
        (Some(checkpoint), _) => Standing::Checkpoint(checkpoint),
        (None, Some(committed)) => Standing::Committed(committed),
        (None, None) => Standing::Begins(place.begins),
    }
}
