//! What no outside can time: a process that dies, freezes, panics or hangs at a named point of the
//! delivery (`src/failpoint.rs`). Run by `make test` with the feature `failpoints`.
//!
//! The points of the crash table in ARCHITECTURE.md, in both modes; zombies at each point where they
//! hold something; the watchdog.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crash;
mod freeze;
mod letters;
mod rollups;
#[path = "../integration/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;
mod tables;
mod watchdog;
