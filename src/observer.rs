//! Looks at the engine about once a second, and says what the last seconds were like.
//!
//! The only place that keeps samples: whoever shows something reads the [`Observation`].

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    lag::History,
    lane::{Lane, LaneKey, Standing, unix_ms},
    latency::LatencyCounts,
    observation::{LaneView, Observation, Shares, SinkView},
    sink::Sink,
    stage::{Stage, StageTimes},
    status::{Party, SinkStatus, SourceState, Status},
    verdict::{self, Bottleneck, Interval, SinkInterval, Verdict},
};

/// Between two samples.
const PERIOD: Duration = Duration::from_secs(1);
/// What an observation is about.
const INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks at what the connections of a sink wait for.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A look that is older says nothing of the interval.
const LOOK_AGE_MAX: Duration = Duration::from_secs(10);
/// Partition threads that are blocked for less than this share of their time are no reason to look.
const BLOCKED_SHARE: f64 = 0.2;
/// Brokers that do not answer for less time are about to.
const SILENCE: Duration = Duration::from_secs(5);
/// A lag of what comes in so many seconds is on its way: the end of the partition is looked up once a second.
const ON_ITS_WAY_SECONDS: f64 = 2.0;

/// Looks at the engine, and at its sinks where they hold it back.
pub(crate) struct Observer {
    status: Arc<Status>,
    sinks: Vec<Watched>,
    samples: VecDeque<Sample>,
    lanes: BTreeMap<LaneKey, LaneMemory>,
    /// Over all lanes that there ever were.
    consumed: u64,
    written: u64,
    named: Option<(Bottleneck, Instant)>,
}

struct Watched {
    name: String,
    sink: Arc<dyn Sink>,
    status: Arc<SinkStatus>,
    looked_at: Option<Instant>,
}

struct Sample {
    at: Instant,
    consumed: u64,
    written: u64,
    bytes: u64,
    latency: LatencyCounts,
    partition: StageTimes,
    sinks: Vec<StageTimes>,
    /// Records behind; `None` if no lane's end is known.
    lag: Option<u64>,
}

/// What is remembered of a lane.
struct LaneMemory {
    lane: Arc<Lane>,
    history: History,
    seen: Standing,
    /// Rows that were durable, at the samples.
    written: VecDeque<(Instant, u64)>,
}

impl Observer {
    pub(crate) fn new(
        status: Arc<Status>,
        sinks: impl Iterator<Item = (String, Arc<dyn Sink>, Arc<SinkStatus>)>,
    ) -> Self {
        let watched = |(name, sink, status)| Watched { name, sink, status, looked_at: None };
        let mut observer = Self {
            status,
            sinks: sinks.map(watched).collect(),
            samples: VecDeque::new(),
            lanes: BTreeMap::new(),
            consumed: 0,
            written: 0,
            named: None,
        };
        observer.look(Instant::now());
        observer
    }

    /// Takes a sample if one is due.
    pub(crate) fn tick(&mut self) {
        let now = Instant::now();
        if self.samples.back().is_none_or(|last| now.duration_since(last.at) >= PERIOD) {
            self.look(now);
        }
    }

    fn look(&mut self, now: Instant) {
        let lanes = self.look_at_lanes(now);
        let sample = self.sample(now);
        self.samples.push_back(sample);
        // The last one that is at least as old as the interval stays.
        while self.samples.get(1).is_some_and(|next| now.duration_since(next.at) >= INTERVAL) {
            self.samples.pop_front();
        }
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else { return };
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        let rate = |from: u64, to: u64| match seconds > 0.0 {
            true => to.saturating_sub(from) as f64 / seconds,
            false => 0.0,
        };
        let mut observation = Observation {
            seconds,
            records_per_s: rate(first.consumed, last.consumed),
            rows_per_s: rate(first.written, last.written),
            bytes_per_s: rate(first.bytes, last.bytes),
            latency: last.latency.since(&first.latency),
            partition: Shares {
                threads: self.status.partition_clock.threads(),
                times: last.partition.since(&first.partition),
            },
            lanes,
            ..Observation::default()
        };
        for ((watched, before), after) in self.sinks.iter().zip(&first.sinks).zip(&last.sinks) {
            let writers = Shares { threads: watched.status.writers, times: after.since(before) };
            let view = SinkView { writers, connections: watched.sink.connections() };
            observation.sinks.insert(watched.name.clone(), view);
        }
        observation.verdict = self.judge(&observation);
        let bottleneck = observation.verdict.bottleneck;
        let since = match self.named {
            Some((named, since)) if named == bottleneck => since,
            _ => now,
        };
        self.named = Some((bottleneck, since));
        observation.since = Some(since);
        let blocked = observation.partition.times.share(Stage::Send);
        self.look_at_sinks(now, blocked > BLOCKED_SHARE);
        self.status.set_observation(observation);
    }

    fn look_at_lanes(&mut self, now: Instant) -> BTreeMap<LaneKey, LaneView> {
        let (unix_ms, lanes) = (unix_ms(), self.status.lanes());
        let mut views = BTreeMap::new();
        let present: BTreeMap<&LaneKey, &Arc<Lane>> =
            lanes.iter().map(|lane| (&lane.key, lane)).collect();
        // A lane that was claimed again counts anew.
        self.lanes.retain(|key, known| {
            present.get(key).is_some_and(|lane| Arc::ptr_eq(lane, &known.lane))
        });
        for lane in &lanes {
            let standing = lane.standing();
            let memory = self
                .lanes
                .entry(lane.key.clone())
                .or_insert_with(|| LaneMemory::new(Arc::clone(lane)));
            let (counts, seen) = (&standing.counts, &memory.seen.counts);
            self.consumed += counts.consumed - seen.consumed;
            self.written += counts.written - seen.written;
            memory.seen = standing;
            memory.written.push_back((now, counts.written));
            while memory.written.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= INTERVAL) {
                memory.written.pop_front();
            }
            let lag_seconds = memory.history.lag_seconds(now, unix_ms, &standing);
            let outlook = memory.history.see(now, &standing);
            let view = LaneView { lag_seconds, outlook, rows_per_s: memory.rows_per_s() };
            views.insert(lane.key.clone(), view);
        }
        views
    }

    fn sample(&self, now: Instant) -> Sample {
        let lags = self.lanes.values().filter_map(|memory| memory.seen.lag());
        Sample {
            at: now,
            consumed: self.consumed,
            written: self.written,
            bytes: self.sinks.iter().map(|watched| watched.status.bytes()).sum(),
            latency: self.status.latency.read(),
            partition: self.status.partition_clock.read(),
            sinks: self.sinks.iter().map(|watched| watched.status.clock.read()).collect(),
            lag: lags.fold(None, |sum: Option<u64>, lag| Some(sum.unwrap_or(0) + lag)),
        }
    }

    fn judge(&self, observation: &Observation) -> Verdict {
        let on_its_way = ON_ITS_WAY_SECONDS * observation.records_per_s;
        let is_behind = |sample: &Sample| sample.lag.is_none_or(|lag| lag as f64 > on_its_way);
        let sinks = self.sinks.iter().map(|watched| SinkInterval {
            name: watched.name.clone(),
            times: observation
                .sinks
                .get(&watched.name)
                .map_or_else(StageTimes::default, |sink| sink.writers.times),
            outage: watched.status.outage().map(|outage| (outage.class, outage.message)),
            waits: watched.status.waits(LOOK_AGE_MAX),
        });
        verdict::judge(&Interval {
            partition: observation.partition.times,
            sinks: sinks.collect(),
            is_behind: observation.seconds > 0.0
                && !self.lanes.is_empty()
                && self.samples.iter().all(is_behind),
            silent: self.silent(),
        })
    }

    /// Who does not answer, but for sinks that have been written to: these tell it themselves.
    fn silent(&self) -> Option<(Bottleneck, String)> {
        let registries = self.status.registry_outages().into_iter();
        let brokers = self.status.silent_brokers(SILENCE).into_iter();
        let claims = self.status.sources().into_iter().filter_map(|(name, state)| match state {
            SourceState::Claiming { party, reason } => {
                let bottleneck = match party {
                    Party::Brokers => Bottleneck::Kafka,
                    Party::Sink => Bottleneck::SinkAway,
                };
                Some((bottleneck, format!("source {name} cannot claim its partitions: {reason}")))
            }
            _ => None,
        });
        let named = |bottleneck| move |reason| (bottleneck, reason);
        registries
            .map(named(Bottleneck::Registry))
            .chain(claims)
            .chain(brokers.map(named(Bottleneck::Kafka)))
            .next()
    }

    /// Has the sinks look at their connections, where they hold the partition threads back.
    fn look_at_sinks(&mut self, now: Instant, blocked: bool) {
        for watched in &mut self.sinks {
            let is_recent = |at| now.duration_since(at) < LOOK_INTERVAL;
            let due = !watched.looked_at.is_some_and(is_recent);
            if due && (blocked || watched.status.outage().is_some()) {
                watched.looked_at = Some(now);
                watched.sink.look(&watched.status);
            }
        }
    }
}

impl LaneMemory {
    fn new(lane: Arc<Lane>) -> Self {
        Self {
            lane,
            history: History::default(),
            seen: Standing::default(),
            written: VecDeque::new(),
        }
    }

    fn rows_per_s(&self) -> f64 {
        let (Some((first_at, first)), Some((last_at, last))) =
            (self.written.front(), self.written.back())
        else {
            return 0.0;
        };
        let seconds = last_at.duration_since(*first_at).as_secs_f64();
        if seconds > 0.0 { (last - first) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::Batch, lag::LagState, lane::Outcome, mailbox::mailbox, memory::Memory,
        record::Record, sink::Group,
    };

    fn lane(status: &Status) -> Arc<Lane> {
        let key = LaneKey { topic: "t".into(), partition: 0, target: "s".into() };
        let group = Arc::new(Group { name: "g".to_owned(), cluster_id: "c".to_owned() });
        let lane = Arc::new(Lane::new(key, group, None, 0, 0, mailbox().0));
        status.add_lane(&lane);
        lane
    }

    fn batch(offset: i64, records: i64) -> Batch {
        let mut batch = Batch::new(offset);
        for offset in offset..offset + records {
            let (topic, value) = ("t", Some(b"{}".as_slice()));
            let (timestamp_ms, key, headers) = (Some(unix_ms()), None, None);
            let record = Record { topic, partition: 0, offset, timestamp_ms, key, value, headers };
            batch.segment(crate::batch::Layout::default()).rows += 1;
            batch.cover(&record, Instant::now);
        }
        batch
    }

    #[test]
    fn rates_are_those_of_the_interval_and_a_new_lane_counts_anew() {
        let status = Arc::new(Status::new(Arc::new(Memory::new(64 << 20, 1 << 20))));
        let first = lane(&status);
        let mut observer = Observer::new(Arc::clone(&status), std::iter::empty());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        first.set_high_watermark(30);
        first.take_in(20);
        first.settle(batch(0, 20), Outcome::Durable);
        observer.look(at(5));
        let seen = status.observation();
        let rate = |seen: &Observation| (seen.rows_per_s * seen.seconds).round();
        assert_eq!((rate(&seen), seen.lanes.len()), (20.0, 1));
        assert!(seen.since.is_some());
        // The lane is claimed again, by this process.
        status.remove_lane(&first);
        let second = lane(&status);
        second.set_high_watermark(30);
        second.take_in(10);
        second.settle(batch(20, 10), Outcome::Durable);
        observer.look(at(10));
        let seen = status.observation();
        assert_eq!((rate(&seen), seen.seconds), (10.0, 5.0));
        let view = seen.lanes[&second.key];
        assert_eq!((view.lag_seconds, view.state()), (Some(0.0), LagState::Ok));
        // And goes.
        status.remove_lane(&second);
        observer.look(at(15));
        let seen = status.observation();
        assert_eq!((seen.rows_per_s, seen.lanes.len()), (0.0, 0));
    }
}
