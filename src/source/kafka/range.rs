//! A stretch of each partition, read once more by manual assignment: no member of any group, and
//! nothing is committed to Kafka.
//!
//! A stretch ends at a bound that whoever ordered it may raise. What is at the bound or behind it is
//! not taken in: a table that takes another's place must have exactly what that one has.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicI64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release},
};

use super::position::PartitionKey;
use crate::{
    lane::{Counts, Lane},
    pace::Pace,
};

/// Where stretches begin or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// The first record there is.
    Earliest,
    /// As far as the live table is.
    Latest,
    /// The first record at or after this time, in milliseconds since the Unix epoch.
    Timestamp(i64),
    /// This offset of each partition.
    Offset(i64),
}

/// The part of one partition that is read.
#[derive(Debug)]
pub(crate) struct Stretch {
    pub(crate) key: PartitionKey,
    /// Where it begins, and where this process began.
    pub(crate) from: i64,
    pub(crate) position: i64,
    /// Where it ends, if that is known beforehand.
    pub(crate) to: Option<i64>,
    /// The end of the partition when it was looked for.
    pub(crate) high: i64,
    bound: AtomicI64,
    /// All records below this offset have been taken in.
    reached: AtomicI64,
    lane: OnceLock<Arc<Lane>>,
}

impl Stretch {
    /// A stretch that nobody has claimed yet; the partition begins at `low`.
    pub(super) fn new(
        key: PartitionKey,
        (from, to): (i64, Option<i64>),
        (low, high): (i64, i64),
    ) -> Self {
        Self {
            key,
            from,
            position: low,
            to,
            high,
            bound: AtomicI64::new(i64::MIN),
            reached: AtomicI64::new(i64::MIN),
            lane: OnceLock::new(),
        }
    }

    pub(super) fn set_lane(&self, lane: &Arc<Lane>) {
        let _ = self.lane.set(Arc::clone(lane));
    }

    /// The first offset that is not to be taken in.
    pub(crate) fn bound(&self) -> i64 {
        self.bound.load(Acquire)
    }

    /// Lets it go on up to an offset; never back.
    pub(crate) fn raise(&self, bound: i64) {
        self.bound.fetch_max(bound, Release);
    }

    /// The next offset that is not durable.
    pub(crate) fn durable(&self) -> i64 {
        self.lane.get().map_or(self.position, |lane| lane.durable())
    }

    /// All records below this offset have been taken in, and are counted.
    pub(super) fn reach(&self, offset: i64) {
        self.reached.fetch_max(offset, Release);
    }

    /// Whether all there is below the bound is durable. The last offsets below it may have no records:
    /// they were compacted, or are the marks of transactions.
    pub(crate) fn is_settled(&self) -> bool {
        let bound = self.bound();
        let is_empty = || self.lane.get().is_some_and(|lane| lane.counts().in_flight == 0);
        self.durable() >= bound || (self.reached.load(Acquire) >= bound && is_empty())
    }
}

/// What is read, shared by the source and by whoever has ordered it.
#[derive(Debug)]
pub(crate) struct Range {
    pub(crate) from: Edge,
    pub(crate) to: Edge,
    pace: Option<Pace>,
    /// The pace does not count any more.
    hurry: AtomicBool,
    found: OnceLock<(String, Vec<Arc<Stretch>>)>,
}

impl Range {
    pub(crate) fn new(from: Edge, to: Edge, records_per_second: Option<u32>) -> Self {
        Self {
            from,
            to,
            pace: records_per_second.map(Pace::new),
            hurry: AtomicBool::new(false),
            found: OnceLock::new(),
        }
    }

    /// The id of the cluster and the stretches, once they are known and claimed.
    pub(crate) fn found(&self) -> Option<(&str, &[Arc<Stretch>])> {
        self.found.get().map(|(cluster_id, stretches)| (cluster_id.as_str(), &**stretches))
    }

    /// The stretches are claimed: whoever waits for them may raise their bounds from now on.
    pub(super) fn set_found(&self, cluster_id: String, stretches: Vec<Arc<Stretch>>) {
        let _ = self.found.set((cluster_id, stretches));
    }

    /// The rest is read as fast as it goes.
    pub(crate) fn hurry(&self) {
        self.hurry.store(true, Relaxed);
    }

    pub(super) fn pace(&self) -> Option<&Pace> {
        self.pace.as_ref().filter(|_| !self.hurry.load(Relaxed))
    }

    /// What has become of the records that this process has read.
    pub(crate) fn counts(&self) -> Counts {
        let stretches = self.found().map_or(&[][..], |(_, stretches)| stretches);
        let lanes = stretches.iter().filter_map(|stretch| stretch.lane.get());
        lanes.fold(Counts::default(), |sum, lane| sum.plus(&lane.counts()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::Batch,
        lane::{LaneKey, Outcome},
        sink::Group,
    };

    #[test]
    fn a_stretch_is_settled_when_what_there_is_below_its_bound_is_durable() {
        let key = LaneKey { topic: Arc::from("t"), partition: 0, target: Arc::from("pg.t") };
        let group = Group { name: "g".to_owned(), cluster_id: "c".to_owned() };
        let (sender, _answers) = crate::mailbox::mailbox();
        let lane = Arc::new(Lane::new(key, Arc::new(group), None, 0, 5, sender));
        let stretch = Stretch::new((Arc::from("t"), 0), (5, None), (0, 20));
        stretch.set_lane(&lane);
        stretch.raise(5);
        assert!(stretch.is_settled());
        stretch.raise(10);
        stretch.raise(7);
        assert_eq!(stretch.bound(), 10);
        assert!(!stretch.is_settled());
        // Two records, of which the last is at 7: there is none behind it.
        lane.take_in(2);
        stretch.reach(10);
        assert!(!stretch.is_settled(), "they are on their way");
        let mut batch = Batch::new(5);
        (batch.end, batch.records, batch.filtered) = (8, 2, 2);
        lane.settle(batch, Outcome::Durable);
        assert!(stretch.is_settled());
        stretch.raise(11);
        assert!(!stretch.is_settled(), "what was reached before says nothing of more");
    }
}
