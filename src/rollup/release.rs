//! Lets go of detailed rows: from then on their buckets are in the batch table alone.

use deadpool_postgres::Object;

use super::{failed, has_bookkeeping, sql::TABLE_LOCK};
use crate::sink::postgres::sqlstate::PgError;

/// Whoever waits for the lock holds up those behind him.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '500ms'";
const LOCK_SQL: &str = "SELECT pg_advisory_xact_lock($1, $2::oid::int4)";

/// The first rollup that is not as far: one that goes by another column, has not finished the buckets of
/// these rows, or has to make one of them anew. A bucket lies within its length, and a day, of its rows.
const BEHIND_SQL: &str = "\
    SELECT r.name FROM tidegate.rollups r CROSS JOIN LATERAL (SELECT date_trunc(r.bucket, \
        $3::text::timestamptz + ('1 ' || r.bucket)::interval + interval '24 hours', r.time_zone) AS since) s \
    WHERE r.source_table = $1 AND (r.time_column <> $2 OR s.since > r.boundary \
        OR EXISTS (SELECT FROM tidegate.rollup_touched t WHERE t.rollup = r.name \
            AND t.bucket >= r.details_from AND t.bucket < s.since)) \
    ORDER BY r.name LIMIT 1";

const KNOWN_SQL: &str = "SELECT EXISTS (SELECT FROM tidegate.rollups WHERE source_table = $1)";
const RELEASE_SQL: &str = "\
    UPDATE tidegate.rollups r SET details_from = greatest(details_from, date_trunc(r.bucket, \
        $2::text::timestamptz + ('1 ' || r.bucket)::interval + interval '24 hours', r.time_zone)) \
    WHERE r.source_table = $1";

/// Whether the rows of a table that are before `end` by this column may go, for all of its rollups; from
/// then on they do not count on them. Gives the name of one that still does.
pub(crate) async fn release(
    client: &Object,
    table: u32,
    column: &str,
    end: &str,
) -> Result<Option<String>, PgError> {
    if !has_bookkeeping(client).await? {
        return Ok(None);
    }
    client.batch_execute(BEGIN).await.map_err(failed)?;
    client.query(LOCK_SQL, &[&TABLE_LOCK, &table]).await.map_err(failed)?;
    let behind = client.query_opt(BEHIND_SQL, &[&table, &column, &end]).await.map_err(failed)?;
    if let Some(behind) = behind {
        client.batch_execute("ROLLBACK").await.map_err(failed)?;
        return Ok(Some(behind.get(0)));
    }
    // A role that refreshes nothing need not have the right to change anything.
    if client.query_one(KNOWN_SQL, &[&table]).await.map_err(failed)?.get(0) {
        client.execute(RELEASE_SQL, &[&table, &end]).await.map_err(failed)?;
    }
    client.batch_execute("COMMIT").await.map_err(failed)?;
    Ok(None)
}
