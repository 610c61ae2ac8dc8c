//! What writers tell a partition thread.
//!
//! A channel whose receiver sleeps at once. Crossbeam's gives its turn away some ten times before it
//! sleeps: with hundreds of partition threads that wait for their batches, the kernel does little but
//! switch between them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::sync::{Condvar, Mutex, PoisonError};

/// The side of the writers.
#[derive(Debug)]
pub struct Sender<T>(Arc<Mailbox<T>>);

/// The side of the partition thread.
#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Mailbox<T>>);

/// Holds one message a lane at most: a lane has one batch on its way.
#[derive(Debug)]
struct Mailbox<T> {
    messages: Mutex<VecDeque<T>>,
    came: Condvar,
}

/// An empty one.
pub(crate) fn mailbox<T>() -> (Sender<T>, Receiver<T>) {
    let mailbox = Arc::new(Mailbox { messages: Mutex::default(), came: Condvar::new() });
    (Sender(Arc::clone(&mailbox)), Receiver(mailbox))
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Sender<T> {
    /// Never waits.
    pub(crate) fn send(&self, message: T) {
        let mut messages = self.0.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.push_back(message);
        self.0.came.notify_one();
    }
}

impl<T> Receiver<T> {
    /// What has come, without waiting.
    pub(crate) fn try_recv(&self) -> Option<T> {
        self.0.messages.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Waits for a message for about so long; less where the system wakes the thread for nothing.
    pub(crate) fn recv_timeout(&self, timeout: Duration) -> Option<T> {
        let mut messages = self.0.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.is_empty() {
            let waited = self.0.came.wait_timeout(messages, timeout);
            (messages, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        messages.pop_front()
    }
}
