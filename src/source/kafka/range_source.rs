//! The source that reads a range: finds the stretches, claims their lanes, and runs their threads.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{
    ASK_MAX, KafkaSource,
    client::{self, Client},
    fetch::{Fetcher, Settings},
    position::PartitionKey,
    queue::PartitionQueue,
    range::{Edge, Range, Stretch},
    range_reader::RangeReader,
    records::Records,
    topic_id::topic_ids,
};
use crate::{
    batch::Trigger,
    error::{Error, ErrorKind},
    lane::{Lane, LaneKey, Loss},
    record::Record,
    route::{Context, LaneStart, OpenPartition, Reading, Route},
    sink::{Claimant, Claimed, Group, Rank, TopicIds},
    source::{Source, claim::claim, first_route},
    status::SourceState,
    stop::Stop,
    watchdog::Heart,
};

const POLL_MAX: Duration = Duration::from_millis(50);
/// Nothing is committed in its name.
const GROUP: &str = "tidegate-replay";

/// A source that reads a range of another one's topics.
pub(crate) struct RangeSource {
    kafka: KafkaSource,
    /// In whose name the positions are kept.
    group: String,
    range: Arc<Range>,
}

/// A partition with the thread that reads it.
struct Running {
    lanes: Vec<Arc<Lane>>,
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

impl RangeSource {
    /// The range of the topics of `kafka`, with positions that are kept for `group`.
    pub(crate) fn new(kafka: KafkaSource, group: &str, range: &Arc<Range>) -> Self {
        Self { kafka, group: group.to_owned(), range: Arc::clone(range) }
    }

    /// Unless the client is to fetch itself.
    fn fetcher(
        &self,
        consumer: &Arc<BaseConsumer<Client>>,
        context: &Context,
    ) -> Result<Option<(Fetcher, JoinHandle<()>)>, Error> {
        let settings = Settings::of(&self.kafka.config, &context.memory);
        let start = |settings: Settings| {
            Fetcher::start(
                &self.kafka.name,
                settings.with_ends(),
                Arc::clone(consumer),
                &context.watchdog,
            )
        };
        settings.map(start).transpose()
    }

    fn consumer(&self, partitions: usize) -> Result<BaseConsumer<Client>, Error> {
        let fetch_bytes = self.kafka.memory.fetch_bytes(partitions);
        let mut config = client::group_config(&self.kafka.config, fetch_bytes);
        config.remove("group.instance.id");
        // Partitions that are assigned by hand are never paused.
        config.set("group.id", GROUP).set("enable.partition.eof", "true");
        let consumer = config.create_with_context(Client::new(&self.kafka.name));
        consumer.map_err(|error| self.kafka.misconfigured(&error))
    }

    fn run(
        &self,
        consumer: &Arc<BaseConsumer<Client>>,
        (partitions, cluster_id): (&[PartitionKey], &str),
        route: &Route,
        context: &Context,
        heart: &Heart,
    ) -> Result<(), Error> {
        let name = &self.kafka.name;
        let away = |error: KafkaError| Error::unavailable(format!("source {name}: {error}"));
        let mut stretches = self.stretches(consumer, partitions).map_err(away)?;
        heart.beat();
        let topics: Vec<Arc<str>> =
            route.topics.iter().map(|topic| Arc::from(topic.as_str())).collect();
        let ids = topic_ids(consumer, &topics, ASK_MAX).map_err(away)?;
        let group = Arc::new(Group { name: self.group.clone(), cluster_id: cluster_id.to_owned() });
        let starts = self.claim(&mut stretches, &ids, &group, route, context, heart)?;
        let stretches: Vec<Arc<Stretch>> = stretches.into_iter().map(Arc::new).collect();
        let (fetcher, leaders) = self.fetcher(consumer, context)?.unzip();
        let _end = fetcher.as_ref().map(Fetcher::end_on_drop);
        let readers =
            self.open((consumer, &fetcher), &stretches, &starts, &group, route, context)?;
        let mut running = Vec::new();
        for (reader, OpenPartition { partition, lanes, stop }) in readers {
            running.push(Running { lanes, stop, thread: reader.spawn(partition)? });
        }
        self.range.set_found(cluster_id.to_owned(), stretches);
        tracing::info!(partitions = running.len(), "claimed the stretches");
        context.status.set_source(name, SourceState::Running { partitions: running.len() });
        let ended = self.watch(consumer, &running, context, heart);
        self.close(running, &fetcher, context, heart);
        fetcher.inspect(Fetcher::end);
        if let Some(leaders) = leaders {
            while !leaders.is_finished() {
                heart.beat();
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        ended
    }

    /// The stretches, before it is known where this process begins.
    fn stretches(
        &self,
        consumer: &BaseConsumer<Client>,
        partitions: &[PartitionKey],
    ) -> Result<Vec<Stretch>, KafkaError> {
        let ask = |offset: Offset| {
            let mut list = TopicPartitionList::new();
            for (topic, partition) in partitions {
                list.add_partition_offset(topic, *partition, offset)?;
            }
            consumer.offsets_for_times(list, ASK_MAX)
        };
        // As times, "beginning" (-2) and "end" (-1) mean the first and the last record there is.
        let (lows, highs) = (ask(Offset::Beginning)?, ask(Offset::End)?);
        let times = |edge| match edge {
            Edge::Timestamp(ms) => ask(Offset::Offset(ms)).map(Some),
            _ => Ok(None),
        };
        let (from_times, to_times) = (times(self.range.from)?, times(self.range.to)?);
        partitions
            .iter()
            .map(|key| {
                let lost = KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset);
                let low = offset_in(&lows, key).ok_or_else(|| lost.clone())?;
                let high = offset_in(&highs, key).ok_or(lost)?;
                // No record is as young as that.
                let at = |times: &Option<TopicPartitionList>| {
                    times.as_ref().and_then(|times| offset_in(times, key)).unwrap_or(high)
                };
                let from = match self.range.from {
                    Edge::Earliest => low,
                    Edge::Latest => high,
                    Edge::Timestamp(_) => at(&from_times),
                    Edge::Offset(offset) => offset,
                };
                let to = match self.range.to {
                    Edge::Earliest | Edge::Latest => None,
                    Edge::Timestamp(_) => Some(at(&to_times)),
                    Edge::Offset(offset) => Some(offset),
                };
                Ok(Stretch::new(key.clone(), (from, to), (low, high)))
            })
            .collect()
    }

    /// Claims the lanes, and finds where each begins.
    fn claim(
        &self,
        stretches: &mut [Stretch],
        topic_ids: &TopicIds,
        group: &Arc<Group>,
        route: &Route,
        context: &Context,
        heart: &Heart,
    ) -> Result<Vec<LaneStart>, Error> {
        let [target] = route.targets.as_slice() else {
            return Err(Error::software("a range is read for one target"));
        };
        let Some(checkpoints) = target.target.checkpoints() else {
            return Err(Error::software(format!("{} keeps no position", target.name)));
        };
        let claimant = Claimant { group, rank: Rank::Latest, topic_ids };
        let lanes: Vec<(LaneKey, i64)> = stretches
            .iter()
            .map(|Stretch { key: (topic, partition), from, .. }| {
                let target = Arc::clone(&target.name);
                (LaneKey { topic: Arc::clone(topic), partition: *partition, target }, *from)
            })
            .collect();
        let claimed = claim(checkpoints, claimant, &lanes, context, heart)?;
        let mut starts = Vec::new();
        for ((stretch, (key, _)), claimed) in stretches.iter_mut().zip(&lanes).zip(&claimed) {
            check(stretch, key, claimed, topic_ids)?;
            stretch.position = claimed.next_offset;
            stretch.raise(claimed.next_offset);
            starts.push(LaneStart { position: claimed.next_offset, claim: Some(claimed.claim) });
        }
        Ok(starts)
    }

    /// Splits the queues, opens the lanes and assigns, in that order; see `Poller::assign`.
    fn open(
        &self,
        (consumer, fetcher): (&Arc<BaseConsumer<Client>>, &Option<Fetcher>),
        stretches: &[Arc<Stretch>],
        starts: &[LaneStart],
        group: &Arc<Group>,
        route: &Route,
        context: &Context,
    ) -> Result<Vec<(RangeReader, OpenPartition)>, Error> {
        let refused = |error| self.kafka.misconfigured(&error);
        let mut positions = TopicPartitionList::new();
        let mut readers = Vec::new();
        for (stretch, start) in stretches.iter().zip(starts) {
            let (topic, partition) = &stretch.key;
            let at = Offset::Offset(start.position);
            positions.add_partition_offset(topic, *partition, at).map_err(refused)?;
            let queue = PartitionQueue::split(consumer, topic, *partition)
                .ok_or_else(|| Error::software(format!("no queue for {topic}[{partition}]")))?;
            let starts = std::slice::from_ref(start);
            let open =
                route.open_partition(topic, *partition, group, starts, Reading::Once, context)?;
            open.lanes.iter().for_each(|lane| stretch.set_lane(lane));
            let (stretch, range) = (Arc::clone(stretch), Arc::clone(&self.range));
            let records = Records::open(fetcher.as_ref(), queue, &stretch.key, start.position);
            let context = context.clone();
            readers.push((RangeReader { records, stretch, range, context }, open));
        }
        consumer.assign(&positions).map_err(refused)?;
        if fetcher.is_some() {
            consumer.pause(&positions).map_err(refused)?;
        }
        Ok(readers)
    }

    /// Serves the main queue until the end is asked for, or something fails.
    fn watch(
        &self,
        consumer: &BaseConsumer<Client>,
        running: &[Running],
        context: &Context,
        heart: &Heart,
    ) -> Result<(), Error> {
        let name = &self.kafka.name;
        while !context.shutdown.is_requested() {
            heart.beat();
            match consumer.poll(POLL_MAX) {
                None => {}
                Some(Ok(_)) => {
                    let text = format!("source {name}: a record came to the main queue");
                    return Err(Error::software(text));
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    let text = format!("source {name}: the Kafka client cannot go on: {code}");
                    return Err(Error::new(ErrorKind::Temporary, text));
                }
                Some(Err(error)) => tracing::warn!("source {name}: {error}"),
            }
            let mut lanes = running.iter().flat_map(|running| &running.lanes);
            if let Some(loss) = lanes.find_map(|lane| lane.loss()) {
                let why = match loss {
                    Loss::Fenced => "another replay fills the same table",
                    Loss::Regressed => "the database has gone back in time; start it again",
                    Loss::NotKept => "a record was not kept that the table refuses",
                };
                return Err(Error::new(ErrorKind::Temporary, format!("{}: {why}", self.group)));
            }
        }
        Ok(())
    }

    fn close(
        &self,
        running: Vec<Running>,
        fetcher: &Option<Fetcher>,
        context: &Context,
        heart: &Heart,
    ) {
        let deadline = context.drain_deadline();
        for Running { stop, .. } in &running {
            stop.request(Trigger::Shutdown, deadline);
        }
        fetcher.iter().for_each(Fetcher::wake);
        for Running { lanes, thread, .. } in running {
            while !thread.is_finished() {
                heart.beat();
                std::thread::sleep(Duration::from_millis(5));
            }
            for lane in &lanes {
                lane.cancel();
                context.status.remove_lane(lane);
            }
        }
    }
}

impl Source for RangeSource {
    fn topics(&self) -> Result<Vec<String>, Error> {
        self.kafka.topics()
    }

    fn look(
        &self,
        topics: &[String],
        count: usize,
        wait: Duration,
        visit: &mut dyn FnMut(&Record<'_>) -> bool,
    ) -> Result<(), Error> {
        self.kafka.look(topics, count, wait, visit)
    }

    fn start(
        self: Box<Self>,
        routes: Vec<Arc<Route>>,
        context: Context,
    ) -> Result<JoinHandle<()>, Error> {
        let route = first_route(&routes, &self.kafka.name)?;
        let inquirer = self.kafka.inquirer()?;
        let counts = self.kafka.partition_counts(&inquirer, &route.topics)?;
        let cluster_id = self.kafka.cluster_id(&inquirer)?;
        let of_topic = |(topic, count): (&String, &usize)| {
            let topic: Arc<str> = Arc::from(topic.as_str());
            (0..*count as i32).map(move |partition| (Arc::clone(&topic), partition))
        };
        let partitions: Vec<PartitionKey> =
            route.topics.iter().zip(&counts).flat_map(of_topic).collect();
        let consumer = Arc::new(self.consumer(partitions.len())?);
        let (watchdog, name) = (context.watchdog.clone(), self.kafka.name.clone());
        watchdog.spawn(&format!("replay-{name}"), move |heart| {
            let what = (partitions.as_slice(), cluster_id.as_str());
            if let Err(error) = self.run(&consumer, what, &route, &context, heart) {
                context.shutdown.fail(error);
            }
            context.status.set_source(&name, SourceState::Finished);
        })
    }
}

fn offset_in(list: &TopicPartitionList, (topic, partition): &PartitionKey) -> Option<i64> {
    match list.find_partition(topic, *partition)?.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

/// A stretch must lie in its partition, and its position in the topic that is there now.
fn check(
    stretch: &Stretch,
    key: &LaneKey,
    claimed: &Claimed,
    topic_ids: &TopicIds,
) -> Result<(), Error> {
    let Stretch { position: low, high, to, .. } = stretch;
    let Claimed { next_offset, topic_id, .. } = claimed;
    let place = format!("{}[{}] to {}", key.topic, key.partition, key.target);
    let id = topic_ids.get(&key.topic);
    let message = if topic_id.is_some() && id.is_some() && topic_id.as_ref() != id {
        format!("{place}: the topic was recreated since the replay began; drop it and begin again")
    } else if next_offset < low {
        format!(
            "{place}: it would go on at {next_offset}, but retention has removed everything below \
             {low}: {} offsets are gone",
            low - next_offset
        )
    } else if next_offset > high {
        format!("{place}: it would go on at {next_offset}, beyond the partition's end at {high}")
    } else if let Some(to) = to.filter(|to| to > high) {
        format!("{place}: the range ends at {to}, beyond the partition's end at {high}")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Data, message))
}
