//! One lane as its partition thread sees it: the batch that is open, and the one on its way.

use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::{
    batch::{Batch, DeadLetter},
    breaker::{Breaker, Tripped},
    error::{Error, ErrorKind},
    frontier::Frontier,
    intake::Intake,
    lane::{Lane, LaneKey},
    record::Record,
    rejection::Rejection,
    row::Row,
    sink::{Flushed, Target, Wish},
};

/// One lane as its partition thread sees it.
pub(crate) struct LaneFeed {
    pub(crate) lane: Arc<Lane>,
    /// The target as it was when its encoder was made.
    pub(crate) target: Arc<dyn Target>,
    pub(crate) intake: Intake,
    pub(crate) queue: Sender<Flushed>,
    pub(crate) open: Batch,
    pub(crate) spare: Option<Batch>,
    /// The batch that came back because the target had changed; it still counts as on its way.
    pub(crate) stale: Option<Batch>,
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
        breaker: Breaker,
    ) -> Self {
        let position = lane.durable();
        Self {
            lane,
            target,
            intake,
            queue,
            open: Batch::new(position),
            spare: None,
            stale: None,
            unpublished: 0,
            frontier: Frontier::new(position),
            breaker,
        }
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

    /// Counts what was taken in since the last time.
    pub(crate) fn publish_counts(&mut self) {
        self.lane.take_in(std::mem::take(&mut self.unpublished));
    }
}
