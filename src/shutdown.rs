//! How everything learns that it is time to stop, and why.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    error::Error,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Acquire, Ordering::Release},
    },
};

/// Shared by all threads of an engine: a stop that was asked for, or the failure that forces one.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<State>);

#[derive(Debug, Default)]
struct State {
    requested: AtomicBool,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
    changed: Condvar,
}

impl Shutdown {
    /// Asks for a graceful end: drain, commit, leave.
    pub fn request(&self) {
        let _guard = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.requested.store(true, Release);
        self.0.changed.notify_all();
    }

    /// Whether an end was asked for, or forced.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Acquire)
    }

    /// Forces the end: stop without committing. The first failure is the one that is reported.
    pub fn fail(&self, error: Error) {
        let mut failure = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            tracing::error!("{error}");
            *failure = Some(error);
        }
        self.0.failed.store(true, Release);
        self.0.requested.store(true, Release);
        self.0.changed.notify_all();
    }

    /// Whether the end was forced by a failure.
    pub fn has_failed(&self) -> bool {
        self.0.failed.load(Acquire)
    }

    /// The failure, if there was one.
    pub fn failure(&self) -> Option<Error> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sleeps until the end is asked for, at most `duration`; says whether it was.
    pub fn sleep(&self, duration: Duration) -> bool {
        let deadline = Instant::now() + duration;
        let mut guard = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_requested() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (guard, _) =
                self.0.changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.is_requested()
    }
}
