//! Rollups: summaries of a table by time, kept in a batch table and merged with the detailed rows by a
//! view that equals the plain aggregate over all rows at every instant.
//!
//! Each rollup has three instants. Buckets below the *boundary* are served from the batch table, unless
//! they are logged as *touched*. Whoever changes a row of a bucket below *closing* logs that bucket, in
//! the same transaction: ingest by itself (`sink/postgres/touched.rs`), all others by triggers. Rows
//! before *details_from* may be gone.
//!
//! Why the view is right: let a snapshot R see the boundary above a bucket b that is not touched. The
//! batch rows of b were computed in a snapshot S. A transaction that changed b, and is in R but not in
//! S, took the table's lock (shared) after `closing` was moved above b (under the same lock,
//! exclusively): else it was waited for, and S sees it. So it read a `closing` above b, and logged b.
//! R sees this log row: it could only be removed by a refresh that saw it. A contradiction.

mod create;
mod expire;
mod hand;
mod refresh;
mod release;
mod restore;
mod sql;
mod status;

pub(crate) use create::{create, plan, remove};
pub(crate) use expire::Expired;
pub(crate) use hand::{advance, close, recompute};
pub(crate) use refresh::{Progress, Refreshed, refresh};
pub(crate) use release::release;
pub(crate) use restore::restore;
pub(crate) use sql::{LATE_LOCK, LATE_TABLE, TABLE_LOCK};
pub(crate) use status::{Standing, read_all};

use deadpool_postgres::Object;

use crate::{config::Rollup, error::Error, sink::postgres::sqlstate::PgError};

const EXISTS_SQL: &str = "SELECT to_regclass('tidegate.rollups') IS NOT NULL";
const DEFINITION_SQL: &str = "SELECT definition FROM tidegate.rollups WHERE name = $1";

/// What the database has under a rollup's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Missing,
    /// As the configuration has it.
    Same,
    Other,
}

/// Whether the database has any place for rollups: tidegate makes it at its first start there.
async fn has_bookkeeping(client: &Object) -> Result<bool, PgError> {
    Ok(client.query_one(EXISTS_SQL, &[]).await.map_err(failed)?.get(0))
}

async fn presence(client: &Object, rollup: &Rollup) -> Result<Presence, PgError> {
    if !has_bookkeeping(client).await? {
        return Ok(Presence::Missing);
    }
    let definition = sql::Parts::new(rollup).definition();
    let row = client.query_opt(DEFINITION_SQL, &[&rollup.name]).await.map_err(failed)?;
    Ok(match row {
        None => Presence::Missing,
        Some(row) if row.get::<_, &str>(0) == definition => Presence::Same,
        Some(_) => Presence::Other,
    })
}

fn missing(rollup: &Rollup) -> Error {
    let name = &rollup.name;
    Error::config(format!("there is no rollup {name} yet; run tidegate rollup create {name}"))
}

fn differs(rollup: &Rollup) -> Error {
    let name = &rollup.name;
    Error::config(format!(
        "rollup {name} was made with another definition than the configuration's; run tidegate rollup \
         drop --force {name} and tidegate rollup create {name}, or take the change back"
    ))
}

/// Refuses one that is not there as it should be.
async fn expect_same(client: &Object, rollup: &Rollup) -> Result<Result<(), Error>, PgError> {
    Ok(match presence(client, rollup).await? {
        Presence::Same => Ok(()),
        Presence::Missing => Err(missing(rollup)),
        Presence::Other => Err(differs(rollup)),
    })
}

fn failed(error: tokio_postgres::Error) -> PgError {
    PgError::from_driver(&error)
}
