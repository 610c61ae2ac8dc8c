//! Topics that are made after the start and match a pattern: they are told, and read after a restart.
//!
//! Not read at once: the memory budget and the tables of a route are settled when it is opened.

use std::{collections::BTreeSet, time::Duration};

use rdkafka::producer::{BaseProducer, Producer as _};
use regex::Regex;

use crate::{shutdown::Shutdown, watchdog::Heart};

const INTERVAL: Duration = Duration::from_secs(10);
const TURN: Duration = Duration::from_secs(1);
const ASK_MAX: Duration = Duration::from_secs(5);

pub(super) struct Discovery {
    pub(super) source: String,
    pub(super) inquirer: BaseProducer,
    pub(super) patterns: Vec<Regex>,
    /// Topics that are read, or told already.
    pub(super) known: BTreeSet<String>,
    pub(super) shutdown: Shutdown,
}

impl Discovery {
    pub(super) fn run(mut self, heart: &Heart) {
        let mut waited = Duration::ZERO;
        while !self.shutdown.sleep(TURN) {
            heart.beat();
            waited += TURN;
            if waited >= INTERVAL {
                waited = Duration::ZERO;
                self.look();
            }
        }
    }

    fn look(&mut self) {
        // No answer is the lag thread's to tell.
        let Ok(metadata) = self.inquirer.client().fetch_metadata(None, ASK_MAX) else { return };
        for topic in metadata.topics().iter().map(|topic| topic.name()) {
            let matches = self.patterns.iter().any(|pattern| pattern.is_match(topic));
            if matches && !topic.starts_with("__") && self.known.insert(topic.to_owned()) {
                tracing::warn!(
                    "source {}: the new topic {topic} matches a pattern; it is read after a restart",
                    self.source
                );
            }
        }
    }
}
