//! What is done to a rollup by hand: buckets that are to be made anew, and a boundary that another
//! engine has earned.
//!
//! An engine that fills the batch table itself goes three steps. `close` makes everybody log what changes
//! from then on. Then it reads whatever was there by then, and writes its buckets. `advance` lets the view
//! show them; what was logged since is still read from the detailed rows.

use deadpool_postgres::Object;

use super::{
    expect_same, failed,
    refresh::{self, try_lock, unlock},
    sql::Parts,
};
use crate::{
    config::Rollup,
    error::{Error, ErrorKind},
    sink::postgres::sqlstate::PgError,
};

const INSTANTS_SQL: &str =
    "SELECT boundary::text, closing::text FROM tidegate.rollups WHERE name = $1";

/// The boundary moves to the beginning of the bucket that holds the time.
const ADVANCE_SQL: &str = "\
    UPDATE tidegate.rollups SET refreshed_at = clock_timestamp(), \
        boundary = date_trunc(bucket, $2::text::timestamptz, time_zone) \
    WHERE name = $1 AND date_trunc(bucket, $2::text::timestamptz, time_zone) BETWEEN boundary AND closing \
    RETURNING boundary::text";

/// From here on every change of a bucket that ends before `until` is logged; gives `closing`.
pub(crate) async fn close(
    client: &mut Object,
    rollup: &Rollup,
    until: &str,
) -> Result<Result<String, Error>, PgError> {
    if let Err(error) = enter(client, rollup).await? {
        return Ok(Err(error));
    }
    refresh::close(client, rollup, Some(until)).await?;
    let row = client.query_one(INSTANTS_SQL, &[&rollup.name]).await.map_err(failed)?;
    unlock(client, rollup).await?;
    Ok(Ok(row.get(1)))
}

/// Moves the boundary to `until`, for a batch table that is filled up to there; gives the boundary.
pub(crate) async fn advance(
    client: &mut Object,
    rollup: &Rollup,
    until: &str,
) -> Result<Result<String, Error>, PgError> {
    if let Err(error) = enter(client, rollup).await? {
        return Ok(Err(error));
    }
    let name = &rollup.name;
    let moved = client.query_opt(ADVANCE_SQL, &[name, &until]).await.map_err(failed)?;
    let row = client.query_one(INSTANTS_SQL, &[name]).await.map_err(failed)?;
    unlock(client, rollup).await?;
    let (boundary, closing): (String, String) = (row.get(0), row.get(1));
    Ok(match moved {
        Some(row) => Ok(row.get(0)),
        None => Err(Error::config(format!(
            "rollup {name}: its boundary can move from {boundary} to {closing}, where it is closed, and \
             not to {until}; run tidegate rollup close {name} --to TIME before the batch table is filled"
        ))),
    })
}

/// Logs the buckets from `first` up to `end` as touched: the view reads them from the detailed rows, and
/// the next refresh makes them anew. Gives how many.
pub(crate) async fn recompute(
    client: &mut Object,
    rollup: &Rollup,
    first: &str,
    end: &str,
) -> Result<Result<u64, Error>, PgError> {
    if let Err(error) = expect_same(client, rollup).await? {
        return Ok(Err(error));
    }
    let sql = Parts::new(rollup).log_range();
    let logged = client.execute(&sql, &[&rollup.name, &first, &end]).await;
    logged.map(Ok).map_err(failed)
}

pub(super) async fn enter(client: &Object, rollup: &Rollup) -> Result<Result<(), Error>, PgError> {
    if let Err(error) = expect_same(client, rollup).await? {
        return Ok(Err(error));
    }
    if try_lock(client, rollup).await? {
        return Ok(Ok(()));
    }
    let message =
        format!("rollup {} is being refreshed by another process; try again", rollup.name);
    Ok(Err(Error::new(ErrorKind::Temporary, message)))
}
