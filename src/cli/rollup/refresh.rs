//! `tidegate rollup run`: a refresh that tells how far it is.

use std::time::{Duration, Instant};

use super::{Database, RunArgs};
use crate::{
    cli::say,
    config::Rollup,
    error::{Error, ErrorKind},
    rollup::{self, Expired, Progress, Refreshed},
    sink::postgres::{PostgresSink, catalog::Table},
};

/// How often a long refresh says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(1);

pub(super) fn run(arguments: &RunArgs) -> Result<(), Error> {
    let (config, rollups) = arguments.which.open()?;
    for rollup in &rollups {
        let Database { sink, _runtime } = &Database::open(&config, &rollup.sink)?;
        refresh_one(sink, rollup, arguments.to.as_deref())?;
    }
    Ok(())
}

fn refresh_one(sink: &PostgresSink, rollup: &Rollup, until: Option<&str>) -> Result<(), Error> {
    let name = &rollup.name;
    let mut said = Instant::now();
    let mut tell = |progress: Progress<'_>| {
        if said.elapsed() < SAY_EVERY {
            return;
        }
        said = Instant::now();
        // Nobody may read it any more; the work goes on.
        drop(say(&match progress {
            Progress::Touched(count) => {
                format!("rollup {name}: {count} touched buckets made anew so far\n")
            }
            Progress::Boundary { boundary, closing } => {
                format!("rollup {name}: finished up to {boundary}, on the way to {closing}\n")
            }
        }));
    };
    let refreshed =
        sink.work(async |client| rollup::refresh(client, rollup, until, &mut tell).await)?;
    match refreshed {
        Refreshed::Done { boundary, touched, expired, .. } => {
            let text = format!("finished up to {boundary}; {touched} touched buckets made anew");
            say(&format!("rollup {name}: {text}{}\n", shown(&expired)))
        }
        Refreshed::Busy => Err(Error::new(
            ErrorKind::Temporary,
            format!("rollup {name} is being refreshed by another process"),
        )),
    }
}

/// Refreshes the rollups of a table, of which nothing is finished any more. One that cannot be is none the
/// worse for it.
pub(in crate::cli) fn refresh_all_of(
    sink: &PostgresSink,
    rollups: &[Rollup],
    table: &Table,
) -> Result<(), Error> {
    let made = sink.work(async |client| Ok(Ok(rollup::read_all(client).await?)))?;
    for rollup in rollups.iter().filter(|rollup| made.iter().any(|m| m.name == rollup.name)) {
        let known = sink.table(&rollup.table)?;
        let is_it = |known: Table| known.schema == table.schema && known.name == table.name;
        if !known.is_some_and(is_it) {
            continue;
        }
        if let Err(error) = refresh_one(sink, rollup, None) {
            let name = &rollup.name;
            tracing::warn!("{error}; tidegate rollup run {name} finishes its buckets again");
        }
    }
    Ok(())
}

fn shown(expired: &Expired) -> String {
    match expired {
        Expired::Rows(0) => String::new(),
        Expired::Rows(count) => format!("; {count} detailed rows have expired and are deleted"),
        Expired::Needed(other) => {
            format!("; expired detailed rows stay, as rollup {other} needs them")
        }
    }
}
