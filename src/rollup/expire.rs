//! Detailed rows that are old enough, where no partition can be detached: deleted, some at a time.

use deadpool_postgres::Object;

use super::{failed, release::release, sql::Parts};
use crate::{config::Rollup, failpoint::failpoint, sink::postgres::sqlstate::PgError};

/// The table, unless it is partitioned, and the instant before which rows have expired.
const EXPIRY_SQL: &str = "\
    SELECT r.source_table::oid, (now() - $2::text::interval)::text \
    FROM tidegate.rollups r JOIN pg_class c ON c.oid = r.source_table AND c.relkind = 'r' \
    WHERE r.name = $1";

/// What became of expired rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// So many are gone.
    Rows(u64),
    /// This rollup has not finished their buckets.
    Needed(String),
}

/// Deletes the detailed rows that are older than the rollup's `retention`, once they are in the summaries of
/// all rollups of their table.
pub(super) async fn expire(client: &Object, rollup: &Rollup) -> Result<Expired, PgError> {
    let Some(retention) = rollup.retention else { return Ok(Expired::Rows(0)) };
    let retention = format!("{} seconds", retention.as_secs());
    let row = client.query_opt(EXPIRY_SQL, &[&rollup.name, &retention]).await.map_err(failed)?;
    let Some(row) = row else { return Ok(Expired::Rows(0)) };
    let (table, end): (u32, String) = (row.get(0), row.get(1));
    let delete = Parts::new(rollup).delete_before();
    if !has_any(client, rollup, &end).await? {
        return Ok(Expired::Rows(0));
    }
    if let Some(behind) = release(client, table, &rollup.time_column, &end).await? {
        return Ok(Expired::Needed(behind));
    }
    let mut count = 0;
    loop {
        let deleted = client.execute(&delete, &[&end]).await.map_err(failed)?;
        failpoint!("rollup.expired");
        count += deleted;
        if deleted == 0 {
            return Ok(Expired::Rows(count));
        }
    }
}

/// Nothing is let go of, and nobody is held up, where there is nothing to delete.
async fn has_any(client: &Object, rollup: &Rollup, end: &str) -> Result<bool, PgError> {
    let sql = Parts::new(rollup).has_before();
    Ok(client.query_one(&sql, &[&end]).await.map_err(failed)?.get(0))
}
