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
    sink::Flushed,
};

/// One lane as its partition thread sees it.
pub(crate) struct LaneFeed {
    pub(crate) lane: Arc<Lane>,
    intake: Intake,
    pub(crate) queue: Sender<Flushed>,
    pub(crate) open: Batch,
    pub(crate) spare: Option<Batch>,
    unpublished: u64,
    pub(crate) frontier: Frontier,
    pub(crate) breaker: Breaker,
}

impl LaneFeed {
    pub(crate) fn new(
        lane: Arc<Lane>,
        intake: Intake,
        queue: Sender<Flushed>,
        breaker: Breaker,
    ) -> Self {
        let position = lane.durable();
        Self {
            lane,
            intake,
            queue,
            open: Batch::new(position),
            spare: None,
            unpublished: 0,
            frontier: Frontier::new(position),
            breaker,
        }
    }

    /// Takes one record in, as a row or as a dead letter.
    pub(crate) fn take(&mut self, record: &Record<'_>, decoded: Result<Row<'_>, &Rejection>) {
        self.intake.take(&mut self.open, record, decoded);
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
