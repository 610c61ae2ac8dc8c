//! Buffers of batches that are done with, for the next ones of any lane: of many lanes few have records at
//! the same time, and those that have none hold none.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{batch::Batch, memory::Memory};

/// The part of the budget that they may take, of what is for the batches.
const PART: usize = 8;

/// Buffers that wait for their next use.
#[derive(Debug)]
pub(crate) struct Spares {
    batches: Mutex<Vec<Batch>>,
    memory: Arc<Memory>,
}

impl Spares {
    pub(crate) fn new(memory: &Arc<Memory>) -> Self {
        Self { batches: Mutex::default(), memory: Arc::clone(memory) }
    }

    /// Puts the buffers of `batch` aside, if there is room.
    pub(crate) fn put(&self, mut batch: Batch) {
        batch.reset(0);
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting: usize = batches.iter().map(Batch::capacity).sum();
        if waiting + batch.capacity() <= self.memory.budget_bytes() / PART {
            batch.hold = Some(self.memory.hold_of(batch.capacity()));
            batches.push(batch);
        }
    }

    /// An empty batch from `begin` on, with buffers if there are any.
    pub(crate) fn take(&self, begin: i64) -> Batch {
        let spare = self.batches.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(mut batch) = spare else { return Batch::new(begin) };
        batch.reset(begin);
        batch
    }
}
