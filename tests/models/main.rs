//! What threads share, in every order in which they can meet.
//!
//! The modules are the service's own, compiled once more with loom's types in the place of the
//! standard library's (`sync.rs` here for `src/sync.rs` there). Loom runs each model again and
//! again until it has seen every interleaving, and every value that the memory model lets a load
//! return. What is around the shared state is modelled: a writer's transaction is one step under a
//! lock, and a deadline is a thread that does not wait.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, unreachable_pub, unused_imports)]

mod database;
mod draining;
mod handover;
mod memories;
mod settling;
mod stopping;
mod sync;

#[path = "../../src/lane.rs"]
mod lane;
#[path = "../../src/mailbox.rs"]
mod mailbox;
#[path = "../../src/memory.rs"]
mod memory;
#[path = "../../src/shutdown.rs"]
mod shutdown;
#[path = "../../src/stop.rs"]
mod stop;

use tidegate::{batch, error, sink};

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Instant,
};

type Model = (&'static str, fn());

const MODELS: [Model; 11] = [
    ("what is told to be durable is in the sink", settling::durable_is_in_the_sink),
    ("the least of two lanes is durable in both", settling::least_of_two_lanes),
    ("counts balance in every snapshot", settling::counts_balance),
    ("a lane that is closed stays closed", settling::closed_stays_closed),
    ("two owners write every record once", handover::exactly_once),
    ("two owners lose no record at least once", handover::at_least_once),
    ("what was drained is committed", draining::drained_is_committed),
    ("nobody sleeps through an order to stop", stopping::nobody_sleeps_through),
    ("a failure is there once it is seen", stopping::failure_is_seen_whole),
    ("an order that is seen has a deadline", stopping::order_is_seen_whole),
    ("lanes that come and go leave the budget as it was", memories::budget_is_as_it_was),
];

/// How often a model has run.
static RUNS: AtomicUsize = AtomicUsize::new(0);

/// Runs `body` once for each interleaving of its threads.
fn explore(body: impl Fn() + Sync + Send + 'static) {
    loom::model::Builder::new().check(move || {
        RUNS.fetch_add(1, Relaxed);
        body();
    });
}

fn main() -> ExitCode {
    // As with every test: a word on the command line chooses, and flags are for the usual harness.
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let is_chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let mut failed = 0;
    for (name, model) in MODELS.into_iter().filter(|(name, _)| is_chosen(name)) {
        RUNS.store(0, Relaxed);
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(model));
        let (runs, took) = (RUNS.load(Relaxed), started.elapsed().as_secs_f64());
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!("model: {name}: {verdict}, interleavings={runs} seconds={took:.1}");
        failed += usize::from(result.is_err());
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
