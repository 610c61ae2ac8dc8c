//! One lane as its partition thread sees it: the batch that is open, and the one on its way.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;

use crate::{
    batch::{Batch, BatchPolicy, DeadLetter},
    breaker::{Breaker, Tripped},
    error::{Error, ErrorKind},
    frontier::{Broken, Frontier},
    incidents,
    intake::Intake,
    lane::{Lane, LaneKey},
    memory::Hold,
    record::Record,
    rejection::Rejection,
    row::Row,
    sink::{Flushed, Target, Wish},
    spares::Spares,
};

/// The least age of a batch: however fast the sink is, a transaction has a price of its own.
const AGE_MIN: Duration = Duration::from_millis(10);
/// However slow it is, what came in a tenth of a second makes a batch.
const AGE_MAX: Duration = Duration::from_millis(100);
/// A lane gathers for so many times as long as its last batch was on its way: its transactions take
/// only this part of the sink's time, and its records wait little longer than the sink makes them.
const AGE_FACTOR: u32 = 3;

/// One lane as its partition thread sees it.
pub(crate) struct LaneFeed {
    pub(crate) lane: Arc<Lane>,
    /// The target as it was when its encoder was made.
    pub(crate) target: Arc<dyn Target>,
    pub(crate) intake: Intake,
    pub(crate) queue: Sender<Flushed>,
    /// Whether its source reads it again from its checkpoint on if it is lost.
    rereads: bool,
    pub(crate) open: Batch,
    /// What the open batch holds of the memory, as of the last look.
    hold: Hold,
    /// The batch that came back because the target had changed; it still counts as on its way.
    pub(crate) stale: Option<Batch>,
    /// When the batch that is on its way left, and how long the one before it was.
    departed_at: Option<Instant>,
    took: Duration,
    unpublished: u64,
    pub(crate) frontier: Frontier,
    pub(crate) breaker: Breaker,
}

impl LaneFeed {
    pub(crate) fn new(
        lane: Arc<Lane>,
        target: Arc<dyn Target>,
        intake: Intake,
        queue: Sender<Flushed>,
        rereads: bool,
        breaker: Breaker,
        hold: Hold,
    ) -> Self {
        let position = lane.durable();
        Self {
            lane,
            target,
            intake,
            queue,
            rereads,
            open: Batch::new(position),
            hold,
            stale: None,
            departed_at: None,
            took: Duration::ZERO,
            unpublished: 0,
            frontier: Frontier::new(position),
            breaker,
        }
    }

    /// Begins a batch, in the buffers of one that is done with.
    pub(crate) fn begin(&mut self, spares: &Spares) {
        self.open = spares.take(self.open.begin);
        self.intake.keeps_originals = match self.rereads {
            true => self.target.keeps_records(),
            false => self.target.may_refuse(),
        };
    }

    /// When the open batch is old enough to leave: soon where the sink is quick, unless its age is fixed.
    pub(crate) fn deadline(&self, policy: &BatchPolicy) -> Option<Instant> {
        let age = policy.age.unwrap_or_else(|| adapted_age(self.took));
        self.open.opened_at().map(|at| at + age)
    }

    /// The open batch leaves for the sink.
    pub(crate) fn depart(&mut self) -> Result<(), Broken> {
        self.frontier.depart(self.open.begin..self.open.end)?;
        self.lane.depart(self.open.held());
        self.departed_at = Some(Instant::now());
        Ok(())
    }

    /// When the batch that is on its way left.
    pub(crate) fn departed_at(&self) -> Instant {
        self.departed_at.unwrap_or_else(Instant::now)
    }

    /// The batch that was on its way is durable since `at`: a thread that waited for records hears of it
    /// late.
    pub(crate) fn arrive(&mut self, at: Instant) {
        self.frontier.arrive();
        let departed_at = self.departed_at.take();
        self.took = departed_at.map_or(self.took, |from| at.saturating_duration_since(from));
    }

    /// Takes one record in, as a row or as a dead letter; or gives what its target would have to
    /// become to take it as a row, and leaves it.
    #[inline]
    pub(crate) fn offer(
        &mut self,
        record: &Record<'_>,
        decoded: Result<Row<'_>, &Rejection>,
    ) -> Option<Wish> {
        let wish = self.intake.offer(&mut self.open, record, decoded);
        self.unpublished += u64::from(wish.is_none());
        wish
    }

    /// Takes in a record for which the target does not change, and why.
    pub(crate) fn take_refused(
        &mut self,
        record: &Record<'_>,
        decoded: Result<Row<'_>, &Rejection>,
        why: &str,
    ) {
        self.intake.take_refused(&mut self.open, record, decoded, why);
        self.unpublished += 1;
    }

    /// The failure of a lane of which too much is poison.
    pub(crate) fn halt(&self, tripped: Tripped, last: Option<&DeadLetter>) -> Error {
        let LaneKey { topic, partition, target } = &self.lane.key;
        let Tripped { dead_letters, records } = tripped;
        let last = last.map_or_else(String::new, |l| {
            format!(", the last ({}) because of {}", l.offset, l.rejection)
        });
        Error::new(
            ErrorKind::Data,
            format!(
                "{topic}[{partition}] to {target}: {dead_letters} of the last {records} records could \
                 not become rows{last}. Is it the right format and the right table? Mend them and \
                 start again, or set the route's max_dead_letter_percent = 100 to let them all become \
                 dead letters"
            ),
        )
    }

    /// Dead letters of a batch are durable: tells what kinds, without what was in them.
    pub(crate) fn note_letters(&self, letters: &[DeadLetter]) {
        let mut kinds: BTreeMap<(&str, Option<&str>), u64> = BTreeMap::new();
        for DeadLetter { rejection, .. } in letters {
            *kinds.entry((rejection.reason.as_str(), rejection.column.as_deref())).or_default() +=
                1;
        }
        let LaneKey { topic, partition, target } = &self.lane.key;
        for ((reason, column), count) in kinds {
            let column = column.map_or_else(String::new, |column| format!(", column {column}"));
            let place = format!("{topic}[{partition}] to {target}");
            incidents::note(&place, &format!("dead letters: {reason}{column}"), count);
        }
    }

    /// Tells what was taken in since the last time, and what the open batch holds.
    pub(crate) fn publish(&mut self) {
        self.lane.take_in(std::mem::take(&mut self.unpublished));
        let held = self.open.held();
        self.hold.resize(self.open.capacity());
        self.lane.hold(held);
    }
}

/// How long a lane gathers whose last batch `took` so long to become durable.
fn adapted_age(took: Duration) -> Duration {
    (took * AGE_FACTOR).clamp(AGE_MIN, AGE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_gathers_longer_where_the_sink_is_slow_and_never_for_long() {
        let ages = [0, 1, 20, 1000].map(|took| adapted_age(Duration::from_millis(took)));
        assert_eq!(ages, [10, 10, 60, 100].map(Duration::from_millis));
    }
}
