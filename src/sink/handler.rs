//! A sink made of a function: for programs that embed the engine.

use std::{fmt, sync::Arc};

use super::{Encoder, Flushed, Sink, Target, TargetId, WriteError, Writer};
use crate::{
    config, detect::Sample, error::Error, lane::Outcome, record::Record, status::SinkStatus,
    watchdog::Heart,
};

type Handle = dyn Fn(&Record<'_>) -> Result<(), WriteError> + Send + Sync;

/// Calls a function for each record: at least once, in the order of its partition.
///
/// The function gets key, value, topic, partition, offset and timestamp (no headers). When it
/// answers [`WriteError::Outage`], the batch is handed in again from its first record on.
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
        _samples: &mut dyn FnMut() -> Result<Vec<Sample>, Error>,
    ) -> Result<Arc<dyn Target>, Error> {
        Ok(Arc::new(self.clone()))
    }

    fn writer(&self, _status: Arc<SinkStatus>) -> Box<dyn Writer> {
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

    fn encoder(&self, _fields: &[String]) -> Result<Box<dyn Encoder>, Error> {
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
            heart.beat();
            for original in flushed.batch.originals() {
                (self.handle)(&Record {
                    topic: &flushed.lane.key.topic,
                    partition: flushed.lane.key.partition,
                    offset: original.offset,
                    timestamp_ms: original.timestamp_ms,
                    key: original.key,
                    value: original.value,
                    headers: None,
                })?;
            }
            flushed.outcome = Some(Outcome::Durable);
        }
        Ok(())
    }
}
