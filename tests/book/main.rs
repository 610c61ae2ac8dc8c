//! README.md and docs/: every command runs, every configuration loads, every link leads somewhere, and
//! every message that is explained exists. Needs what `scripts/setup.sh` installs, and `stack` and
//! `loadgen` built beside `tidegate`, as `make test` does.
//!
//! Blocks are run as they stand, one shell a page, in the order of the page:
//!
//! - `sh` must succeed; `sh background` is a terminal of its own, which gets Ctrl-C at the end of the page;
//!   `sh no-run=REASON` is not run, see [`commands::REASONS`];
//! - `sql` runs in a transaction that is rolled back;
//! - `<!-- sh: COMMAND -->` prepares what a reader has anyway (`running`: a tidegate that runs, with some
//!   orders in the table and some dead letters; `fill`: the same, and it has ended), and `<!-- wait: COMMAND -->` waits until
//!   it succeeds, as a reader would look again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod commands;
mod configurations;
mod links;
mod messages;
mod pages;
mod place;
