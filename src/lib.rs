//! Tidegate: Kafka into Postgres, fast and exactly once.
//!
//! # The path of one record
//!
//! 1. [`source::kafka`]: a thread for each assigned partition polls that partition's own queue.
//! 2. [`format`]: the record is decoded, once, into the [`row`] of fields that the targets ask for.
//! 3. [`sink::Encoder`]: each target's encoder appends the row to the open [`batch`] of its
//!    [`lane`], as it will go over the wire. A record that does not fit becomes a dead letter of the
//!    same batch.
//! 4. A full or aged batch goes through a bounded channel to the sink's writers.
//! 5. A writer gathers batches for one table and makes them durable in one transaction:
//!    COPY, dead letters, checkpoint, COMMIT ([`sink::postgres`]).
//! 6. The lane's [`frontier`] moves, and the source's poller commits it to Kafka.
//!
//! # As a library
//!
//! [`Engine`] runs a [`Config`](config::Config); [`Engine::with_sink`] gives it a sink of your own.

pub mod admin;
pub mod batch;
pub mod breaker;
pub mod cli;
pub mod config;
mod dead_letter;
pub mod detect;
mod digest;
pub mod engine;
pub mod error;
mod failpoint;
mod figure;
pub mod filter;
pub mod format;
pub mod frontier;
pub mod headers;
pub mod incidents;
mod intake;
pub mod lag;
pub mod lane;
mod lane_feed;
pub mod latency;
mod mailbox;
pub mod memory;
pub mod metrics;
pub mod observation;
mod observer;
mod original;
mod pace;
mod page;
mod partition;
pub mod record;
pub mod registry;
pub mod rejection;
mod report;
mod rollup;
pub mod route;
pub mod row;
pub mod selector;
pub mod shape;
pub mod shutdown;
pub mod sink;
mod snapshot;
pub mod source;
mod spans;
mod spares;
pub mod stage;
mod state_line;
pub mod status;
mod stop;
mod sync;
mod topics;
pub mod verdict;
pub mod watchdog;
mod writer;

pub use engine::Engine;
