//! The thread that sends write sets to the collector, by OTLP over HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use ureq::Agent;

use super::{
    Random, WriteSet,
    otlp::{Anchor, request},
};
use crate::{metrics, watchdog::Heart};

/// For one request, from connecting to the last byte.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long write sets are gathered for one request, and how many at most.
const GATHER_MAX: Duration = Duration::from_secs(1);
const SETS_MAX: usize = 128;
/// How long the last ones may take: nothing waits longer for a collector at the end.
const LAST_MAX: Duration = Duration::from_secs(1);

pub(super) struct Exporter {
    agent: Agent,
    url: String,
    queue: Receiver<WriteSet>,
    random: Random,
    /// Since it was last said.
    dropped: Arc<AtomicU64>,
    is_away: bool,
}

impl Exporter {
    pub(super) fn new(
        endpoint: &str,
        queue: Receiver<WriteSet>,
        random: Random,
        dropped: Arc<AtomicU64>,
    ) -> Self {
        let config = Agent::config_builder().timeout_global(Some(ANSWER_MAX));
        let url = format!("{endpoint}/v1/traces");
        Self { agent: config.build().into(), url, queue, random, dropped, is_away: false }
    }

    /// Sends until nobody is left who could write.
    pub(super) fn run(mut self, heart: &Heart) {
        let mut is_last = false;
        while !is_last {
            heart.beat();
            let sets;
            (sets, is_last) = self.gather();
            if !sets.is_empty() {
                self.send(&sets, if is_last { LAST_MAX } else { ANSWER_MAX });
            }
        }
    }

    /// What came within the time, and whether nothing more can come.
    fn gather(&self) -> (Vec<WriteSet>, bool) {
        let deadline = Instant::now() + GATHER_MAX;
        let mut sets = Vec::new();
        while sets.len() < SETS_MAX {
            match self.queue.recv_deadline(deadline) {
                Ok(set) => sets.push(set),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return (sets, true),
            }
        }
        (sets, false)
    }

    /// Sends them, or drops them: a collector that is away is not waited for.
    fn send(&mut self, sets: &[WriteSet], limit: Duration) {
        let body = request(sets, &self.random, Anchor::now()).to_string();
        let count = sets.len() as u64;
        let request = self.agent.post(&self.url).header("Content-Type", "application/json");
        match request.config().timeout_global(Some(limit)).build().send(body) {
            Ok(_) => {
                metrics::traces("sent", count);
                if std::mem::take(&mut self.is_away) {
                    let dropped = self.dropped.swap(0, Relaxed);
                    tracing::info!("tracing: {} is back; {dropped} traces were dropped", self.url);
                }
            }
            Err(error) => {
                metrics::traces("dropped", count);
                self.dropped.fetch_add(count, Relaxed);
                if !std::mem::replace(&mut self.is_away, true) {
                    tracing::warn!(
                        "tracing: {} takes no spans: {error}; they are dropped until it does. Is a \
                         collector there, and is tracing.otlp its address for OTLP over HTTP (port \
                         4318)?",
                        self.url
                    );
                }
            }
        }
    }
}
