//! A sink made of a function: for programs that embed the engine.

use std::{fmt, sync::Arc};

use super::{Encoder, Flushed, Sink, Target, TargetId, WriteError, Writer};
use crate::{
    batch::{Batch, DeadLetter, Original},
    config,
    error::Error,
    lane::Outcome,
    record::Record,
    selector::Selector,
    shape::Shape,
    source::kafka::DeadLetterTopic,
    stage::ThreadClock,
    watchdog::Heart,
};

type Handle = dyn Fn(&Record<'_>) -> Result<(), WriteError> + Send + Sync;

/// Calls a function for each record: at least once, in the order of its partition.
///
/// The function gets key, value, headers, topic, partition, offset and timestamp, also of records that
/// the route's format refuses. When it answers [`WriteError::Outage`], the batch is handed in again
/// from its first record on.
#[derive(Clone)]
pub struct HandlerSink {
    handle: Arc<Handle>,
}

impl HandlerSink {
    /// A sink that calls `handle`.
    pub fn new(
        handle: impl Fn(&Record<'_>) -> Result<(), WriteError> + Send + Sync + 'static,
    ) -> Self {
        Self { handle: Arc::new(handle) }
    }
}

impl fmt::Debug for HandlerSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerSink")
    }
}

impl Sink for HandlerSink {
    fn open(
        &self,
        _target: &config::Target,
        _shape: &mut dyn FnMut() -> Result<Shape, Error>,
        _dead_letters: Option<Arc<DeadLetterTopic>>,
    ) -> Result<Arc<dyn Target>, Error> {
        Ok(Arc::new(self.clone()))
    }

    fn writer(&self, _clock: Arc<ThreadClock>) -> Box<dyn Writer> {
        Box::new(self.clone())
    }
}

impl Target for HandlerSink {
    fn id(&self) -> TargetId {
        TargetId(0)
    }

    /// The batch keeps the records as they came; that is all the function needs.
    fn may_refuse(&self) -> bool {
        true
    }

    fn encoder(&self, _selectors: &[Selector]) -> Result<Box<dyn Encoder>, Error> {
        Ok(Box::new(self.clone()))
    }
}

impl Encoder for HandlerSink {}

impl Writer for HandlerSink {
    fn write(
        &mut self,
        _target: TargetId,
        batches: &mut [Flushed],
        heart: &Heart,
    ) -> Result<(), WriteError> {
        for flushed in batches {
            for original in records_of(&flushed.batch) {
                heart.beat();
                let key = &flushed.lane.key;
                (self.handle)(&original.record(&key.topic, key.partition))?;
            }
            flushed.outcome = Some(Outcome::Durable);
        }
        Ok(())
    }
}

/// All records of a batch in order of their offsets, also those that the format did not take: what a
/// record means is the function's business.
fn records_of(batch: &Batch) -> Vec<Original<'_>> {
    let refused = batch.dead_letters.iter().map(DeadLetter::original);
    let mut records: Vec<_> = batch.originals().chain(refused).collect();
    records.sort_by_key(|record| record.offset);
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rejection::{Reason, Rejection};

    #[test]
    fn the_function_gets_refused_records_too_in_their_place() {
        let mut batch = Batch::new(0);
        let record = |offset| Record {
            topic: "t",
            partition: 0,
            offset,
            timestamp_ms: None,
            key: None,
            value: Some(b"x"),
            headers: None,
        };
        batch.keep_original(&record(0));
        batch.reject(&record(1), Rejection::record(Reason::Malformed, "not JSON"));
        batch.keep_original(&record(2));
        let offsets: Vec<i64> = records_of(&batch).iter().map(|r| r.offset).collect();
        assert_eq!(offsets, [0, 1, 2]);
    }
}
