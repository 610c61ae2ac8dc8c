//! A source's order to one partition thread.

use std::time::Instant;

use crate::{
    batch::Trigger,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Acquire, Ordering::Release},
    },
};

/// A source's order to a partition thread: drain until the deadline, then end.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    requested: AtomicBool,
    order: Mutex<Option<(Trigger, Instant)>>,
}

impl Stop {
    /// Gives the order; `trigger` is what closes the open batches.
    pub(crate) fn request(&self, trigger: Trigger, deadline: Instant) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = Some((trigger, deadline));
        self.requested.store(true, Release);
    }

    /// Whether the order was given.
    pub(crate) fn is_requested(&self) -> bool {
        self.requested.load(Acquire)
    }

    /// What was ordered.
    pub(crate) fn order(&self) -> Option<(Trigger, Instant)> {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
