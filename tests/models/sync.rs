//! Loom's types in the place of `src/sync.rs`.

pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
pub(crate) use std::sync::PoisonError;
