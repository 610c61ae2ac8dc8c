//! Loom's types in the place of `src/sync.rs`, and a channel of its parts.

pub(crate) use loom::sync::{Condvar, Mutex, atomic};
pub(crate) use std::sync::PoisonError;

use std::{collections::VecDeque, sync::Arc};

/// A bounded channel that loom sees through: crossbeam's own would hide what it orders.
#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Channel<T>>);

#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Channel<T>>);

#[derive(Debug)]
struct Channel<T> {
    waiting: Mutex<VecDeque<T>>,
    capacity: usize,
    came: Condvar,
}

pub(crate) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let waiting = Mutex::new(VecDeque::new());
    let channel = Arc::new(Channel { waiting, capacity, came: Condvar::new() });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Sender<T> {
    /// No model may find the channel full: a lane has at most one batch on its way.
    pub(crate) fn try_send(&self, value: T) -> Result<(), T> {
        let mut waiting = self.0.waiting.lock().unwrap();
        assert!(waiting.len() < self.0.capacity, "the channel is full");
        waiting.push_back(value);
        self.0.came.notify_one();
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// Waits for ever: a message that never comes is a deadlock, which loom reports.
    pub(crate) fn recv(&self) -> T {
        let mut waiting = self.0.waiting.lock().unwrap();
        loop {
            match waiting.pop_front() {
                Some(value) => return value,
                None => waiting = self.0.came.wait(waiting).unwrap(),
            }
        }
    }
}
