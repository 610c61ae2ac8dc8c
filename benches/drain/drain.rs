//! tidegate itself, from the start of its process to the last transaction commit.

use std::{slice, time::Instant};

use checker::Checker;

use crate::{
    Bench,
    common::{Result, TABLE, stop, tidegate},
};

const CONFIG: &str = "drain/tidegate.toml";

/// One drain of the topic.
pub(crate) struct Drained {
    pub(crate) rows_per_s: f64,
    /// From the first rows that could be seen to the last.
    pub(crate) rows_per_s_from_first: f64,
    pub(crate) cpu_s_per_million: f64,
    pub(crate) postgres_cpu_s_per_million: f64,
    pub(crate) peak_rss_mb: f64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
}

/// Drains the topic into the empty table as a new consumer group, and checks the table.
pub(crate) fn measure(bench: &Bench, group: &str) -> Result<Drained> {
    let servers = &bench.servers;
    let postgres_before = servers.postgres.cpu_seconds();
    let started = Instant::now();
    let program = tidegate(servers, CONFIG, &[("KAFKA_GROUP", group)], bench.variant.sets)?;
    let (first, last) = servers.wait(group, all(bench), slice::from_ref(&program))?;
    let cpu_seconds = program.cpu_seconds();
    let postgres_cpu_seconds = servers.postgres.cpu_seconds() - postgres_before;
    let peak_rss_mb = program.peak_memory_bytes()? as f64 / 1e6;
    stop(&program)?;
    let (lost, duplicated) = check(bench, group)?;
    let rows = bench.ledger.produced as f64;
    let seconds_from_first = last.at.duration_since(first.at).as_secs_f64();
    Ok(Drained {
        rows_per_s: rows / last.at.duration_since(started).as_secs_f64(),
        rows_per_s_from_first: (last.durable - first.durable) as f64 / seconds_from_first.max(1e-9),
        cpu_s_per_million: cpu_seconds / (rows / 1e6),
        postgres_cpu_s_per_million: postgres_cpu_seconds / (rows / 1e6),
        peak_rss_mb,
        lost,
        duplicated,
    })
}

/// Drains the topic in another way, which is not measured.
pub(crate) fn run(bench: &Bench, group: &str, sets: &[&str]) -> Result<()> {
    let program = tidegate(&bench.servers, CONFIG, &[("KAFKA_GROUP", group)], sets)?;
    bench.servers.wait(group, all(bench), slice::from_ref(&program))?;
    stop(&program)
}

/// The sum of the offsets at which everything is durable.
fn all(bench: &Bench) -> i64 {
    bench.ledger.partitions.iter().map(|entry| entry.next_offset).sum()
}

/// Rows that are not there, and rows too many.
fn check(bench: &Bench, group: &str) -> Result<(u64, u64)> {
    if !bench.variant.is_append() {
        return check_merged(bench);
    }
    let checker = Checker::new(TABLE).consumer_group(group);
    let proof = checker.check(&bench.servers.client, &[&bench.ledger])?;
    if !proof.is_exact() {
        println!("drain: the table is not what the ledger says:\n{proof}");
        if proof.lost() + proof.duplicated() == 0 {
            return Err("rows are wrong, although none is lost or doubled".into());
        }
    }
    Ok((proof.lost(), proof.duplicated()))
}

/// Each order has one row at most, by its primary key; its amount never changes.
fn check_merged(bench: &Bench) -> Result<(u64, u64)> {
    let totals = &bench.ledger.totals;
    let client = &bench.servers.client;
    let amounts = match bench.variant.deletes > 0.0 {
        true => totals.live_amount_sum,
        false => totals.distinct_amount_sum,
    };
    let expected = bench.expected_rows();
    let rows = client.query_one_i64(&format!("SELECT count(*) FROM {TABLE}"))? as u64;
    let sum = format!("SELECT count(*) FROM {TABLE} HAVING sum(amount) = {amounts}");
    if rows == expected && client.query_text(&sum)?.is_empty() {
        return Err("the rows are not those that the ledger has".into());
    }
    Ok((expected.saturating_sub(rows), rows.saturating_sub(expected)))
}
