//! Asks the brokers for the ends of the partitions, so that lag is right whatever the fetching does;
//! and now and then whether the topics are still the same.
//!
//! The client's own statistics know the end only as of its last fetch: while a partition is held back
//! by a slow sink nothing is fetched, and the lag would seem to stand still. The question goes out on
//! a thread of its own, as a broker that is away keeps it waiting.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaResult,
};

use super::{client::Client, topic_id::topic_ids};
use crate::{
    error::{Error, ErrorKind},
    lane::Lane,
    shutdown::Shutdown,
    sink::TopicIds,
    status::Status,
    watchdog::Heart,
};

const INTERVAL: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);
const ASK_MAX: Duration = Duration::from_secs(3);
/// Rounds between two looks at the topics' ids.
const ID_ROUNDS: u32 = 5;
/// Rounds between two questions for the beginnings, which retention moves now and then.
const LOW_ROUNDS: u32 = 5;

pub(super) struct Watermarks {
    pub(super) source: String,
    pub(super) consumer: Arc<BaseConsumer<Client>>,
    pub(super) topics: Vec<Arc<str>>,
    pub(super) status: Arc<Status>,
    pub(super) shutdown: Shutdown,
    pub(super) ended: Arc<AtomicBool>,
}

impl Watermarks {
    pub(super) fn run(self, heart: &Heart) {
        let mut ids = TopicIds::new();
        for round in 0u32.. {
            if self.ended.load(Relaxed) {
                return;
            }
            heart.beat();
            if round.is_multiple_of(ID_ROUNDS) {
                self.compare_ids(&mut ids);
                heart.beat();
            }
            match self.ask(Offset::End, Lane::set_high_watermark) {
                Ok(()) => self.status.brokers_answered(&self.source),
                Err(error) => self.status.brokers_silent(&self.source, &error.to_string()),
            }
            heart.beat();
            if round.is_multiple_of(LOW_ROUNDS)
                && let Err(error) = self.ask(Offset::Beginning, Lane::set_low_watermark)
            {
                tracing::debug!("the beginnings of the partitions are not known: {error}");
            }
            let mut waited = Duration::ZERO;
            while waited < INTERVAL && !self.ended.load(Relaxed) {
                std::thread::sleep(PAUSE);
                waited += PAUSE;
            }
        }
    }

    /// A topic that was made anew under the same name is another one: the client would read it from
    /// the old one's offset on, if it is long enough.
    fn compare_ids(&self, known: &mut TopicIds) {
        let Ok(found) = topic_ids(&self.consumer, &self.topics, ASK_MAX) else { return };
        for (topic, id) in found {
            let known = known.entry(Arc::clone(&topic)).or_insert_with(|| id.clone());
            if *known != id {
                self.shutdown.fail(Error::new(
                    ErrorKind::Data,
                    format!(
                        "topic {topic} was recreated while it was being read: its id was {known} and \
                         is {id}. See \"Positions\" in docs/delivery.md for the way on"
                    ),
                ));
            }
        }
    }

    /// Asks for one of the two watermarks of all partitions, and tells their lanes.
    fn ask(&self, wanted: Offset, set: fn(&Lane, i64)) -> KafkaResult<()> {
        let lanes: Vec<Arc<Lane>> = self.status.lanes();
        let mine = lanes.iter().filter(|lane| self.topics.contains(&lane.key.topic));
        let mut list = TopicPartitionList::new();
        for lane in mine.clone() {
            let (topic, partition) = (&*lane.key.topic, lane.key.partition);
            if list.find_partition(topic, partition).is_none() {
                // In a request for offsets by time, "beginning" (-2) and "end" (-1) are the times of the
                // first and the latest record.
                list.add_partition_offset(topic, partition, wanted)?;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        let found = self.consumer.offsets_for_times(list, ASK_MAX)?;
        for lane in mine {
            let element = found.find_partition(&lane.key.topic, lane.key.partition);
            if let Some(Offset::Offset(offset)) = element.map(|element| element.offset()) {
                set(lane, offset);
            }
        }
        Ok(())
    }
}
