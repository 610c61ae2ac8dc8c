//! The bound that Postgres sets: the same rows by binary COPY from files, in two sessions of psql. Rows
//! that are merged have a bound of their own, see `merge.rs`.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Instant,
};

use crate::{
    Bench,
    common::{Result, TABLE},
    merge,
};

/// The rows in files of binary COPY, deleted in the end.
pub(crate) struct Files {
    /// What each session reads: rows, or a script.
    halves: [PathBuf; 2],
    all: Vec<PathBuf>,
}

/// One round.
pub(crate) struct Copied {
    pub(crate) rows_per_s: f64,
    pub(crate) postgres_cpu_s_per_million: f64,
    /// Of psql and of Postgres.
    pub(crate) cpu_s_per_million: f64,
}

impl Files {
    /// Writes the rows of the table to `folder`.
    pub(crate) fn export(bench: &Bench, folder: &Path) -> Result<Self> {
        if !bench.variant.is_append() {
            let (halves, all) = merge::export(bench, folder)?;
            return Ok(Self { halves, all });
        }
        let halves = [1, 2].map(|half| folder.join(format!("orders-{half}.copy")));
        let files = Self { all: halves.to_vec(), halves };
        let middle = bench.ledger.totals.orders / 2;
        for (file, filter) in files.halves.iter().zip(["<", ">="]) {
            let rows = format!("(SELECT * FROM {TABLE} WHERE order_id {filter} {middle})");
            let sql = format!(r"\copy {rows} TO '{}' (FORMAT binary)", file.display());
            finish(psql(bench, &sql)?)?;
        }
        Ok(files)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for file in &self.all {
            // The next run writes over what stays.
            std::fs::remove_file(file).ok();
        }
    }
}

/// From the start of both sessions to the end of both.
pub(crate) fn measure(bench: &Bench, files: &Files) -> Result<Copied> {
    let cpu_before = bench.servers.postgres.cpu_seconds();
    let own_before = stack::own_cpu_seconds();
    let started = Instant::now();
    let sessions = files.halves.iter().map(|file| {
        if !bench.variant.is_append() {
            return merge::session(bench, file);
        }
        let sql = format!(r"\copy {TABLE} FROM '{}' (FORMAT binary)", file.display());
        psql(bench, &sql)
    });
    let sessions: Vec<Child> = sessions.collect::<Result<_>>()?;
    sessions.into_iter().try_for_each(finish)?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu_seconds = bench.servers.postgres.cpu_seconds() - cpu_before;
    // This process has done nothing but wait for them.
    let psql_cpu_seconds = stack::own_cpu_seconds() - own_before;
    let rows = bench.servers.client.query_one_i64(&format!("SELECT count(*) FROM {TABLE}"))?;
    if rows as u64 != bench.expected_rows() {
        return Err(format!("psql left {rows} rows in the table").into());
    }
    let rows = bench.ledger.produced as f64;
    Ok(Copied {
        rows_per_s: rows / seconds,
        postgres_cpu_s_per_million: cpu_seconds / (rows / 1e6),
        cpu_s_per_million: (cpu_seconds + psql_cpu_seconds) / (rows / 1e6),
    })
}

pub(crate) fn psql(bench: &Bench, sql: &str) -> Result<Child> {
    Command::new("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", &bench.servers.postgres.url(), "-c", sql])
        .spawn()
        .map_err(|error| format!("cannot run psql: {error}; run scripts/setup.sh").into())
}

pub(crate) fn finish(mut session: Child) -> Result<()> {
    let status = session.wait()?;
    if status.success() { Ok(()) } else { Err(format!("psql ended with {status}").into()) }
}
