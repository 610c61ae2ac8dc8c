//! A sink that takes everything and keeps nothing: measures what comes before the sink.

use std::sync::Arc;

use super::{Encoder, Flushed, Sink, Target, TargetId, WriteError, Writer};
use crate::{
    config, error::Error, lane::Outcome, selector::Selector, shape::Shape,
    source::kafka::DeadLetterTopic, stage::ThreadClock, watchdog::Heart,
};

/// The sink, its only target, and its encoder and writer: none has anything to hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullSink;

impl Sink for NullSink {
    fn open(
        &self,
        _target: &config::Target,
        _shape: &mut dyn FnMut() -> Result<Shape, Error>,
        _dead_letters: Option<Arc<DeadLetterTopic>>,
    ) -> Result<Arc<dyn Target>, Error> {
        Ok(Arc::new(Self))
    }

    fn writer(&self, _clock: Arc<ThreadClock>) -> Box<dyn Writer> {
        Box::new(Self)
    }
}

impl Target for NullSink {
    fn id(&self) -> TargetId {
        TargetId(0)
    }

    fn encoder(&self, _selectors: &[Selector]) -> Result<Box<dyn Encoder>, Error> {
        Ok(Box::new(Self))
    }
}

impl Encoder for NullSink {}

impl Writer for NullSink {
    fn write(
        &mut self,
        _target: TargetId,
        batches: &mut [Flushed],
        _heart: &Heart,
    ) -> Result<(), WriteError> {
        batches.iter_mut().for_each(|flushed| flushed.outcome = Some(Outcome::Durable));
        Ok(())
    }
}
