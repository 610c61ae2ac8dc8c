//! Asks the brokers for the ends of the partitions, so that lag is right whatever the fetching does.
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

use super::client::Client;
use crate::{lane::Lane, status::Status, watchdog::Heart};

const INTERVAL: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);
const ASK_MAX: Duration = Duration::from_secs(3);

pub(super) struct Watermarks {
    pub(super) consumer: Arc<BaseConsumer<Client>>,
    pub(super) topics: Vec<String>,
    pub(super) status: Arc<Status>,
    pub(super) ended: Arc<AtomicBool>,
}

impl Watermarks {
    pub(super) fn run(self, heart: &Heart) {
        while !self.ended.load(Relaxed) {
            heart.beat();
            if let Err(error) = self.ask() {
                tracing::debug!("the ends of the partitions are not known: {error}");
            }
            let mut waited = Duration::ZERO;
            while waited < INTERVAL && !self.ended.load(Relaxed) {
                std::thread::sleep(PAUSE);
                waited += PAUSE;
            }
        }
    }

    fn ask(&self) -> KafkaResult<()> {
        let lanes: Vec<Arc<Lane>> = self.status.lanes();
        let mine = lanes.iter().filter(|lane| self.topics.iter().any(|t| **t == *lane.key.topic));
        let mut list = TopicPartitionList::new();
        for lane in mine.clone() {
            let (topic, partition) = (&*lane.key.topic, lane.key.partition);
            if list.find_partition(topic, partition).is_none() {
                // In a request for offsets by time, "end" (-1) is the time of the latest record.
                list.add_partition_offset(topic, partition, Offset::End)?;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        let found = self.consumer.offsets_for_times(list, ASK_MAX)?;
        for lane in mine {
            let element = found.find_partition(&lane.key.topic, lane.key.partition);
            if let Some(Offset::Offset(end)) = element.map(|element| element.offset()) {
                lane.set_high_watermark(end);
            }
        }
        Ok(())
    }
}
