//! What threads share, under one name: `tests/models` compiles the modules that use it once more,
//! with loom's types in this place, and runs them through every order in which threads can meet.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic};
