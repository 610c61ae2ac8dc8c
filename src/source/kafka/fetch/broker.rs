//! The thread that fetches from one broker.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::error::RDKafkaErrorCode;

use super::{
    Inbox, Shared, State,
    connection::Connection,
    lock,
    plan::{self, Leader, Plan, Pool},
    records::{self, Fetched, Summary},
    wire::{Asked, Facts, FetchRequest, Visitor},
};
use crate::{
    error::Error,
    metrics,
    watchdog::{Heart, Watchdog},
};

/// How long a partition is left alone after an error.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a broker may be late until it is asked who leads now: one that has frozen never says so.
const SILENCE: Duration = Duration::from_secs(1);
/// The broker reads nothing of a client that it throttles; a connection that is asked to wait longer waits there.
const THROTTLE_MAX: Duration = Duration::from_secs(1);
/// How long a broker may wait for records of some partitions while others may want more soon.
const SHORT_WAIT_MS: i32 = 5;
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(1);

/// Kafka's codes, from its protocol guide.
mod code {
    pub(super) const NONE: i16 = 0;
    pub(super) const OFFSET_OUT_OF_RANGE: i16 = 1;
    pub(super) const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    /// The partition is led by another broker, or will be.
    pub(super) const MOVED: [i16; 7] = [5, 6, 9, 74, 75, 76, 78];
}

pub(super) fn spawn(
    shared: Arc<Shared>,
    broker: i32,
    watchdog: &Watchdog,
) -> Result<JoinHandle<()>, Error> {
    let name = format!("fetch-{}-{broker}", shared.source);
    watchdog.spawn(&name, move |heart| run(&shared, broker, heart))
}

fn run(shared: &Shared, broker: i32, heart: &Heart) {
    let mut connection: Option<Connection<'_>> = None;
    let mut backoff = RECONNECT_MIN;
    while !shared.is_ended() {
        heart.beat();
        let Some(request) = next(shared, broker) else { continue };
        let patience = SILENCE + Duration::from_millis(shared.settings.wait_ms as u64);
        lock(&shared.state).silent_from.insert(broker, Instant::now() + patience);
        let fetched = match &mut connection {
            Some(connection) => request.send(shared, broker, connection),
            None => connect(shared, broker, heart).map(|open| connection = open),
        };
        match fetched {
            Ok(()) => {
                lock(&shared.state).silent_from.remove(&broker);
                backoff = RECONNECT_MIN;
            }
            Err(_) if shared.is_ended() => {}
            Err(error) => {
                if error.kind() == std::io::ErrorKind::TimedOut {
                    shared.timeouts.fetch_add(1, Relaxed);
                }
                connection = None;
                metrics::kafka_error("Fetch");
                tracing::warn!(source = shared.source, broker, "kafka: cannot fetch: {error}");
                // Its partitions may have gone to another one.
                let mut state = lock(&shared.state);
                state.silent_from.remove(&broker);
                for slot in state.slots.values_mut() {
                    if slot.leader == Leader::Broker(broker) {
                        slot.leader = Leader::Unknown;
                    }
                }
                drop(state);
                shared.unknown.notify_all();
                shared.sleep(backoff);
                backoff = (backoff * 2).min(RECONNECT_MAX);
            }
        }
    }
}

/// The connection, or none to a broker that speaks no version that we speak: its partitions are told.
fn connect<'a>(
    shared: &'a Shared,
    broker: i32,
    heart: &'a Heart,
) -> std::io::Result<Option<Connection<'a>>> {
    let address = lock(&shared.state).brokers.get(&broker).cloned();
    let address = address.ok_or_else(|| std::io::Error::other("its address is not known"))?;
    let connection =
        Connection::open((&address.0, address.1), &shared.settings, &shared.ended, heart)?;
    if connection.is_none() {
        for slot in lock(&shared.state).slots.values_mut() {
            if slot.leader == Leader::Broker(broker) {
                slot.fail(RDKafkaErrorCode::NotImplemented);
            }
        }
    }
    Ok(connection)
}

/// What to ask for next; waits a while if there is nothing.
fn next(shared: &Shared, broker: i32) -> Option<Request> {
    let mut state = lock(&shared.state);
    let memory = &shared.settings.memory;
    let pool = Pool {
        bytes_max: memory.fetch_budget(),
        held: memory.fetched(),
        still_for: shared.still_for(),
        is_tight: state.is_tight,
    };
    let plan = plan::plan(&state.slots, broker, pool, Instant::now());
    state.is_tight = matches!(plan, Plan::Ask { is_tight: true, .. });
    match plan {
        Plan::Ask { slots, bytes_max, others_have_enough, .. } => {
            let topics = plan::by_topic(&state.slots, &slots);
            let asked = slots.iter().filter_map(|(number, _)| {
                let slot = state.slots.get(number)?;
                let key = (Arc::clone(&slot.topic), slot.partition);
                Some((key, (*number, slot.offset)))
            });
            Some(Request { asked: asked.collect(), topics, bytes_max, others_have_enough })
        }
        Plan::Wait(time) => {
            if !shared.is_ended() {
                drop(shared.changed.wait_timeout(state, time));
            }
            None
        }
    }
}

type Key = (Arc<str>, i32);

struct Request {
    /// The slots' numbers, and the offsets that are asked for.
    asked: HashMap<Key, (u64, i64)>,
    topics: Vec<(Arc<str>, Vec<Asked>)>,
    bytes_max: usize,
    /// Partitions that are left out, as they have enough, may want more soon.
    others_have_enough: bool,
}

impl Request {
    fn send(
        self,
        shared: &Shared,
        broker: i32,
        connection: &mut Connection<'_>,
    ) -> std::io::Result<()> {
        let settings = &shared.settings;
        let topics =
            self.topics.iter().map(|(topic, asked)| (&**topic, asked.as_slice())).collect();
        let request = FetchRequest {
            wait_ms: if self.others_have_enough {
                settings.wait_ms.min(SHORT_WAIT_MS)
            } else {
                settings.wait_ms
            },
            bytes_min: settings.bytes_min,
            bytes_max: self.bytes_max as i32,
            is_read_committed: settings.is_read_committed,
            topics,
        };
        shared.requests.fetch_add(1, Relaxed);
        let mut arrivals = Arrivals { shared, broker, asked: self.asked };
        let heading = connection.fetch(&request, &mut arrivals)?;
        if heading.error != code::NONE {
            return Err(std::io::Error::other(format!("code {}", heading.error)));
        }
        if heading.throttle_ms > 0 {
            let throttled = Duration::from_millis(heading.throttle_ms as u64);
            shared.sleep(throttled.min(THROTTLE_MAX));
        }
        Ok(())
    }
}

/// What an answer brings, partition by partition.
struct Arrivals<'a> {
    shared: &'a Shared,
    broker: i32,
    asked: HashMap<Key, (u64, i64)>,
}

impl Visitor for Arrivals<'_> {
    fn buffer(&mut self) -> Fetched {
        lock(&self.shared.state).spare.pop().unwrap_or_default()
    }

    fn partition(&mut self, facts: &Facts<'_>, mut fetched: Fetched) {
        let key: Key = (Arc::from(facts.topic), facts.partition);
        let summary = match facts.error {
            code::NONE => records::summarize(&fetched.bytes[..fetched.length]),
            _ => Ok(Summary::default()),
        };
        let mut state = lock(&self.shared.state);
        state.turns += 1;
        let turn = state.turns;
        let slot = self.asked.get(&key).and_then(|(number, from)| {
            let slot = state.slots.get_mut(number)?;
            // While this broker was silent, another one may have become the leader, and have answered.
            (slot.leader == Leader::Broker(self.broker) && slot.offset == *from).then_some(slot)
        });
        let Some(slot) = slot else {
            state.keep_spare(fetched);
            return;
        };
        let settings = &self.shared.settings;
        let end = if settings.is_read_committed { facts.last_stable } else { facts.high_watermark };
        let fault = match (facts.error, summary) {
            (code::NONE, _) if facts.diverging.is_some_and(|end| end < slot.offset) => {
                Some(RDKafkaErrorCode::LogTruncation)
            }
            (code::NONE, _) if facts.diverging.is_some() => {
                // Compaction has removed that epoch, and nothing before the offset was lost.
                slot.leader_epoch = -1;
                None
            }
            (code::NONE, Err(unreadable)) => Some(unreadable.code()),
            (code::NONE, Ok(summary)) => {
                (slot.end, slot.doubted_since) = (end, None);
                let Some(next) = summary.end else {
                    if settings.tells_ends && slot.offset >= end {
                        slot.inbox.reach_end(slot.offset);
                    }
                    state.keep_spare(fetched);
                    return;
                };
                (fetched.length, fetched.records) = (summary.bytes, summary.records);
                fetched.from = slot.offset;
                slot.offset = next.max(slot.offset);
                slot.leader_epoch = summary.leader_epoch;
                slot.turn = turn;
                let inbox = Arc::clone(&slot.inbox);
                // Before anybody can ask for what comes behind it.
                self.shared.hand_over(&inbox, fetched);
                return;
            }
            (code::OFFSET_OUT_OF_RANGE, _) => Some(RDKafkaErrorCode::OffsetOutOfRange),
            (code::TOPIC_AUTHORIZATION_FAILED, _) => {
                Some(RDKafkaErrorCode::TopicAuthorizationFailed)
            }
            (code, _) => {
                metrics::kafka_error(&format!("Fetch {code}"));
                if !code::MOVED.contains(&code) {
                    let (topic, partition) = (facts.topic, facts.partition);
                    tracing::warn!(
                        "{topic}[{partition}]: kafka: a fetch is refused with code {code}"
                    );
                }
                None
            }
        };
        let is_doubtful = matches!(
            fault,
            Some(RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::LogTruncation)
        );
        let now = Instant::now();
        match fault {
            // A broker that has led before, and does not know yet that it does not any more, may say so, too.
            Some(fault)
                if !is_doubtful
                    || now - *slot.doubted_since.get_or_insert(now) >= settings.doubt_max =>
            {
                slot.fail(fault);
            }
            _ => {
                slot.leader = Leader::Unknown;
                slot.retry_at = Some(now + PAUSE);
                self.shared.unknown.notify_all();
            }
        }
        state.keep_spare(fetched);
    }
}

impl State {
    pub(super) fn keep_spare(&mut self, fetched: Fetched) {
        let is_of_use = (1..=super::SPARE_BYTES_MAX).contains(&fetched.bytes.len());
        if self.spare.len() < super::SPARE_MAX && is_of_use {
            self.spare.push(fetched);
        }
    }
}

impl Shared {
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Sleeps, unless the end comes.
    pub(super) fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = lock(&self.state);
        while !self.is_ended() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn hand_over(&self, inbox: &Inbox, fetched: Fetched) {
        let mut content = lock(&inbox.content);
        if content.is_left {
            return;
        }
        self.hold(fetched.bytes.len());
        self.held_records.fetch_add(fetched.records, Relaxed);
        inbox.waiting_bytes.fetch_add(fetched.length, Relaxed);
        content.fetched.push_back(fetched);
        content.end = None;
        drop(content);
        inbox.came.notify_all();
    }
}

#[cfg(test)]
mod tests;
