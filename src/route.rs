//! A route: the topics of one source, their format, and the targets that they go to.

use std::{sync::Arc, time::Instant};

use crossbeam_channel::Sender;

use crate::{
    batch::BatchPolicy,
    breaker::Breaker,
    config::FormatKind,
    error::Error,
    filter::Filter,
    intake::{Decoder, Intake},
    lane::{Claim, Lane, LaneKey},
    lane_feed::LaneFeed,
    mailbox::mailbox,
    memory::Memory,
    partition::{Partition, PartitionParts},
    selector::Selector,
    shutdown::Shutdown,
    sink::{Flushed, Group, Target},
    spans::Spans,
    spares::Spares,
    status::Status,
    stop::Stop,
    watchdog::Watchdog,
};

/// What all threads of an engine share.
#[derive(Clone, Debug)]
pub struct Context {
    /// The order to stop, and the failure that forces it.
    pub shutdown: Shutdown,
    /// Sees the threads.
    pub watchdog: Watchdog,
    /// What is going on.
    pub status: Arc<Status>,
    /// The memory budget.
    pub memory: Arc<Memory>,
    /// Buffers for batches.
    pub(crate) spares: Arc<Spares>,
    /// When batches close.
    pub policy: BatchPolicy,
    /// How long a revocation or a shutdown may drain.
    pub drain: std::time::Duration,
    /// Where write sets are told, if anywhere.
    pub(crate) spans: Option<Spans>,
}

/// One target of a route.
pub struct RouteTarget {
    /// `sink` or `sink.table`: the lane's target name.
    pub name: Arc<str>,
    /// The opened target.
    pub target: Arc<dyn Target>,
    /// Which records it wants, if not all.
    pub filter: Option<Filter>,
    /// To the sink's writers.
    pub queue: Sender<Flushed>,
}

/// The name of a target in lanes: `sink`, or `sink.table`.
pub(crate) fn target_name(sink: &str, target: &dyn Target) -> Arc<str> {
    match target.name().as_str() {
        "" => Arc::from(sink),
        table => Arc::from(format!("{sink}.{table}")),
    }
}

/// A route whose targets are open.
pub struct Route {
    /// The name of its source.
    pub source: String,
    /// Topics; for an ndjson source its own name.
    pub topics: Vec<String>,
    /// What the targets ask for: a record is decoded into these, once.
    pub selectors: Vec<Selector>,
    /// How payloads are read.
    pub format: FormatKind,
    /// A larger record is dead-lettered undecoded.
    pub max_record_bytes: usize,
    /// A lane halts when more of its records become dead letters.
    pub max_dead_letter_percent: u64,
    /// Where the rows go.
    pub targets: Vec<RouteTarget>,
}

/// What a source can do about a lane that was lost while it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It reads it again, from its checkpoint on.
    Repeatable,
    /// Nothing; the next run may.
    Once,
}

/// Where one lane begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStart {
    /// The first offset that it has not got.
    pub position: i64,
    /// The right to move its checkpoint, in exactly-once.
    pub claim: Option<Claim>,
}

/// The lanes of one partition, ready to be fed.
pub(crate) struct OpenPartition {
    pub(crate) partition: Partition,
    pub(crate) lanes: Vec<Arc<Lane>>,
    pub(crate) stop: Arc<Stop>,
}

impl Route {
    /// The names of a partition's lanes, in the order of the targets.
    pub fn lane_keys(&self, topic: &Arc<str>, partition: i32) -> Vec<LaneKey> {
        let key = |target: &RouteTarget| LaneKey {
            topic: Arc::clone(topic),
            partition,
            target: Arc::clone(&target.name),
        };
        self.targets.iter().map(key).collect()
    }

    /// Opens the lanes of one partition; `starts` has one entry for each target.
    ///
    /// # Errors
    /// When a target gives no encoder.
    pub(crate) fn open_partition(
        &self,
        topic: &Arc<str>,
        partition: i32,
        group: &Arc<Group>,
        starts: &[LaneStart],
        reading: Reading,
        context: &Context,
    ) -> Result<OpenPartition, Error> {
        // A lane that is lost takes its neighbours with it. What they would write or send once more is no reason to
        // save the copies.
        let rereads = reading == Reading::Repeatable
            && starts.iter().all(|start| start.claim.is_some())
            && !self.targets.iter().any(|target| target.target.keeps_records());
        let (sender, acknowledgements) = mailbox();
        let mut lanes = Vec::with_capacity(self.targets.len());
        let mut feeds = Vec::with_capacity(self.targets.len());
        let keys = self.lane_keys(topic, partition);
        for (index, ((target, key), start)) in self.targets.iter().zip(keys).zip(starts).enumerate()
        {
            let lane = Arc::new(Lane::new(
                key,
                Arc::clone(group),
                start.claim,
                index,
                start.position,
                sender.clone(),
            ));
            let intake =
                Intake::new(target.target.as_ref(), target.filter.as_ref(), &self.selectors)?;
            feeds.push(LaneFeed::new(
                Arc::clone(&lane),
                Arc::clone(&target.target),
                intake,
                target.queue.clone(),
                rereads,
                Breaker::new(self.max_dead_letter_percent),
                context.memory.hold(),
            ));
            lanes.push(lane);
        }
        lanes.iter().for_each(|lane| context.status.add_lane(lane));
        let stop = Arc::new(Stop::default());
        let partition = Partition::new(PartitionParts {
            selectors: self.selectors.clone(),
            decoder: Decoder::new(&self.format, &self.selectors, self.max_record_bytes),
            lanes: feeds,
            acknowledgements,
            stop: Arc::clone(&stop),
            shutdown: context.shutdown.clone(),
            memory: Arc::clone(&context.memory),
            spares: Arc::clone(&context.spares),
            policy: context.policy,
            clock: context.status.partition_clock.clone(),
            source_bytes: context.status.consumed_bytes_of(&self.source),
        });
        Ok(OpenPartition { partition, lanes, stop })
    }
}

impl Context {
    /// When a drain that begins now must be over.
    pub fn drain_deadline(&self) -> Instant {
        Instant::now() + self.drain
    }
}
