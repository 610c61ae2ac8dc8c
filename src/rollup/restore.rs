//! Finished buckets whose detailed rows are gone, made anew from another table that has them: one that a
//! replay has filled from the history of the topic.
//!
//! Nothing but late rows that are merged (`sink/postgres/late.rs`) changes what the batch table has of
//! such a bucket. Under their lock, which they hold until they commit, it is looked whether the other
//! table has the records of all of them: whether its replay is as far as the live table.

use std::time::Instant;

use deadpool_postgres::Object;

use super::{
    failed,
    hand::enter,
    refresh::{Pace, unlock},
    sql::{LATE_LOCK, Parts},
};
use crate::{
    config::{Rollup, TableName},
    error::{Error, ErrorKind},
    sink::postgres::{
        catalog::{self, quoted_name},
        sqlstate::PgError,
    },
};

/// The range, whether it has an end, and whether late rows are merged: buckets from `$2` to `$3` whose
/// rows are gone.
const RANGE_SQL: &str = "\
    SELECT first::text, last::text, first < last, is_merged FROM (SELECT \
        $2::text::timestamptz AS first, least($3::text::timestamptz, details_from) AS last, \
        late_sql IS NOT NULL AS is_merged FROM tidegate.rollups WHERE name = $1) r";

/// Each statement has a snapshot of its own, younger than the lock before it.
const STEP_BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SET LOCAL statement_timeout = '1h'; SET LOCAL jit = off";
const LOCK_SQL: &str = "SELECT pg_advisory_xact_lock($1, hashtext($2))";

/// A partition in which the live table and the replay's are not at the same offset. Where the live one is
/// ahead, it may have merged late rows that the other has not; where it is behind, it will merge them again.
const APART_SQL: &str = "\
    SELECT format('%s[%s]', d.topic, d.partition) FROM tidegate.replays v \
    CROSS JOIN LATERAL (SELECT '.' || v.table_schema || '.' || v.table_name AS suffix) s \
    CROSS JOIN LATERAL (SELECT topic, partition, l.next_offset AS live, r.next_offset AS replayed \
        FROM (SELECT * FROM tidegate.checkpoints \
            WHERE right(target, length(suffix)) = suffix AND consumer_group <> v.consumer_group) l \
        FULL JOIN (SELECT * FROM tidegate.checkpoints WHERE consumer_group = v.consumer_group) r \
            USING (cluster_id, topic, partition)) d \
    WHERE to_regclass(format('%I.%I', v.table_schema, v.version)) = to_regclass($1) \
        AND coalesce(d.live, 0) <> coalesce(d.replayed, 0) LIMIT 1";
const REPLAYED_SQL: &str = "\
    SELECT EXISTS (SELECT FROM tidegate.replays v WHERE v.state = 'loaded' \
        AND to_regclass(format('%I.%I', v.table_schema, v.version)) = to_regclass($1))";

/// Makes finished buckets from `first` up to `end` anew from the rows of `details`, as far as the rollup
/// has no detailed rows of its own; gives up to where.
pub(crate) async fn restore(
    client: &mut Object,
    rollup: &Rollup,
    [first, end]: [&str; 2],
    details: &TableName,
) -> Result<Result<String, Error>, PgError> {
    if let Err(error) = enter(client, rollup).await? {
        return Ok(Err(error));
    }
    let restored = restore_range(client, rollup, [first, end], details).await?;
    unlock(client, rollup).await?;
    Ok(restored)
}

async fn restore_range(
    client: &Object,
    rollup: &Rollup,
    [first, end]: [&str; 2],
    details: &TableName,
) -> Result<Result<String, Error>, PgError> {
    let wrong = |text: String| Ok(Err(Error::config(format!("rollup {}: {text}", rollup.name))));
    let shown = quoted_name(details);
    if let None | Some(Err(_)) = catalog::read(client, details).await? {
        return wrong(format!("there is no table {shown}"));
    }
    let row = client.query_one(RANGE_SQL, &[&rollup.name, &first, &end]).await.map_err(failed)?;
    let (mut from, last): (String, String) = (row.get(0), row.get(1));
    let (is_any, is_merged): (bool, bool) = (row.get(2), row.get(3));
    if !is_any {
        return wrong(format!(
            "its own table has the rows of all buckets from {first} on; leave --details out"
        ));
    }
    if is_merged
        && !client.query_one(REPLAYED_SQL, &[&shown]).await.map_err(failed)?.get::<_, bool>(0)
    {
        return wrong(format!(
            "with late = \"merge\" it is made anew from a table that tidegate replay has filled to its \
             end, as only that tells which late rows are in it; {shown} is none"
        ));
    }
    let parts = Parts::new(rollup).reading(details);
    let (step_end, [remove, insert]) = (parts.step_end(), parts.remake_range());
    let mut pace = Pace::default();
    while from != last {
        let since = Instant::now();
        client.batch_execute(STEP_BEGIN).await.map_err(failed)?;
        client.query(LOCK_SQL, &[&LATE_LOCK, &rollup.name]).await.map_err(failed)?;
        let apart = match is_merged {
            true => client.query_opt(APART_SQL, &[&shown]).await.map_err(failed)?,
            false => None,
        };
        if let Some(lane) = apart {
            let lane: String = lane.get(0);
            client.batch_execute("ROLLBACK").await.map_err(failed)?;
            return Ok(Err(Error::new(
                ErrorKind::Temporary,
                format!(
                    "rollup {}: its table and {shown} are not at the same offset of {lane}, and may \
                     differ by late rows: stop the route, let the replay go on as far as it is, and \
                     try again",
                    rollup.name
                ),
            )));
        }
        let row = client.query_one(&step_end, &[&from, &last, &pace.buckets]).await;
        let end: String = row.map_err(failed)?.get(0);
        client.execute(&remove, &[&from, &end]).await.map_err(failed)?;
        client.execute(&insert, &[&from, &end]).await.map_err(failed)?;
        client.batch_execute("COMMIT").await.map_err(failed)?;
        from = end;
        pace.took(since.elapsed());
    }
    Ok(Ok(last))
}
