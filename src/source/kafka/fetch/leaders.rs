//! Which broker leads which partition, and where it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{BaseConsumer, Consumer as _},
    metadata::Metadata,
};

use super::{Shared, State, broker, lock, plan::Leader};
use crate::{
    error::Error,
    source::kafka::client::Client,
    watchdog::{Heart, Watchdog},
};

const ASK_MAX: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(1);

pub(super) fn spawn(
    shared: Arc<Shared>,
    consumer: Arc<BaseConsumer<Client>>,
    watchdog: &Watchdog,
) -> Result<JoinHandle<()>, Error> {
    let name = format!("leaders-{}", shared.source);
    let brokers = watchdog.clone();
    watchdog.spawn(&name, move |heart| {
        run(&shared, &consumer, &brokers, heart);
        drop(consumer);
        let threads = std::mem::take(&mut lock(&shared.state).threads);
        for thread in threads.into_values() {
            while !thread.is_finished() {
                heart.beat();
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    })
}

fn run(shared: &Arc<Shared>, consumer: &BaseConsumer<Client>, watchdog: &Watchdog, heart: &Heart) {
    while !shared.is_ended() {
        heart.beat();
        let state = lock(&shared.state);
        let topics = state.topics_to_ask_for(Instant::now());
        if topics.is_empty() {
            if !shared.is_ended() {
                drop(shared.unknown.wait_timeout(state, WAIT_MAX));
            }
            continue;
        }
        drop(state);
        for topic in &topics {
            heart.beat();
            if shared.is_ended() {
                return;
            }
            match consumer.fetch_metadata(Some(topic), ASK_MAX) {
                Ok(metadata) => lock(&shared.state).learn(topic, &metadata),
                Err(error) => tracing::debug!("the leaders of {topic} are not known: {error}"),
            }
        }
        let mut state = lock(&shared.state);
        for id in state.leaders_without_thread() {
            match broker::spawn(Arc::clone(shared), id, watchdog) {
                Ok(thread) => drop(state.threads.insert(id, thread)),
                Err(error) => tracing::error!("{error}"),
            }
        }
        let is_done = state.topics_to_ask_for(Instant::now()).is_empty();
        drop(state);
        shared.changed.notify_all();
        if !is_done {
            shared.sleep(PAUSE);
        }
    }
}

impl State {
    /// Topics of which a partition has no leader that answers.
    fn topics_to_ask_for(&self, now: Instant) -> Vec<Arc<str>> {
        let mut topics: Vec<Arc<str>> = Vec::new();
        for slot in self.slots.values() {
            let is_wanted = match slot.leader {
                _ if slot.is_over => false,
                Leader::Unknown => true,
                Leader::Broker(id) => self.is_silent(id, now),
            };
            if is_wanted && !topics.contains(&slot.topic) {
                topics.push(Arc::clone(&slot.topic));
            }
        }
        topics
    }

    fn is_silent(&self, broker: i32, now: Instant) -> bool {
        self.silent_from.get(&broker).is_some_and(|from| now >= *from)
    }

    fn leaders_without_thread(&self) -> BTreeSet<i32> {
        let leaders = self.slots.values().filter_map(|slot| match slot.leader {
            Leader::Broker(id) => Some(id),
            Leader::Unknown => None,
        });
        leaders.filter(|id| !self.threads.contains_key(id)).collect()
    }

    fn learn(&mut self, topic: &Arc<str>, metadata: &Metadata) {
        for broker in metadata.brokers() {
            self.brokers.insert(broker.id(), (broker.host().to_owned(), broker.port() as u16));
        }
        let known: BTreeMap<i32, i32> = metadata
            .topics()
            .iter()
            .filter(|found| found.name() == &**topic)
            .flat_map(|found| found.partitions())
            .filter(|partition| partition.leader() >= 0)
            .map(|partition| (partition.id(), partition.leader()))
            .collect();
        for slot in self.slots.values_mut().filter(|slot| slot.topic == *topic) {
            if let Some(leader) = known.get(&slot.partition) {
                slot.leader = Leader::Broker(*leader);
            }
        }
    }
}
