//! Where the lanes of newly assigned partitions begin.
//!
//! Runs on a thread of its own, as both Kafka and Postgres may take their time, or be away.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::TopicPartitionListElem,
};

use super::{ASK_MAX, client::Client, member, partition::shown, topic_id::topic_ids};
use crate::{
    config::Start,
    error::{Error, ErrorKind},
    lane::LaneKey,
    metrics,
    route::{LaneStart, Route},
    sink::{Checkpoints, Claimant, Claimed, Found, Group, Rank, TopicIds, WriteError},
    status::Party,
};

const PAUSE: Duration = Duration::from_millis(300);
/// How long the question for the topics' ids may take.
const ID_MAX: Duration = Duration::from_secs(3);

/// A partition: topic and number.
pub(crate) type PartitionKey = (Arc<str>, i32);

/// The starts of each partition's lanes, in the order of its route's targets. A partition that turned
/// out to be another member's is not among them.
pub(super) type Starts = BTreeMap<PartitionKey, Vec<LaneStart>>;

/// Is told who does not answer, and why.
type Note<'a> = dyn Fn(Party, &str) + 'a;

/// Finds the positions of some partitions, and claims their lanes.
pub(super) struct Positions {
    pub(super) consumer: Arc<BaseConsumer<Client>>,
    pub(super) group: Arc<Group>,
    /// The generation of the group that the partitions were assigned in.
    pub(super) generation: i32,
    pub(super) start: Start,
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) cancelled: Arc<AtomicBool>,
}

/// What the brokers know of a partition.
pub(super) struct Known {
    pub(super) committed: Option<i64>,
    pub(super) low: i64,
    pub(super) high: i64,
    /// The group has a committed offset for some partition of the topic.
    topic_was_read: bool,
}

impl Known {
    /// Nothing but where the partition begins and ends.
    pub(super) fn of(low: i64, high: i64) -> Self {
        Self { committed: None, low, high, topic_was_read: false }
    }
}

impl Positions {
    /// `None` if it was cancelled meanwhile. `note` is told what is being waited for.
    ///
    /// # Errors
    /// When a position is not in the partition any more, or the sink refuses.
    pub(super) fn find(
        &self,
        partitions: &[PartitionKey],
        note: &Note<'_>,
    ) -> Result<Option<Starts>, Error> {
        let mut starts: BTreeMap<PartitionKey, Vec<Option<LaneStart>>> = BTreeMap::new();
        for route in &self.routes {
            let reads = |topic: &str| route.topics.iter().any(|known| known == topic);
            let mine: Vec<&PartitionKey> =
                partitions.iter().filter(|(topic, _)| reads(topic)).collect();
            for (index, target) in route.targets.iter().enumerate() {
                if mine.is_empty() {
                    break;
                }
                let keys: Vec<LaneKey> = mine
                    .iter()
                    .map(|(topic, number)| route.lane_keys(topic, *number).swap_remove(index))
                    .collect();
                let found = match target.target.checkpoints() {
                    Some(checkpoints) => self.claim(checkpoints, &keys, note)?,
                    None => self.unclaimed(&keys, note)?,
                };
                let Some(found) = found else { return Ok(None) };
                for (partition, start) in mine.iter().zip(found) {
                    starts.entry((*partition).clone()).or_default().push(start);
                }
            }
        }
        // One lane that is another's leaves the whole partition to it.
        let whole = |(key, starts): (_, Vec<Option<LaneStart>>)| {
            Some((key, starts.into_iter().collect::<Option<Vec<LaneStart>>>()?))
        };
        let mine = starts.into_iter().filter_map(whole);
        Ok(Some(mine.collect()))
    }

    /// Lanes that keep their position in Kafka.
    fn unclaimed(
        &self,
        keys: &[LaneKey],
        note: &Note<'_>,
    ) -> Result<Option<Vec<Option<LaneStart>>>, Error> {
        let Some(known) = self.ask(note, || self.known(keys))? else { return Ok(None) };
        let mut starts = Vec::with_capacity(keys.len());
        for (key, known) in keys.iter().zip(&known) {
            let Some(position) = self.first_position(key, known, note)? else { return Ok(None) };
            starts.push(Some(LaneStart { position, claim: None }));
        }
        Ok(Some(starts))
    }

    /// Lanes that keep their position in the sink: claims their checkpoints, and makes those that
    /// are missing. `None` in the place of a lane that another member has.
    fn claim(
        &self,
        checkpoints: &dyn Checkpoints,
        keys: &[LaneKey],
        note: &Note<'_>,
    ) -> Result<Option<Vec<Option<LaneStart>>>, Error> {
        let topic_ids = self.topic_ids(keys);
        let claimant = |rank| Claimant { group: &self.group, rank, topic_ids: &topic_ids };
        let claim = |rank| {
            self.ask(note, || checkpoints.claim(claimant(rank), keys).map_err(Trouble::Sink))
        };
        let Some(mut found) = claim(Rank::Generation(self.generation))? else { return Ok(None) };
        if found.contains(&Found::Outranked) {
            // Either this process has slept through the loss of its partitions, or the group was
            // made anew and counts from the beginning. The group itself knows.
            match self.ask_group(keys, note)? {
                None => return Ok(None),
                Some(false) => {}
                Some(true) => match claim(Rank::Confirmed(self.generation))? {
                    None => return Ok(None),
                    Some(confirmed) => found = confirmed,
                },
            }
        }
        let rank = claimant(Rank::Generation(self.generation));
        if !self.make_missing(checkpoints, rank, keys, &mut found, note)? {
            return Ok(None);
        }
        if !self.check_all(keys, &found, &topic_ids, note)? {
            return Ok(None);
        }
        let start = |found: &Found| match found {
            Found::Claimed(Claimed { next_offset, claim, .. }) => {
                Some(LaneStart { position: *next_offset, claim: Some(*claim) })
            }
            Found::Missing | Found::Outranked => None,
        };
        let starts: Vec<Option<LaneStart>> = found.iter().map(start).collect();
        let claimed = starts.iter().flatten().count();
        metrics::claimed(claimed);
        if claimed < starts.len() {
            metrics::outranked(starts.len() - claimed);
            tracing::warn!(
                lanes = starts.len() - claimed,
                generation = self.generation,
                "a member of a later generation of the group has claimed these lanes: left to it"
            );
        }
        Ok(Some(starts))
    }

    /// The ids of the lanes' topics; none if the brokers do not tell them. Not asked again and again:
    /// a cluster that has none is read all the same.
    fn topic_ids(&self, keys: &[LaneKey]) -> TopicIds {
        self.ask_topic_ids(keys).unwrap_or_else(|error| {
            tracing::warn!("the ids of the topics are not known: {error}");
            TopicIds::new()
        })
    }

    fn ask_topic_ids(&self, keys: &[LaneKey]) -> Result<TopicIds, KafkaError> {
        let mut topics: Vec<Arc<str>> = keys.iter().map(|key| Arc::clone(&key.topic)).collect();
        topics.sort_unstable();
        topics.dedup();
        topic_ids(&self.consumer, &topics, ID_MAX)
    }

    /// Whether each claimed position is one in the topic and the partition that are there now. False
    /// if it was cancelled meanwhile.
    fn check_all(
        &self,
        keys: &[LaneKey],
        found: &[Found],
        topic_ids: &TopicIds,
        note: &Note<'_>,
    ) -> Result<bool, Error> {
        // A checkpoint with an id is of a cluster that has told it: there is an answer to wait for.
        let lacks_id = |(key, found): (&LaneKey, &Found)| {
            matches!(found, Found::Claimed(claimed) if claimed.topic_id.is_some())
                && !topic_ids.contains_key(&key.topic)
        };
        let mut ids = topic_ids.clone();
        if keys.iter().zip(found).any(lacks_id) {
            let Some(asked) = self.ask(note, || Ok(self.ask_topic_ids(keys)?))? else {
                return Ok(false);
            };
            ids = asked;
        }
        // Looked up after the claim, which may have waited: the owner before may have gone on.
        let Some(known) = self.ask(note, || self.known(keys))? else { return Ok(false) };
        for ((key, known), found) in keys.iter().zip(&known).zip(found) {
            if let Found::Claimed(claimed) = found {
                let id = claimed.topic_id.as_ref();
                check_topic(key, claimed.next_offset, id, ids.get(&key.topic), known.low)?;
                check(key, claimed.next_offset, known, "its checkpoint")?;
            }
        }
        Ok(true)
    }

    /// Makes the checkpoints that are missing. False if it was cancelled meanwhile.
    fn make_missing(
        &self,
        checkpoints: &dyn Checkpoints,
        claimant: Claimant<'_>,
        keys: &[LaneKey],
        found: &mut [Found],
        note: &Note<'_>,
    ) -> Result<bool, Error> {
        if !found.contains(&Found::Missing) {
            return Ok(true);
        }
        let Some(known) = self.ask(note, || self.known(keys))? else { return Ok(false) };
        let mut missing = Vec::new();
        for ((key, known), _) in
            keys.iter().zip(&known).zip(&*found).filter(|(_, found)| **found == Found::Missing)
        {
            let Some(position) = self.first_position(key, known, note)? else { return Ok(false) };
            missing.push((key.clone(), position));
        }
        let made =
            self.ask(note, || checkpoints.create(claimant, &missing).map_err(Trouble::Sink))?;
        let Some(made) = made else { return Ok(false) };
        let holes = found.iter_mut().filter(|found| **found == Found::Missing);
        holes.zip(made).for_each(|(hole, made)| *hole = made);
        Ok(true)
    }

    /// Whether the group counts this member. `None` if it was cancelled meanwhile.
    fn ask_group(&self, keys: &[LaneKey], note: &Note<'_>) -> Result<Option<bool>, Error> {
        let Some(known) = self.ask(note, || self.known(keys))? else { return Ok(None) };
        self.ask(note, || self.is_counted(keys, &known))
    }

    /// Whether the group counts this member, asked by committing once more what is committed; or the
    /// first offset there is, where nothing is: no lane has durable rows below it.
    fn is_counted(&self, keys: &[LaneKey], known: &[Known]) -> Result<bool, Trouble> {
        if self.generation <= 0 {
            // No member any more; an empty group would take the commit of anybody.
            return Ok(false);
        }
        let mut offsets = TopicPartitionList::new();
        for (key, known) in keys.iter().zip(known) {
            let offset = Offset::Offset(known.committed.unwrap_or(known.low));
            offsets.add_partition_offset(&key.topic, key.partition, offset)?;
        }
        let is_counted = member::is_counted(&self.consumer, offsets)?;
        // An eager client that was lost joins again by itself, while it waits for this very claim:
        // then it is counted, but not for these partitions.
        Ok(is_counted && member::generation(&self.consumer) == self.generation)
    }

    /// Asks until there is an answer: an outage is waited out. `None` if cancelled.
    fn ask<T>(
        &self,
        note: &Note<'_>,
        mut question: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<Option<T>, Error> {
        let mut warned = false;
        while !self.cancelled.load(Relaxed) {
            let (party, reason) = match question() {
                Ok(answer) => return Ok(Some(answer)),
                Err(Trouble::Sink(WriteError::Halt(error))) => return Err(error),
                Err(Trouble::Sink(WriteError::Outage { message, .. })) => (Party::Sink, message),
                Err(Trouble::Kafka(error)) => (Party::Brokers, error.to_string()),
            };
            note(party, &reason);
            if !warned {
                tracing::warn!("cannot find the positions yet, still trying: {reason}");
                warned = true;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(None)
    }

    /// What the brokers know of the lanes' partitions.
    fn known(&self, keys: &[LaneKey]) -> Result<Vec<Known>, Trouble> {
        Ok(known(&self.consumer, keys, ASK_MAX)?)
    }

    /// Where a lane without a checkpoint begins: at the group's committed offset, else at `start`.
    fn first_position(
        &self,
        key: &LaneKey,
        known: &Known,
        note: &Note<'_>,
    ) -> Result<Option<i64>, Error> {
        if let Some(committed) = known.committed {
            check(key, committed, known, "the group's committed offset")?;
            return Ok(Some(committed));
        }
        self.ask(note, || Ok(first_offset(&self.consumer, key, known, self.start)?))
    }
}

/// What the brokers know of the lanes' partitions: a few questions, however many there are.
pub(super) fn known<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    keys: &[LaneKey],
    timeout: Duration,
) -> Result<Vec<Known>, KafkaError> {
    let list_at = |offset: Offset| {
        let mut list = TopicPartitionList::new();
        for key in keys {
            list.add_partition_offset(&key.topic, key.partition, offset)?;
        }
        Ok::<_, KafkaError>(list)
    };
    // As times, "beginning" (-2) and "end" (-1) mean the first and the last record there is.
    let low = consumer.offsets_for_times(list_at(Offset::Beginning)?, timeout)?;
    let high = consumer.offsets_for_times(list_at(Offset::End)?, timeout)?;
    let committed = consumer.committed_offsets(whole_topics(consumer, keys, timeout)?, timeout)?;
    let elements = committed.elements();
    keys.iter()
        .map(|key| {
            let bound = |list: &TopicPartitionList| {
                offset_in(list, key).ok_or(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset))
            };
            let is_committed = |element: &TopicPartitionListElem<'_>| {
                element.topic() == &*key.topic && matches!(element.offset(), Offset::Offset(_))
            };
            Ok(Known {
                committed: offset_in(&committed, key),
                low: bound(&low)?,
                high: bound(&high)?,
                topic_was_read: elements.iter().any(is_committed),
            })
        })
        .collect()
}

/// All partitions of the lanes' topics.
fn whole_topics<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    keys: &[LaneKey],
    timeout: Duration,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    let mut topics: Vec<&str> = keys.iter().map(|key| &*key.topic).collect();
    topics.sort_unstable();
    topics.dedup();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), timeout)?;
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            list.add_partition(topic, partition.id());
        }
    }
    Ok(list)
}

/// Where a lane begins that has neither a checkpoint nor a committed offset.
pub(super) fn first_offset<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    key: &LaneKey,
    known: &Known,
    start: Start,
) -> Result<i64, KafkaError> {
    match start {
        // A partition that came to a topic which the group reads already is read in full:
        // what it got before this member heard of it is not older than `start`.
        _ if known.topic_was_read => Ok(known.low),
        Start::Earliest => Ok(known.low),
        Start::Latest => Ok(known.high),
        Start::Timestamp(timestamp_ms) => {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&key.topic, key.partition, Offset::Offset(timestamp_ms))?;
            let found = consumer.offsets_for_times(list, ASK_MAX)?;
            let element = found.find_partition(&key.topic, key.partition);
            Ok(match element.map(|element| element.offset()) {
                Some(Offset::Offset(offset)) => offset,
                // No record is as young as that.
                _ => known.high,
            })
        }
    }
}

fn offset_in(list: &TopicPartitionList, key: &LaneKey) -> Option<i64> {
    match list.find_partition(&key.topic, key.partition)?.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

enum Trouble {
    Kafka(KafkaError),
    Sink(WriteError),
}

impl From<KafkaError> for Trouble {
    fn from(error: KafkaError) -> Self {
        Self::Kafka(error)
    }
}

/// A checkpoint must be of the topic that is there now.
pub(super) fn check_topic(
    key: &LaneKey,
    next_offset: i64,
    topic_id: Option<&String>,
    id: Option<&String>,
    low: i64,
) -> Result<(), Error> {
    let (Some(old), Some(new)) = (topic_id, id) else { return Ok(()) };
    if old == new {
        return Ok(());
    }
    let lane = shown(key);
    Err(Error::new(
        ErrorKind::Data,
        format!(
            "{lane}: its checkpoint is {next_offset} of a topic with the id {old}, but the topic was \
             recreated and has the id {new}. To read the new one from its beginning, set next_offset \
             to {low} and topic_id to NULL (see \"Positions\" in docs/delivery.md)"
        ),
    ))
}

/// A position must lie in the partition: one that does not is never replaced silently.
pub(super) fn check(key: &LaneKey, position: i64, known: &Known, what: &str) -> Result<(), Error> {
    let Known { low, high, .. } = known;
    let lane = shown(key);
    let message = if position < *low {
        format!(
            "{lane}: {what} is {position}, but retention has removed everything below {low}: {} \
             offsets were lost before they were read. To go on without them, set the position to {low}",
            low - position
        )
    } else if position > *high {
        format!(
            "{lane}: {what} is {position}, beyond the end of the partition at {high}: was the topic \
             recreated? To read the new one from its beginning, set the position to {low}"
        )
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Data, format!("{message} (see \"Positions\" in docs/delivery.md)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_outside_the_partition_is_an_error_that_says_what_is_lost() {
        let key = LaneKey { topic: "orders".into(), partition: 3, target: "pg.t".into() };
        let known = Known::of(100, 200);
        assert!(check(&key, 100, &known, "x").is_ok());
        assert!(check(&key, 200, &known, "x").is_ok());
        let below = check(&key, 90, &known, "its checkpoint").unwrap_err();
        assert!(below.message.contains("10 offsets were lost"), "{below}");
        let above = check(&key, 201, &known, "its checkpoint").unwrap_err();
        assert!(above.message.contains("recreated"), "{above}");
        assert_eq!(above.kind, ErrorKind::Data);
    }
}
