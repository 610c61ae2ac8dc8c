//! What `/status` says of an instance, as the status page and `tidegate top` read it.
//!
//! Whatever is missing is unknown: `top` may ask an instance of an older version.

use std::collections::BTreeMap;

use serde::Deserialize;

pub(crate) use crate::lag::LagState;

/// All of it; rates, shares and latencies are of the last seconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Snapshot {
    pub(crate) version: Option<String>,
    state: Option<String>,
    ready: bool,
    pub(crate) obstacles: Vec<String>,
    pub(crate) uptime_seconds: f64,
    pub(crate) lag_records: Option<u64>,
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) rates: Rates,
    pub(crate) latency_ms: Latency,
    pub(crate) verdict: Verdict,
    pub(crate) stages: Stages,
    pub(crate) memory: Memory,
    pub(crate) sources: Vec<Source>,
    pub(crate) sinks: Vec<Sink>,
    pub(crate) routes: Vec<Route>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) errors: Vec<Incident>,
    pub(crate) dead_letters: DeadLetters,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Rates {
    pub(crate) records_per_s: Option<f64>,
    pub(crate) rows_per_s: Option<f64>,
    pub(crate) bytes_per_s: Option<f64>,
}

/// Milliseconds from a record's timestamp to its row's commit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Latency {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Verdict {
    pub(crate) stage: Option<String>,
    /// The stage in words.
    pub(crate) bottleneck: Option<String>,
    pub(crate) evidence: Option<String>,
    pub(crate) advice: Option<String>,
    pub(crate) since_seconds: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Stages {
    pub(crate) partition: Shares,
    pub(crate) writers: Vec<SinkShares>,
}

/// What share of the time of a group of threads each stage took, from 0 to 1.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Shares {
    pub(crate) threads: Option<u64>,
    poll: Option<f64>,
    encode: Option<f64>,
    send: Option<f64>,
    gather: Option<f64>,
    connect: Option<f64>,
    copy: Option<f64>,
    checkpoint: Option<f64>,
    commit: Option<f64>,
    retry: Option<f64>,
}

/// The writers of one sink.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SinkShares {
    sink: String,
    #[serde(flatten)]
    shares: Shares,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    pub(crate) budget_bytes: Option<u64>,
    pub(crate) in_use_bytes: Option<u64>,
    pub(crate) resident_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) partitions: Option<u64>,
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sink {
    pub(crate) name: String,
    pub(crate) writers: Option<u64>,
    pub(crate) queue_batches: Option<u64>,
    pub(crate) queue_capacity_batches: Option<u64>,
    pub(crate) outage: Option<Outage>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Outage {
    pub(crate) seconds: f64,
    pub(crate) message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Route {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) topics: Vec<String>,
    pub(crate) targets: Vec<Target>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Target {
    pub(crate) target: String,
    pub(crate) sink: String,
    pub(crate) table: Option<String>,
    pub(crate) rows_per_s: Option<f64>,
    pub(crate) lag_records: Option<u64>,
    pub(crate) lag_state: LagState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Lane {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) target: String,
    pub(crate) durable_offset: Option<i64>,
    pub(crate) lag_records: Option<u64>,
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) lag_state: LagState,
    pub(crate) catch_up_seconds: Option<f64>,
    pub(crate) rows_per_s: Option<f64>,
    pub(crate) lost: Option<String>,
}

impl LagState {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Growing => "growing",
            Self::Stalled => "stalled",
            Self::WillExceedRetention => "will exceed retention",
        }
    }

    /// One character, for where there is no place for words and colour alone must not tell.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Unknown => "?",
            Self::Ok => "",
            Self::Growing => "↑",
            Self::Stalled => "=",
            Self::WillExceedRetention => "!",
        }
    }
}

/// One kind of warning or error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Incident {
    pub(crate) seconds_ago: f64,
    #[serde(rename = "where")]
    pub(crate) place: String,
    pub(crate) message: String,
    pub(crate) count: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DeadLetters {
    pub(crate) total: Option<u64>,
    pub(crate) by_reason: BTreeMap<String, u64>,
}

/// Where in the flow the bottleneck is: a group of threads, and the place of the stage among its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Nowhere,
    Partition(&'static str),
    Writers(&'a str, &'static str),
}

/// One stage of a group of threads: its name, what the threads do in it, and the share of their time.
pub(crate) type Share = (&'static str, &'static str, Option<f64>);

impl Snapshot {
    /// `running`, `degraded`, `draining`, or `standby`: a member that has no partitions.
    pub(crate) fn state(&self) -> &str {
        let on_standby = |source: &Source| source.state == "standby";
        match self.state.as_deref().unwrap_or(if self.ready { "running" } else { "degraded" }) {
            "running" if !self.sources.is_empty() && self.sources.iter().all(on_standby) => {
                "standby"
            }
            state => state,
        }
    }

    /// When all lanes that are behind have caught up; `None` where one of them has no estimate.
    pub(crate) fn catch_up_seconds(&self) -> Option<f64> {
        let behind = self.lanes.iter().filter(|lane| lane.lag_records != Some(0));
        let estimates: Option<Vec<f64>> = behind.map(|lane| lane.catch_up_seconds).collect();
        estimates?.into_iter().max_by(f64::total_cmp)
    }

    /// The stages of the partition threads, in the order of a record's path.
    pub(crate) fn partition_shares(&self) -> [Share; 3] {
        let Shares { poll, encode, send, .. } = self.stages.partition;
        [("poll", "waiting", poll), ("encode", "encoding", encode), ("send", "blocked", send)]
    }

    /// The stages of a sink's writers.
    pub(crate) fn writer_shares(&self, sink: &str) -> [Share; 6] {
        let found = self.stages.writers.iter().find(|writers| writers.sink == sink);
        let shares = found.map(|writers| writers.shares.clone()).unwrap_or_default();
        [
            ("gather", "waiting", shares.gather),
            ("connect", "connect", shares.connect),
            ("copy", "COPY", shares.copy),
            ("checkpoint", "checkpoint", shares.checkpoint),
            ("commit", "COMMIT", shares.commit),
            ("retry", "backing off", shares.retry),
        ]
    }

    /// The targets that write to a sink, each with the name of its route.
    pub(crate) fn targets_of<'a>(
        &'a self,
        sink: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Target)> {
        let targets = self
            .routes
            .iter()
            .flat_map(|route| route.targets.iter().map(|target| (route.name.as_str(), target)));
        targets.filter(move |(_, target)| target.sink == sink)
    }

    /// The lanes by topic and target, each in the order of its partitions.
    pub(crate) fn groups(&self) -> BTreeMap<(&str, &str), Vec<&Lane>> {
        let mut groups: BTreeMap<_, Vec<&Lane>> = BTreeMap::new();
        for lane in &self.lanes {
            groups.entry((lane.topic.as_str(), lane.target.as_str())).or_default().push(lane);
        }
        groups.values_mut().for_each(|lanes| lanes.sort_by_key(|lane| lane.partition));
        groups
    }

    /// The lanes, those first that need to be looked at first.
    pub(crate) fn worst_lanes(&self) -> Vec<&Lane> {
        let mut lanes: Vec<&Lane> = self.lanes.iter().collect();
        lanes.sort_by_key(|lane| {
            let urgency = (lane.lost.is_some(), lane.lag_state, lane.lag_records);
            (std::cmp::Reverse(urgency), &lane.topic, lane.partition, &lane.target)
        });
        lanes
    }

    /// Where the stage that the verdict names is. It names no sink: of several it is the busiest, or the
    /// one that is away.
    pub(crate) fn bottleneck(&self) -> Place<'_> {
        let stage = match self.verdict.stage.as_deref() {
            Some("kafka") => return Place::Partition("poll"),
            Some("decode" | "registry") => return Place::Partition("encode"),
            Some("connect") => "connect",
            Some("copy" | "lock" | "network") => "copy",
            Some("checkpoint") => "checkpoint",
            Some("commit") => "commit",
            Some("sink_away") => "retry",
            Some("writers") => "",
            _ => return Place::Nowhere,
        };
        let idle = |writers: &&SinkShares| writers.shares.gather.unwrap_or(1.0);
        let away = self.sinks.iter().find(|sink| stage == "retry" && sink.outage.is_some());
        let busiest = self.stages.writers.iter().min_by(|a, b| idle(a).total_cmp(&idle(b)));
        match away.map(|sink| &sink.name).or(busiest.map(|writers| &writers.sink)) {
            Some(sink) => Place::Writers(sink, stage),
            None => Place::Nowhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_that_of_the_last_lane_to_catch_up() {
        let snapshot = |lanes: serde_json::Value| -> Snapshot {
            serde_json::from_value(serde_json::json!({ "lanes": lanes })).unwrap()
        };
        let lane = |lag: u64, left: Option<f64>| {
            serde_json::json!({"topic": "t", "partition": 0, "target": "s",
                               "lag_records": lag, "catch_up_seconds": left})
        };
        let of = |lanes: &[serde_json::Value]| snapshot(lanes.into()).catch_up_seconds();
        assert_eq!(of(&[lane(5, Some(3.0)), lane(9, Some(8.0)), lane(0, None)]), Some(8.0));
        assert_eq!(of(&[lane(5, Some(3.0)), lane(9, None)]), None);
    }

    #[test]
    fn the_worst_lane_comes_first() {
        let lane = |partition, lag_state, lag, lost: Option<&str>| Lane {
            partition,
            lag_state,
            lag_records: Some(lag),
            lost: lost.map(str::to_owned),
            ..Lane::default()
        };
        let lanes = vec![
            lane(0, LagState::Ok, 900, None),
            lane(1, LagState::Ok, 901, None),
            lane(2, LagState::Growing, 5, None),
            lane(3, LagState::Stalled, 1, None),
            lane(4, LagState::Ok, 0, Some("fenced")),
        ];
        let snapshot = Snapshot { lanes, ..Snapshot::default() };
        let order: Vec<i32> = snapshot.worst_lanes().iter().map(|lane| lane.partition).collect();
        assert_eq!(order, [4, 3, 2, 1, 0]);
    }
}
