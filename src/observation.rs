//! What was seen of an engine in the last seconds: read by `/status`, `/metrics`, the status page and the
//! state line.

use std::{collections::BTreeMap, time::Instant};

use crate::{
    lag::{LagState, Outlook},
    lane::{Lane, LaneKey, Loss, Standing},
    latency::LatencyCounts,
    sink::Connections,
    stage::StageTimes,
    status::Status,
    verdict::Verdict,
};

/// What was seen of the last seconds.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// How many seconds.
    pub seconds: f64,
    /// Records taken in, a second.
    pub records_per_s: f64,
    /// Rows that became durable, a second.
    pub rows_per_s: f64,
    /// Bytes of encoded rows that became durable, a second.
    pub bytes_per_s: f64,
    /// Latency of the records that became durable.
    pub latency: LatencyCounts,
    /// Partition threads.
    pub partition: Shares,
    /// Writers and connections, by sink.
    pub sinks: BTreeMap<String, SinkView>,
    /// The bottleneck.
    pub verdict: Verdict,
    /// Since when it has been this stage; `None` before the first look.
    pub since: Option<Instant>,
    /// The lanes.
    pub lanes: BTreeMap<LaneKey, LaneView>,
}

impl Observation {
    /// The greatest age of a record that is not durable, over all lanes.
    pub fn lag_seconds(&self) -> Option<f64> {
        let ages = self.lanes.values().filter_map(|lane| lane.lag_seconds);
        ages.max_by(f64::total_cmp)
    }
}

/// Where the time of a group of threads went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shares {
    /// The number of threads.
    pub threads: usize,
    /// Their time in the interval.
    pub times: StageTimes,
}

/// What was seen of one sink.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SinkView {
    /// Its writers.
    pub writers: Shares,
    /// Its connections, if it has any.
    pub connections: Option<Connections>,
}

/// What was seen of one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LaneView {
    /// Age of the oldest record that is not durable.
    pub lag_seconds: Option<f64>,
    /// What the lag does.
    pub outlook: Outlook,
    /// Rows that became durable, a second.
    pub rows_per_s: f64,
}

impl LaneView {
    /// What the lag does.
    pub fn state(&self) -> LagState {
        self.outlook.state
    }
}

/// A lane where it stands now, beside what was seen of it.
pub(crate) struct LaneReport {
    pub(crate) key: LaneKey,
    pub(crate) standing: Standing,
    pub(crate) view: LaneView,
    pub(crate) loss: Option<Loss>,
}

impl LaneReport {
    /// All lanes of now, by name. One snapshot of each: its counts balance in it.
    pub(crate) fn all(status: &Status, seen: &Observation) -> Vec<Self> {
        status.lanes().iter().map(|lane| Self::new(lane, seen)).collect()
    }

    fn new(lane: &Lane, seen: &Observation) -> Self {
        let view = seen.lanes.get(&lane.key).copied().unwrap_or_default();
        Self { key: lane.key.clone(), standing: lane.standing(), view, loss: lane.loss() }
    }

    /// The age was seen up to a second ago; a lag that is gone is gone.
    pub(crate) fn lag_seconds(&self) -> Option<f64> {
        if self.standing.lag() == Some(0) { Some(0.0) } else { self.view.lag_seconds }
    }
}
