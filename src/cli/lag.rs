//! `tidegate lag`

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;

use super::{
    ConfigArgs, check,
    positions::{Standing, databases, kafka_sources, lane_name, standing},
    say, table, telemetry,
};
use crate::{
    config::{Config, Delivery, parse_duration},
    error::{Error, ErrorKind},
    sink::postgres::PostgresSink,
    source::kafka::{Inspector, KafkaSource, Seen},
};

#[derive(Debug, Args)]
pub(super) struct LagArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Look twice, and end with exit code 1 if some partition's lag has grown in between while a record
    /// waited all that time.
    #[arg(long)]
    fail_if_growing: bool,
    /// The time between the two looks.
    #[arg(long = "for", default_value = "10s", value_name = "DURATION", value_parser = pause,
        requires = "fail_if_growing")]
    pause: Duration,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

fn pause(text: &str) -> Result<Duration, String> {
    let in_range =
        |pause: &Duration| *pause > Duration::ZERO && *pause <= Duration::from_secs(3600);
    parse_duration(text)
        .filter(in_range)
        .ok_or_else(|| "expected a duration of up to an hour, such as 10s or 2m".to_owned())
}

/// A partition on its way to one target, as it is now.
#[derive(Clone, Debug)]
struct Lane {
    route: String,
    source: String,
    topic: Arc<str>,
    partition: i32,
    target: String,
    low: i64,
    /// The first offset that is not durable.
    durable: i64,
    high: i64,
    /// It has no position yet, and would begin there.
    is_new: bool,
}

impl Lane {
    /// Records that are there and not durable. Offsets without a record count as well.
    fn records(&self) -> i64 {
        (self.high - self.durable.max(self.low)).max(0)
    }

    fn state(&self) -> &'static str {
        if self.durable > self.high {
            "beyond_end"
        } else if self.durable < self.low {
            "expired"
        } else if self.records() == 0 {
            "ok"
        } else if self.is_new {
            "new"
        } else {
            "behind"
        }
    }

    /// Whether it falls behind, seen from an earlier look; `oldest` is the first record that is not
    /// durable. A record that has just come is none that waits, nor is the mark of a transaction.
    fn is_growing(&self, before: &Self, oldest: Option<i64>) -> bool {
        self.records() > before.records() && oldest.is_some_and(|offset| offset < before.high)
    }
}

pub(super) fn run(arguments: &LagArgs) -> Result<(), Error> {
    let config = arguments.config.load()?;
    telemetry::install(&config.log)?;
    let config = check::resolve_topics(config)?;
    let runtime = Runtime::new().map_err(|error| Error::software(error.to_string()))?;
    let sources = kafka_sources(&config);
    let inspectors: Result<BTreeMap<&str, Inspector<'_>>, Error> =
        sources.iter().map(|(name, source)| Ok((*name, KafkaSource::inspect(source)?))).collect();
    let databases = databases(&config, runtime.handle()).into_iter();
    let sinks: Result<BTreeMap<&str, PostgresSink>, Error> =
        databases.map(|(name, sink)| Ok((name, sink?))).collect();
    let ends = Ends { inspectors: inspectors?, sinks: sinks? };
    let before = match arguments.fail_if_growing {
        true => {
            let before = ends.look(&config)?;
            thread::sleep(arguments.pause);
            before
        }
        false => Vec::new(),
    };
    let lanes = ends.look(&config)?;
    let oldest: Vec<Option<Seen>> = ends.oldest(&lanes)?;
    let growing: Vec<bool> = lanes
        .iter()
        .zip(&oldest)
        .map(|(lane, oldest)| {
            let same = |other: &&Lane| {
                (&other.topic, other.partition, &other.target, &other.source)
                    == (&lane.topic, lane.partition, &lane.target, &lane.source)
            };
            let before = before.iter().find(same);
            before.is_some_and(|before| lane.is_growing(before, oldest.map(|seen| seen.offset)))
        })
        .collect();
    let shown: Vec<Shown<'_>> = lanes
        .iter()
        .zip(oldest)
        .zip(&growing)
        .map(|((lane, oldest), growing)| Shown::new(lane, oldest, *growing))
        .collect();
    say(&if arguments.json { lines(&shown) } else { text(&shown) })?;
    match growing.iter().filter(|growing| **growing).count() {
        0 => Ok(()),
        count => Err(Error::new(
            ErrorKind::Growing,
            format!(
                "the lag of {count} of {} has grown within {:?}, and records waited all that time",
                lanes.len(),
                arguments.pause
            ),
        )),
    }
}

/// Who can be asked.
struct Ends<'a> {
    inspectors: BTreeMap<&'a str, Inspector<'a>>,
    sinks: BTreeMap<&'a str, PostgresSink>,
}

impl Ends<'_> {
    /// All lanes of the routes that read from Kafka: files have no end to be behind of.
    fn look(&self, config: &Config) -> Result<Vec<Lane>, Error> {
        let mut lanes = Vec::new();
        for route in &config.routes {
            let Some(inspector) = self.inspectors.get(&*route.source) else { continue };
            // The positions first: what is written in between must not show as a lag below zero.
            let mut stored = Vec::new();
            for target in &route.to {
                let sink = self.sinks.get(&*target.sink);
                let exact = sink.filter(|_| target.delivery == Delivery::ExactlyOnce);
                stored.push(match exact {
                    Some(sink) => {
                        sink.stored_positions(inspector.group(), &inspector.cluster_id)?
                    }
                    None => Vec::new(),
                });
            }
            for place in inspector.places(&route.topics)? {
                for (target, stored) in route.to.iter().zip(&stored) {
                    let standing = standing(target, &place, stored);
                    lanes.push(Lane {
                        route: route.name.clone(),
                        source: route.source.clone(),
                        topic: Arc::clone(&place.topic),
                        partition: place.partition,
                        target: lane_name(target),
                        low: place.low,
                        durable: standing.offset(),
                        high: place.high,
                        is_new: matches!(standing, Standing::Begins(_)),
                    });
                }
            }
        }
        Ok(lanes)
    }

    /// The first record of each lane that is not durable.
    fn oldest(&self, lanes: &[Lane]) -> Result<Vec<Option<Seen>>, Error> {
        let mut oldest = vec![None; lanes.len()];
        for (source, inspector) in &self.inspectors {
            let mut left: Vec<usize> = (0..lanes.len())
                .filter(|&index| lanes[index].source == *source && lanes[index].records() > 0)
                .collect();
            // The lanes of a partition may stand at different offsets: one of each partition at a time.
            while !left.is_empty() {
                let mut from = BTreeMap::new();
                left.retain(|&index| {
                    let lane = &lanes[index];
                    let key = (Arc::clone(&lane.topic), lane.partition);
                    let offset = lane.durable.max(lane.low);
                    let (chosen, _) = from.entry(key).or_insert((offset, ()));
                    *chosen != offset
                });
                let asked: Vec<_> =
                    from.into_iter().map(|(key, (offset, ()))| (key, offset)).collect();
                let found = inspector.first_records(&asked)?;
                for ((topic, partition), offset) in &asked {
                    let seen = found.get(&(Arc::clone(topic), *partition));
                    for (lane, oldest) in lanes.iter().zip(&mut oldest) {
                        if lane.source == *source
                            && (&lane.topic, lane.partition) == (topic, *partition)
                            && lane.durable.max(lane.low) == *offset
                        {
                            *oldest = seen.copied();
                        }
                    }
                }
            }
        }
        Ok(oldest)
    }
}

/// A lane, with what was found of its oldest record.
struct Shown<'a> {
    lane: &'a Lane,
    /// Age of the first record that is not durable; `None` if none was found.
    seconds: Option<f64>,
    state: &'static str,
}

impl<'a> Shown<'a> {
    fn new(lane: &'a Lane, oldest: Option<Seen>, is_growing: bool) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let age = |timestamp_ms: i64| (now.as_secs_f64() - timestamp_ms as f64 / 1e3).max(0.0);
        let seconds = match lane.records() {
            0 => Some(0.0),
            _ => oldest.and_then(|seen| seen.timestamp_ms).map(age),
        };
        Self { lane, seconds, state: if is_growing { "growing" } else { lane.state() } }
    }
}

fn lines(shown: &[Shown<'_>]) -> String {
    let line = |Shown { lane, seconds, state }: &Shown<'_>| {
        let object = json!({
            "route": lane.route, "topic": &*lane.topic, "partition": lane.partition,
            "target": lane.target, "low": lane.low, "durable": lane.durable, "high": lane.high,
            "lag_records": lane.records(), "lag_seconds": seconds, "state": state,
        });
        format!("{object}\n")
    };
    shown.iter().map(line).collect()
}

fn text(shown: &[Shown<'_>]) -> String {
    let head =
        ["TOPIC", "PARTITION", "TARGET", "LOW", "DURABLE", "HIGH", "LAG", "SECONDS", "STATE"];
    let row = |Shown { lane, seconds, state }: &Shown<'_>| {
        [
            lane.topic.to_string(),
            lane.partition.to_string(),
            lane.target.clone(),
            lane.low.to_string(),
            lane.durable.to_string(),
            lane.high.to_string(),
            lane.records().to_string(),
            seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.0}")),
            (*state).to_owned(),
        ]
    };
    let records: i64 = shown.iter().map(|shown| shown.lane.records()).sum();
    let behind = shown.iter().filter(|shown| shown.lane.records() > 0).count();
    let sum = format!("{records} records behind in {behind} of {} lanes\n", shown.len());
    table(&head, shown.iter().map(row)) + &sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(low: i64, durable: i64, high: i64) -> Lane {
        Lane {
            route: "r".to_owned(),
            source: "s".to_owned(),
            topic: "t".into(),
            partition: 0,
            target: "pg.public.t".to_owned(),
            low,
            durable,
            high,
            is_new: false,
        }
    }

    #[test]
    fn lag_is_what_is_there_and_not_durable() {
        let cases = [
            ((0, 0, 0), 0, "ok"),
            ((0, 10, 10), 0, "ok"),
            ((0, 4, 10), 6, "behind"),
            // Retention took some of them: they do not come any more.
            ((7, 4, 10), 3, "expired"),
            ((10, 4, 10), 0, "expired"),
            ((0, 11, 10), 0, "beyond_end"),
        ];
        for ((low, durable, high), records, state) in cases {
            let lane = lane(low, durable, high);
            assert_eq!((lane.records(), lane.state()), (records, state), "{lane:?}");
        }
        assert_eq!(Lane { is_new: true, ..lane(0, 0, 5) }.state(), "new");
        assert_eq!(Lane { is_new: true, ..lane(0, 0, 0) }.state(), "ok");
    }

    #[test]
    fn a_lag_grows_when_a_record_waits_while_more_come() {
        let before = lane(0, 5, 10);
        assert!(lane(0, 5, 12).is_growing(&before, Some(5)), "nothing was written");
        assert!(lane(0, 8, 20).is_growing(&before, Some(8)), "less than what came");
        assert!(!lane(0, 5, 10).is_growing(&before, Some(5)), "nothing came");
        assert!(!lane(0, 10, 40).is_growing(&before, Some(10)), "all that was there is written");
        assert!(!lane(0, 9, 12).is_growing(&before, Some(9)), "it catches up");
        // What lies at 9 is the mark of a transaction.
        assert!(!lane(0, 9, 40).is_growing(&lane(0, 9, 10), Some(10)));
        assert!(!lane(0, 9, 40).is_growing(&lane(0, 9, 10), None));
    }
}
