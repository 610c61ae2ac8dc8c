//! The whole service against real Kafka and real Postgres: every promise, and every fault that it
//! is promised to survive. Needs what `scripts/setup.sh` installs.
//!
//! One Kafka and one Postgres serve all tests; each test has a topic, a group and a database of its
//! own. What a test counts, it counts by SQL, against the ledger of what was produced.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod brokers;
mod check;
mod claims;
mod cli;
mod conformance;
mod dashboards;
mod dead_letter_topic;
mod delivery;
mod dlq;
mod fanout;
mod faults;
mod files;
mod formats;
mod gaps;
mod growth;
mod ingest;
mod lag;
mod lag_command;
mod load;
mod load_limit;
mod mapping;
mod membership;
mod merge_models;
mod merges;
mod outages;
mod page;
mod partitions;
mod positions;
mod readback;
mod rebalance;
mod rejections;
mod replay;
mod rollup_models;
mod rollups;
mod secured;
mod spans;
mod staged;
mod support;
mod tables;
mod top;
mod trace;
mod verdicts;
