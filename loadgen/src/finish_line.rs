//! Where the stream ends: one position for all threads, also when the end comes as a surprise.
//!
//! Every thread goes through the whole stream and writes its own partitions. When a signal or a
//! deadline stops the run, they must stop at the same position; else the partitions would hold
//! different prefixes of the stream.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The end of the stream, shared by the threads.
#[derive(Debug)]
pub(crate) struct FinishLine {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: u64,
    /// The furthest position that some thread was allowed to write up to.
    furthest: u64,
    stopping: bool,
}

impl FinishLine {
    /// A stream of `count` events, or one that ends only when it is stopped.
    pub(crate) fn new(count: Option<u64>) -> Self {
        let limit = count.unwrap_or(u64::MAX);
        FinishLine { state: Mutex::new(State { limit, furthest: 0, stopping: false }) }
    }

    /// Allows a thread that is at `from` to write up to `length` events; returns the position to
    /// stop before, or `None` at the end.
    pub(crate) fn claim(&self, from: u64, length: u64) -> Option<u64> {
        let mut state = self.lock();
        let limit = if state.stopping { state.furthest } else { state.limit };
        if from >= limit {
            return None;
        }
        let end = from.saturating_add(length).min(limit);
        state.furthest = state.furthest.max(end);
        Some(end)
    }

    /// Ends the stream at the furthest position that was claimed.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_ends_the_stream() {
        let line = FinishLine::new(Some(10));
        assert_eq!(line.claim(0, 8), Some(8));
        assert_eq!(line.claim(8, 8), Some(10));
        assert_eq!(line.claim(10, 8), None);
    }

    #[test]
    fn a_slow_thread_catches_up_after_a_stop_and_no_one_goes_further() {
        let line = FinishLine::new(None);
        assert_eq!(line.claim(0, 100), Some(100));
        assert_eq!(line.claim(0, 30), Some(30));
        line.stop();
        assert_eq!(line.claim(100, 100), None);
        assert_eq!(line.claim(30, 100), Some(100));
        assert_eq!(line.claim(100, 1), None);
    }
}
