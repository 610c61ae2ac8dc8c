//! One drain of the topic by one of them, seen from outside in the same way for all.

use std::{
    thread,
    time::{Duration, Instant},
};

use stack::Program;

use crate::{
    common::Result,
    peer::Peer,
    report::Run,
    servers::{Filled, Proof},
};

const TURN: Duration = Duration::from_millis(10);
/// When the table has not grown for so long, its rows are counted.
const QUIET: Duration = Duration::from_millis(500);
/// When it has not for so long, nothing more comes.
const STALL_MAX: Duration = Duration::from_secs(60);

/// Starts it on an empty table as a new consumer group, and checks the table in the end.
pub(crate) fn measure(filled: &Filled, peer: &Peer, round: u64, number: usize) -> Result<Run> {
    filled.servers.create_table("")?;
    let command = peer.command(&filled.servers, &format!("peers-{}-{number}", peer.name))?;
    let postgres_before = filled.servers.postgres.cpu_seconds();
    let started = Instant::now();
    let program = Program::start(peer.name, command)?;
    let watched = watch(filled, &program, peer.limit)?;
    let cpu_seconds = program.cpu_seconds();
    let postgres_cpu_seconds = watched.postgres_cpu_seconds - postgres_before;
    let peak_rss_mb = program.peak_memory_bytes()? as f64 / 1e6;
    program.kill()?;

    let proof = filled.prove()?;
    let lost = lost(filled, peer, &watched, &proof)?;
    let rows = proof.rows as f64;
    Ok(Run {
        name: peer.name,
        round,
        rows: proof.rows,
        rows_per_s: watched.rows_per_s(rows, started),
        rows_per_s_with_start: rows / watched.last.at.duration_since(started).as_secs_f64(),
        cpu_s_per_million_rows: cpu_seconds / (rows / 1e6),
        postgres_cpu_s_per_million_rows: postgres_cpu_seconds / (rows / 1e6),
        peak_rss_mb,
        stopped: watched.is_stopped,
        lost,
        duplicated: proof.duplicated,
        fingerprint: proof.fingerprint,
    })
}

/// Rows that should be there and are not; nobody knows how many of one that was stopped.
fn lost(filled: &Filled, peer: &Peer, watched: &Watched, proof: &Proof) -> Result<u64> {
    if watched.is_stopped {
        return Ok(0);
    }
    let lost = filled.expected_rows().saturating_sub(proof.rows - proof.duplicated);
    if lost == 0 && proof.duplicated == 0 && !proof.is_sum_right {
        return Err(format!("{}: the amounts are not those that the ledger has", peer.name).into());
    }
    Ok(lost)
}

/// A moment at which the table was so large.
#[derive(Clone, Copy)]
struct Sight {
    at: Instant,
    bytes: u64,
}

struct Watched {
    first: Sight,
    last: Sight,
    /// Before any count of the rows.
    postgres_cpu_seconds: f64,
    is_stopped: bool,
}

impl Watched {
    fn rows_per_s(&self, rows: f64, started: Instant) -> f64 {
        let seconds = self.last.at.duration_since(self.first.at).as_secs_f64();
        if seconds == 0.0 {
            // All rows were seen at once.
            return rows / self.last.at.duration_since(started).as_secs_f64();
        }
        rows * (1.0 - self.first.bytes as f64 / self.last.bytes as f64) / seconds
    }
}

/// Watches the table until all rows are there, nothing more comes, or the limit is over.
fn watch(filled: &Filled, program: &Program, limit: Duration) -> Result<Watched> {
    let started = Instant::now();
    let mut sights: Option<(Sight, Sight)> = None;
    let mut quiet_since = started;
    loop {
        if let Some(status) = program.exit_status() {
            return Err(format!("it ended with {status}:\n{}", program.log_tail()).into());
        }
        let sight = Sight { bytes: filled.table_bytes()?, at: Instant::now() };
        let (first, last) = match sights {
            None if sight.bytes == 0 && started.elapsed() < STALL_MAX => {
                thread::sleep(TURN);
                continue;
            }
            None if sight.bytes == 0 => {
                return Err(format!("no row within 60 s:\n{}", program.log_tail()).into());
            }
            None => (sight, sight),
            Some((first, last)) if sight.bytes == last.bytes => (first, last),
            Some((first, _)) => (first, sight),
        };
        sights = Some((first, last));
        if last.at == sight.at {
            quiet_since = sight.at;
        } else if quiet_since.elapsed() > QUIET {
            let postgres_cpu_seconds = filled.servers.postgres.cpu_seconds();
            let is_complete = filled.rows()? >= filled.expected_rows();
            if is_complete || last.at.elapsed() > STALL_MAX {
                return Ok(Watched { first, last, postgres_cpu_seconds, is_stopped: false });
            }
            quiet_since = Instant::now();
        }
        if first.at.elapsed() > limit {
            let last = Sight { at: sight.at, ..last };
            let postgres_cpu_seconds = filled.servers.postgres.cpu_seconds();
            return Ok(Watched { first, last, postgres_cpu_seconds, is_stopped: true });
        }
        thread::sleep(TURN);
    }
}
