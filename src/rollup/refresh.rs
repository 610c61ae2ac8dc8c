//! A refresh: finished buckets go into the batch table, in steps of one transaction each.
//!
//! It may end anywhere. Between the two transactions it leaves a `closing` above the boundary, which
//! only makes others log more.

use std::time::{Duration, Instant};

use deadpool_postgres::Object;

use super::{
    expect_same,
    expire::{Expired, expire},
    failed,
    sql::{Parts, REFRESH_LOCK, TABLE_LOCK},
};
use crate::{
    config::Rollup, error::Error, failpoint::failpoint, sink::postgres::sqlstate::PgError,
};

/// A lock of the session, so that it spans the transactions, and ends with them at the latest.
const LOCK_SQL: &str = "SELECT pg_try_advisory_lock($1, hashtext($2))";
const UNLOCK_SQL: &str = "SELECT pg_advisory_unlock($1, hashtext($2))";

/// Up to where buckets are to be finished: those that hold the present never are.
const TARGET_SQL: &str = "\
    SELECT target::text, target > closing \
    FROM (SELECT closing, date_trunc(bucket, least(coalesce($2::text::timestamptz, 'infinity'), \
        now() - $3::text::interval), time_zone) AS target \
        FROM tidegate.rollups WHERE name = $1) r";

/// Whoever waits for the lock holds up those behind him, so he does not wait for long. One who deletes
/// by hand in a long transaction holds it.
const CLOSE_BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '500ms'";
const CLOSE_TRIES: usize = 30;
const CLOSE_PAUSE: Duration = Duration::from_secs(1);
const LOCK_NOT_AVAILABLE: &str = "55P03";
const CLOSE_LOCK_SQL: &str = "\
    SELECT source_table::oid, pg_advisory_xact_lock($1, source_table::oid::int4) \
    FROM tidegate.rollups WHERE name = $2";
/// Not if a replay has put another table in the place of the one that is locked: the next refresh closes
/// that.
const CLOSE_SQL: &str = "\
    UPDATE tidegate.rollups SET closing = $2::text::timestamptz \
    WHERE name = $1 AND closing < $2::text::timestamptz AND source_table = $3";

/// One snapshot for all that a step reads and removes: what was logged since it was taken stays logged.
const STEP_BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ; \
    SET LOCAL statement_timeout = '1h'; SET LOCAL jit = off";

const INSTANTS_SQL: &str = "\
    SELECT boundary::text, closing::text, boundary < closing FROM tidegate.rollups WHERE name = $1";

/// Touched buckets behind the last that was done, so that a stream of late rows has an end.
const TOUCHED_SQL: &str = "\
    SELECT coalesce(array_agg(bucket::text ORDER BY bucket), '{}') FROM ( \
        SELECT DISTINCT t.bucket FROM tidegate.rollup_touched t JOIN tidegate.rollups r \
            ON r.name = t.rollup AND t.bucket < r.boundary AND t.bucket >= r.details_from \
        WHERE r.name = $1 AND t.bucket > $2::text::timestamptz ORDER BY 1 LIMIT $3) b";

/// A plain DELETE, in the snapshot of the step: it removes what the step has seen, and no more.
const FORGET_EACH_SQL: &str = "\
    DELETE FROM tidegate.rollup_touched \
    WHERE rollup = $1 AND bucket = ANY($2::text[]::timestamptz[])";
const FORGET_RANGE_SQL: &str = "\
    DELETE FROM tidegate.rollup_touched WHERE rollup = $1 \
    AND bucket >= $2::text::timestamptz AND bucket < $3::text::timestamptz";

/// What is logged of buckets whose rows are gone says nothing any more.
const FORGET_GONE_SQL: &str = "\
    DELETE FROM tidegate.rollup_touched t USING tidegate.rollups r \
    WHERE r.name = $1 AND t.rollup = r.name AND t.bucket < r.details_from";

const BOUNDARY_SQL: &str = "\
    UPDATE tidegate.rollups SET boundary = $2::text::timestamptz WHERE name = $1";
const REFRESHED_SQL: &str = "\
    UPDATE tidegate.rollups SET refreshed_at = clock_timestamp() WHERE name = $1";

/// How long a step should take: what it sees as of its beginning cannot be vacuumed meanwhile.
const STEP: Duration = Duration::from_secs(2);
const BUCKETS_MAX: i64 = 100_000;

/// How a refresh went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refreshed {
    /// The boundary by now, whether it has moved, how many touched buckets were made anew, and what became
    /// of detailed rows that are old enough to go.
    Done { boundary: String, moved: bool, touched: u64, expired: Expired },
    /// Another process is at it.
    Busy,
}

/// How far a refresh has got.
#[derive(Debug)]
pub(crate) enum Progress<'a> {
    /// Touched buckets that were made anew.
    Touched(u64),
    /// The boundary, on its way to `closing`.
    Boundary { boundary: &'a str, closing: &'a str },
}

/// Refreshes a rollup up to its delay before the present, or up to `until`, a time that Postgres reads.
/// The inner error is for one that is not there, or is another.
pub(crate) async fn refresh(
    client: &mut Object,
    rollup: &Rollup,
    until: Option<&str>,
    told: &mut dyn FnMut(Progress<'_>),
) -> Result<Result<Refreshed, Error>, PgError> {
    if let Err(error) = expect_same(client, rollup).await? {
        return Ok(Err(error));
    }
    if !try_lock(client, rollup).await? {
        return Ok(Ok(Refreshed::Busy));
    }
    close(client, rollup, until).await?;
    failpoint!("rollup.closed");
    client.execute(FORGET_GONE_SQL, &[&rollup.name]).await.map_err(failed)?;
    let touched = remake_touched(client, rollup, told).await?;
    let (boundary, moved) = move_boundary(client, rollup, told).await?;
    client.execute(REFRESHED_SQL, &[&rollup.name]).await.map_err(failed)?;
    if touched > 0 {
        // The log grows and shrinks all the time. Where the role may not, Postgres warns, and it is left
        // to autovacuum.
        client.batch_execute("VACUUM tidegate.rollup_touched").await.map_err(failed)?;
    }
    let expired = expire(client, rollup).await?;
    unlock(client, rollup).await?;
    Ok(Ok(Refreshed::Done { boundary, moved, touched, expired }))
}

/// Whether nobody else refreshes it; until [`unlock`], or the end of the connection.
pub(super) async fn try_lock(client: &Object, rollup: &Rollup) -> Result<bool, PgError> {
    let locked = client.query_one(LOCK_SQL, &[&REFRESH_LOCK, &rollup.name]).await;
    Ok(locked.map_err(failed)?.get(0))
}

pub(super) async fn unlock(client: &Object, rollup: &Rollup) -> Result<(), PgError> {
    let unlocked = client.query_one(UNLOCK_SQL, &[&REFRESH_LOCK, &rollup.name]).await;
    unlocked.map(drop).map_err(failed)
}

/// Moves `closing`. Once this is committed, every transaction that has read an earlier one has ended.
pub(super) async fn close(
    client: &Object,
    rollup: &Rollup,
    until: Option<&str>,
) -> Result<(), PgError> {
    let name = &rollup.name;
    let delay = format!("{} seconds", rollup.delay.as_secs_f64());
    let row = client.query_one(TARGET_SQL, &[name, &until, &delay]).await.map_err(failed)?;
    let (target, is_later): (String, bool) = (row.get(0), row.get(1));
    if !is_later {
        return Ok(());
    }
    for _ in 0..CLOSE_TRIES {
        match try_to_close(client, name, &target).await {
            Err(error) if error.code == LOCK_NOT_AVAILABLE => {
                client.batch_execute("ROLLBACK").await.map_err(failed)?;
                tokio::time::sleep(CLOSE_PAUSE).await;
            }
            result => return result,
        }
    }
    let message = "another transaction has changed the table and does not end";
    Err(PgError::outage(LOCK_NOT_AVAILABLE, message))
}

async fn try_to_close(client: &Object, name: &str, target: &str) -> Result<(), PgError> {
    client.batch_execute(CLOSE_BEGIN).await.map_err(failed)?;
    let row = client.query_one(CLOSE_LOCK_SQL, &[&TABLE_LOCK, &name]).await.map_err(failed)?;
    let table: u32 = row.get(0);
    client.execute(CLOSE_SQL, &[&name, &target, &table]).await.map_err(failed)?;
    client.batch_execute("COMMIT").await.map_err(failed)
}

/// Makes touched buckets anew that are below the boundary; gives how many.
async fn remake_touched(
    client: &Object,
    rollup: &Rollup,
    told: &mut dyn FnMut(Progress<'_>),
) -> Result<u64, PgError> {
    let name = &rollup.name;
    let [remove, insert] = Parts::new(rollup).remake_each();
    let (mut count, mut last, mut pace) = (0, "-infinity".to_owned(), Pace::default());
    loop {
        let since = Instant::now();
        client.batch_execute(STEP_BEGIN).await.map_err(failed)?;
        let row = client.query_one(TOUCHED_SQL, &[name, &last, &pace.buckets]).await;
        let buckets: Vec<String> = row.map_err(failed)?.get(0);
        let Some(greatest) = buckets.last().cloned() else {
            client.batch_execute("COMMIT").await.map_err(failed)?;
            return Ok(count);
        };
        client.execute(&remove, &[&buckets]).await.map_err(failed)?;
        client.execute(&insert, &[&buckets]).await.map_err(failed)?;
        client.execute(FORGET_EACH_SQL, &[name, &buckets]).await.map_err(failed)?;
        failpoint!("rollup.step");
        client.batch_execute("COMMIT").await.map_err(failed)?;
        last = greatest;
        count += buckets.len() as u64;
        pace.took(since.elapsed());
        told(Progress::Touched(count));
    }
}

/// Moves the boundary up to `closing`, step by step; gives where it stands then, and whether it has
/// moved.
async fn move_boundary(
    client: &Object,
    rollup: &Rollup,
    told: &mut dyn FnMut(Progress<'_>),
) -> Result<(String, bool), PgError> {
    let name = &rollup.name;
    let parts = Parts::new(rollup);
    let (step_end, [remove, insert]) = (parts.step_end(), parts.remake_range());
    let (mut moved, mut pace) = (false, Pace::default());
    loop {
        let since = Instant::now();
        client.batch_execute(STEP_BEGIN).await.map_err(failed)?;
        let row = client.query_one(INSTANTS_SQL, &[name]).await.map_err(failed)?;
        let (boundary, closing, is_behind): (String, String, bool) =
            (row.get(0), row.get(1), row.get(2));
        if !is_behind {
            client.batch_execute("COMMIT").await.map_err(failed)?;
            return Ok((boundary, moved));
        }
        let row = client.query_one(&step_end, &[&boundary, &closing, &pace.buckets]).await;
        let end: String = row.map_err(failed)?.get(0);
        client.execute(&remove, &[&boundary, &end]).await.map_err(failed)?;
        client.execute(&insert, &[&boundary, &end]).await.map_err(failed)?;
        client.execute(FORGET_RANGE_SQL, &[name, &boundary, &end]).await.map_err(failed)?;
        client.execute(BOUNDARY_SQL, &[name, &end]).await.map_err(failed)?;
        failpoint!("rollup.step");
        client.batch_execute("COMMIT").await.map_err(failed)?;
        moved = true;
        pace.took(since.elapsed());
        told(Progress::Boundary { boundary: &end, closing: &closing });
    }
}

/// How many buckets a step takes, by how long the last ones did.
pub(super) struct Pace {
    pub(super) buckets: i64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { buckets: 1 }
    }
}

impl Pace {
    pub(super) fn took(&mut self, time: Duration) {
        if time < STEP / 2 {
            self.buckets = (self.buckets * 2).min(BUCKETS_MAX);
        } else if time > STEP {
            self.buckets = (self.buckets / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_while_they_are_short_and_shrink_when_they_are_long() {
        let mut pace = Pace::default();
        (0..3).for_each(|_| pace.took(Duration::from_millis(10)));
        assert_eq!(pace.buckets, 8);
        pace.took(STEP - Duration::from_millis(1));
        assert_eq!(pace.buckets, 8);
        (0..9).for_each(|_| pace.took(STEP * 2));
        assert_eq!(pace.buckets, 1);
        (0..60).for_each(|_| pace.took(Duration::ZERO));
        assert_eq!(pace.buckets, BUCKETS_MAX);
    }
}
