//! What there is to know of the rollups of a database.

use deadpool_postgres::Object;

use super::{failed, has_bookkeeping};
use crate::sink::postgres::sqlstate::PgError;

/// In one statement, so that all of it is of one moment.
const STATUS_SQL: &str = "\
    SELECT name, source_table::text, batch_table::text, view::text, bucket, time_zone, \
        boundary::text, closing::text, details_from::text, refreshed_at::text, \
        (SELECT count(DISTINCT t.bucket) FROM tidegate.rollup_touched t \
            WHERE t.rollup = r.name AND t.bucket < r.boundary AND t.bucket >= r.details_from), \
        CASE WHEN isfinite(boundary) THEN extract(epoch FROM now() - boundary)::bigint END, \
        CASE WHEN isfinite(boundary) THEN extract(epoch FROM boundary)::bigint END \
    FROM tidegate.rollups r ORDER BY name";

/// Where a rollup stands.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) name: String,
    pub(crate) table: String,
    pub(crate) batch_table: String,
    pub(crate) view: String,
    pub(crate) bucket: String,
    pub(crate) time_zone: String,
    pub(crate) boundary: String,
    pub(crate) closing: String,
    pub(crate) details_from: String,
    pub(crate) refreshed_at: Option<String>,
    /// Touched buckets below the boundary.
    pub(crate) touched: i64,
    /// How far the boundary is behind the present; nothing before the first refresh.
    pub(crate) lag_seconds: Option<i64>,
    /// The boundary as Unix time.
    pub(crate) boundary_seconds: Option<i64>,
}

/// All rollups, by name.
pub(crate) async fn read_all(client: &Object) -> Result<Vec<Standing>, PgError> {
    if !has_bookkeeping(client).await? {
        return Ok(Vec::new());
    }
    let rows = client.query(STATUS_SQL, &[]).await.map_err(failed)?;
    let standing = |row: &tokio_postgres::Row| Standing {
        name: row.get(0),
        table: row.get(1),
        batch_table: row.get(2),
        view: row.get(3),
        bucket: row.get(4),
        time_zone: row.get(5),
        boundary: row.get(6),
        closing: row.get(7),
        details_from: row.get(8),
        refreshed_at: row.get(9),
        touched: row.get(10),
        lag_seconds: row.get(11),
        boundary_seconds: row.get(12),
    };
    Ok(rows.iter().map(standing).collect())
}
