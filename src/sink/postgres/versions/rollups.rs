//! The rollups of a table that is replaced: from then on they sum up the table that comes.
//!
//! What they have finished was made of the table that goes. So nothing is finished any more: the view
//! reads all buckets from the new table until a refresh has made them anew, which also removes what the
//! batch table had of them. Whoever is refreshing meanwhile has changed the rollup's row, or removed a
//! touched bucket, in a snapshot from before, and fails.

use deadpool_postgres::Transaction;

use super::failed;
use crate::{rollup::TABLE_LOCK, sink::postgres::sqlstate::PgError};

const HAND_OVER_SQL: &str = "\
    UPDATE tidegate.rollups SET source_table = $2::oid, boundary = '-infinity', closing = '-infinity' \
    WHERE source_table = $1 RETURNING name";
const FORGET_SQL: &str = "DELETE FROM tidegate.rollup_touched WHERE rollup = ANY($1)";

/// From here on nobody finishes buckets of the live table, or lets go of its rows.
pub(super) async fn hold(transaction: &Transaction<'_>, live: &str) -> Result<(), PgError> {
    let sql = "SELECT pg_advisory_xact_lock($1, to_regclass($2)::oid::int4)";
    transaction.query(sql, &[&TABLE_LOCK, &live]).await.map(drop).map_err(failed)
}

pub(super) async fn hand_over(
    transaction: &Transaction<'_>,
    [old, new]: [u32; 2],
) -> Result<(), PgError> {
    let rows = transaction.query(HAND_OVER_SQL, &[&old, &new]).await.map_err(failed)?;
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    if names.is_empty() {
        return Ok(());
    }
    transaction.execute(FORGET_SQL, &[&names]).await.map_err(failed)?;
    tracing::info!(
        "the views of {} read the detailed rows until their next refresh",
        names.join(", ")
    );
    Ok(())
}
