//! tidegate itself, from the start of its process to the last transaction commit.

use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use checker::Checker;
use stack::Program;

use crate::{Bench, Result, TABLE};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/drain/tidegate.toml");
const TURN: Duration = Duration::from_millis(10);
const STALL_MAX: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);

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
    let postgres_before = bench.postgres.cpu_seconds();
    let started = Instant::now();
    let program = Program::start("tidegate", command(bench, group, bench.variant.sets)?)?;
    let (first, last) = wait(bench, group, &program)?;
    let cpu_seconds = program.cpu_seconds();
    let postgres_cpu_seconds = bench.postgres.cpu_seconds() - postgres_before;
    let peak_rss_mb = program.peak_memory_bytes()? as f64 / 1e6;
    let status = program.terminate(STOP_LIMIT)?;
    if !status.success() {
        return Err(format!("tidegate ended with {status}:\n{}", program.log_tail()).into());
    }
    let (lost, duplicated) = check(bench, group)?;
    let rows = bench.ledger.produced as f64;
    let seconds_from_first = last.at.duration_since(first.at).as_secs_f64();
    Ok(Drained {
        rows_per_s: rows / last.at.duration_since(started).as_secs_f64(),
        rows_per_s_from_first: (last.written - first.written) as f64 / seconds_from_first.max(1e-9),
        cpu_s_per_million: cpu_seconds / (rows / 1e6),
        postgres_cpu_s_per_million: postgres_cpu_seconds / (rows / 1e6),
        peak_rss_mb,
        lost,
        duplicated,
    })
}

/// Drains the topic in another way, which is not measured.
pub(crate) fn run(bench: &Bench, group: &str, sets: &[&str]) -> Result<()> {
    let program = Program::start("tidegate", command(bench, group, sets)?)?;
    wait(bench, group, &program)?;
    let status = program.terminate(STOP_LIMIT)?;
    if status.success() { Ok(()) } else { Err(format!("tidegate ended with {status}").into()) }
}

/// Rows that are not there, and rows too many.
fn check(bench: &Bench, group: &str) -> Result<(u64, u64)> {
    if !bench.variant.is_append() {
        return check_merged(bench);
    }
    let checker = Checker::new(TABLE).consumer_group(group);
    let proof = checker.check(&bench.client, &[&bench.ledger])?;
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
    let amounts = match bench.variant.deletes > 0.0 {
        true => totals.live_amount_sum,
        false => totals.distinct_amount_sum,
    };
    let expected = bench.expected_rows();
    let rows = bench.client.query_one_i64(&format!("SELECT count(*) FROM {TABLE}"))? as u64;
    let sum = format!("SELECT count(*) FROM {TABLE} HAVING sum(amount) = {amounts}");
    if rows == expected && bench.client.query_text(&sum)?.is_empty() {
        return Err("the rows are not those that the ledger has".into());
    }
    Ok((expected.saturating_sub(rows), rows.saturating_sub(expected)))
}

fn command(bench: &Bench, group: &str, sets: &[&str]) -> Result<Command> {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_tidegate")));
    command
        .args(["run", "--config", CONFIG])
        .args(["--set", &format!("admin.listen=127.0.0.1:{}", stack::free_port()?)])
        .args(sets.iter().flat_map(|set| ["--set", *set]))
        .env("KAFKA_BROKERS", bench.kafka.bootstrap_servers())
        .env("KAFKA_GROUP", group)
        .env("DATABASE_URL", bench.postgres.url());
    Ok(command)
}

/// A moment at which so many rows could be seen.
#[derive(Clone, Copy)]
struct Sight {
    at: Instant,
    written: i64,
}

/// Waits until every record is durable; gives the first sight of any row, and of all.
fn wait(bench: &Bench, group: &str, program: &Program) -> Result<(Sight, Sight)> {
    let all: i64 = bench.ledger.partitions.iter().map(|entry| entry.next_offset).sum();
    let mut first = None;
    let mut last = Sight { at: Instant::now(), written: 0 };
    loop {
        if let Some(status) = program.exit_status() {
            return Err(format!("tidegate ended with {status}:\n{}", program.log_tail()).into());
        }
        let written = written(bench, group)?;
        if written > last.written {
            last = Sight { at: Instant::now(), written };
            first.get_or_insert(last);
        } else if last.at.elapsed() > STALL_MAX {
            let log_tail = program.log_tail();
            return Err(format!("no row for 60 s after {written}:\n{log_tail}").into());
        }
        if let Some(first) = first.filter(|_| written >= all) {
            return Ok((first, last));
        }
        thread::sleep(TURN);
    }
}

/// The checkpoints move in the transactions of the rows, and cost nothing to read; counters such
/// as pg_stat_all_tables come up to a second late.
fn written(bench: &Bench, group: &str) -> Result<i64> {
    let exists = "SELECT count(to_regclass('tidegate.checkpoints'))";
    if bench.client.query_one_i64(exists)? == 0 {
        return Ok(0);
    }
    let sum = format!(
        "SELECT coalesce(sum(next_offset), 0)::bigint FROM tidegate.checkpoints \
         WHERE consumer_group = '{group}'"
    );
    Ok(bench.client.query_one_i64(&sum)?)
}
