//! The bound that Postgres sets: the same rows by binary COPY from files, in two sessions of psql.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Instant,
};

use crate::{Bench, Result, TABLE};

/// The rows in two files of binary COPY, deleted in the end.
pub(crate) struct Files {
    halves: [PathBuf; 2],
}

/// One round.
pub(crate) struct Copied {
    pub(crate) rows_per_s: f64,
    pub(crate) postgres_cpu_s_per_million: f64,
}

impl Files {
    /// Writes the rows of the table to `folder`.
    pub(crate) fn export(bench: &Bench, folder: &Path) -> Result<Self> {
        let files = Self { halves: [1, 2].map(|half| folder.join(format!("orders-{half}.copy"))) };
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
        for file in &self.halves {
            // The next run writes over what stays.
            std::fs::remove_file(file).ok();
        }
    }
}

/// From the start of both sessions to the end of both.
pub(crate) fn measure(bench: &Bench, files: &Files) -> Result<Copied> {
    let cpu_before = bench.postgres.cpu_seconds();
    let started = Instant::now();
    let sessions = files.halves.iter().map(|file| {
        let sql = format!(r"\copy {TABLE} FROM '{}' (FORMAT binary)", file.display());
        psql(bench, &sql)
    });
    let sessions: Vec<Child> = sessions.collect::<Result<_>>()?;
    sessions.into_iter().try_for_each(finish)?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu_seconds = bench.postgres.cpu_seconds() - cpu_before;
    let rows = bench.client.query_one_i64(&format!("SELECT count(*) FROM {TABLE}"))?;
    if rows as u64 != bench.ledger.totals.orders {
        return Err(format!("COPY from files left {rows} rows in the table").into());
    }
    let rows = rows as f64;
    let postgres_cpu_s_per_million = cpu_seconds / (rows / 1e6);
    Ok(Copied { rows_per_s: rows / seconds, postgres_cpu_s_per_million })
}

fn psql(bench: &Bench, sql: &str) -> Result<Child> {
    Command::new("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", &bench.postgres.url(), "-c", sql])
        .spawn()
        .map_err(|error| format!("cannot run psql: {error}; run scripts/setup.sh").into())
}

fn finish(mut session: Child) -> Result<()> {
    let status = session.wait()?;
    if status.success() { Ok(()) } else { Err(format!("psql ended with {status}").into()) }
}
