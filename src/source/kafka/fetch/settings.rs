//! What of the client's properties concerns the fetching.

use std::{sync::Arc, time::Duration};

use super::security::Security;
use crate::{config::KafkaSource as Config, memory::Memory};

/// Longer than a broker needs to hear that it does not lead any more.
const DOUBT_MAX: Duration = Duration::from_secs(2);

/// How records are fetched.
#[derive(Clone, Debug)]
pub(in crate::source::kafka) struct Settings {
    pub(super) client_id: String,
    pub(super) security: Security,
    pub(super) is_read_committed: bool,
    pub(super) wait_ms: i32,
    pub(super) bytes_min: i32,
    /// For all that is fetched and not read yet, by all sources.
    pub(super) memory: Arc<Memory>,
    /// How long an offset must be said not to be there until it is believed.
    pub(super) doubt_max: Duration,
    /// Whether the threads hear of the ends of their partitions.
    pub(super) tells_ends: bool,
}

/// Properties that concern the group and the client alone, not how records come.
const OTHERS: [&str; 22] = [
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "group.protocol",
    "group.remote.assignor",
    "group.instance.id",
    "allow.auto.create.topics",
    "debug",
    "log_level",
    "metadata.max.age.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.sparse",
    "topic.metadata.propagation.max.ms",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "socket.keepalive.enable",
    "socket.timeout.ms",
    "coordinator.query.interval.ms",
    "queued.min.messages",
    "fetch.queue.backoff.ms",
];

impl Settings {
    /// Ends of partitions are told, too.
    pub(in crate::source::kafka) fn with_ends(self) -> Self {
        Self { tells_ends: true, ..self }
    }

    /// `None` if a property is set that only librdkafka knows to obey: then it fetches.
    pub(in crate::source::kafka) fn of(config: &Config, memory: &Arc<Memory>) -> Option<Self> {
        let mut settings = Self {
            client_id: "tidegate".to_owned(),
            security: Security::of(config)?,
            is_read_committed: true,
            wait_ms: 50,
            bytes_min: 1,
            memory: Arc::clone(memory),
            doubt_max: DOUBT_MAX,
            tells_ends: false,
        };
        for (name, value) in &config.properties {
            let value = value.expose();
            match name.as_str() {
                "client.id" => settings.client_id = value.to_owned(),
                "isolation.level" => settings.is_read_committed = value != "read_uncommitted",
                "fetch.wait.max.ms" => settings.wait_ms = value.parse().ok()?,
                "fetch.min.bytes" => settings.bytes_min = value.parse().ok()?,
                other if Security::PROPERTIES.contains(&other) => {}
                other if OTHERS.contains(&other) => {}
                _ => return None,
            }
        }
        Some(settings)
    }
}

#[cfg(test)]
impl Settings {
    /// Without any property.
    pub(super) fn plain(budget_bytes: usize) -> Self {
        Self {
            client_id: "tidegate".to_owned(),
            security: Security::default(),
            is_read_committed: true,
            wait_ms: 50,
            bytes_min: 1,
            memory: Arc::new(Memory::new(budget_bytes, budget_bytes)),
            doubt_max: Duration::ZERO,
            tells_ends: true,
        }
    }
}
