//! What a transaction owes the rollups of its table: the finished buckets that its rows fall in, logged
//! before COMMIT. The protocol stands in `rollup/mod.rs`.
//!
//! The lock is taken late, behind the rows, and held for two round trips: whoever moves `closing` does
//! not wait for a COPY. What is below `closing` is read by a later statement, which has a snapshot of
//! its own: READ COMMITTED is set for the session. The table is asked for by its name: a replay may have
//! put another one in its place, and from the COPY on it can not.

use std::ops::Range;

use tokio_postgres::{Row, Statement, types::ToSql};

use super::{
    encode::{cell, rows},
    late::LATE,
    session::Session,
    sqlstate::{Fault, PgError},
    table::PgTarget,
};
use crate::{
    batch::{Layout, Segment},
    rollup::TABLE_LOCK,
    sink::Flushed,
};

const LOCK_SQL: &str = "SELECT pg_advisory_xact_lock_shared($1, to_regclass($2)::oid::int4)";

/// The rollups of a table that have finished buckets, and up to which second rows may be in one: before
/// `closing`, but where a clock is turned by less than an hour within an hour that it begins. Late in
/// a day there must be nothing to look at in the rows of the present.
const CLOSING_SQL: &str = "\
    SELECT name, time_column, watches_inserts, \
        ceil(extract(epoch FROM closing - timestamptz '2000-01-01 00:00+00'))::int8 \
            + CASE WHEN bucket IN ('minute', 'hour') \
                AND (closing + interval '1 hour') AT TIME ZONE time_zone - closing AT TIME ZONE time_zone \
                    <> interval '1 hour' THEN 3600 ELSE 0 END, \
        CASE WHEN isfinite(details_from) THEN \
            extract(epoch FROM details_from - timestamptz '2000-01-01 00:00+00')::int8 END, \
        details_from::text, \
        CASE WHEN (SELECT bool_and(o.late_sql IS NOT NULL AND isfinite(o.details_from)) \
            FROM tidegate.rollups o WHERE o.source_table = r.source_table) THEN late_sql END \
    FROM tidegate.rollups r WHERE source_table = to_regclass($1) AND isfinite(closing) ORDER BY name";

/// The buckets of times that are given as seconds since 2000.
const TOUCH_SQL: &str = "\
    INSERT INTO tidegate.rollup_touched (rollup, bucket) \
    SELECT DISTINCT r.name, date_trunc(r.bucket, s.at, r.time_zone) \
    FROM tidegate.rollups r CROSS JOIN ( \
        SELECT timestamptz '2000-01-01 00:00+00' + second * interval '1 second' AS at \
        FROM unnest($2::int8[]) AS u(second)) s \
    WHERE r.name = $1 AND date_trunc(r.bucket, s.at, r.time_zone) < r.closing";

/// 4713-01-01 BC in seconds since 2000: what is earlier has no bucket.
pub(super) const FIRST_SECOND: i64 = -211_810_204_800;

/// The statements, known beforehand, so that they go out without a pause.
pub(super) struct Statements {
    lock: Statement,
    closing: Statement,
}

/// A rollup that has finished buckets.
#[derive(Debug)]
pub(super) struct Rollup {
    pub(super) name: String,
    pub(super) time_column: String,
    /// Whether a trigger logs the buckets of inserted rows.
    watches_inserts: bool,
    /// Whatever is later is in no finished bucket, in seconds since 2000.
    end: i64,
    /// Whatever is earlier is too late, in seconds since 2000.
    pub(super) since: i64,
    pub(super) shown_since: String,
    /// What adds rows to the summary that are too late for it and for all others of the table.
    pub(super) late_sql: Option<String>,
}

impl Rollup {
    fn of_row(row: &Row) -> Self {
        Self {
            name: row.get(0),
            time_column: row.get(1),
            watches_inserts: row.get(2),
            end: row.get(3),
            since: row.get::<_, Option<i64>>(4).unwrap_or(i64::MIN),
            shown_since: row.get(5),
            late_sql: row.get(6),
        }
    }

    /// Whether the times of rows make a difference.
    fn asks(&self) -> bool {
        !self.watches_inserts || self.since > i64::MIN
    }
}

impl Session {
    pub(super) async fn rollup_statements(&self) -> Result<Statements, PgError> {
        let lock = self.within(self.connection.prepare_cached(LOCK_SQL)).await?;
        let closing = self.within(self.connection.prepare_cached(CLOSING_SQL)).await?;
        Ok(Statements { lock, closing })
    }

    /// From here to COMMIT no bucket of the table becomes finished.
    pub(super) async fn lock_rollups(
        &self,
        target: &PgTarget,
        statements: &Statements,
    ) -> Result<(), PgError> {
        let parameters: [&(dyn ToSql + Sync); 2] = [&TABLE_LOCK, &target.table.quoted()];
        self.within(self.connection.query(&statements.lock, &parameters)).await.map(drop)
    }

    /// The rollups that may have something to be told.
    pub(super) async fn rollups(
        &self,
        target: &PgTarget,
        statements: &Statements,
    ) -> Result<Vec<Rollup>, PgError> {
        let parameters: [&(dyn ToSql + Sync); 1] = [&target.table.quoted()];
        let found = self.within(self.connection.query(&statements.closing, &parameters)).await?;
        Ok(found.iter().map(Rollup::of_row).collect())
    }

    /// Logs the finished buckets that rows of `batches` fall in.
    pub(super) async fn touch(
        &self,
        target: &PgTarget,
        batches: &[&mut Flushed],
        rollups: &[Rollup],
    ) -> Result<(), PgError> {
        for rollup in rollups.iter().filter(|rollup| rollup.asks()) {
            let seconds = seconds(target, batches, rollup, rollups)?;
            if seconds.is_empty() {
                continue;
            }
            let statement = self.within(self.connection.prepare_cached(TOUCH_SQL)).await?;
            let parameters: [&(dyn ToSql + Sync); 2] = [&rollup.name, &seconds];
            self.within(self.connection.execute(&statement, &parameters)).await?;
        }
        Ok(())
    }
}

/// The times of rows that may be in a finished bucket, each once. Buckets begin with a whole second, as
/// zones differ by whole seconds from each other.
fn seconds(
    target: &PgTarget,
    batches: &[&mut Flushed],
    rollup: &Rollup,
    all: &[Rollup],
) -> Result<Vec<i64>, PgError> {
    let mut seconds = Vec::new();
    let segments = batches.iter().flat_map(|flushed| &flushed.batch.segments);
    // A row that is deleted is a trigger's to see.
    for segment in segments.filter(|segment| segment.rows > 0 && segment.layout != Layout::DELETE) {
        let Some(times) = times(target, segment, &rollup.time_column) else {
            check_left_out(target, rollup)?;
            continue;
        };
        for second in times.filter_map(|(.., second)| second) {
            if !(FIRST_SECOND..rollup.end).contains(&second) || seconds.last() == Some(&second) {
                continue;
            }
            if second < rollup.since {
                target.lineage.late.note(all);
                return Err(PgError::outage(
                    LATE,
                    format!(
                        "rows are before {}, which rollup {} tells now",
                        rollup.shown_since, rollup.name
                    ),
                ));
            }
            if !rollup.watches_inserts {
                seconds.push(second);
            }
        }
    }
    seconds.sort_unstable();
    seconds.dedup();
    Ok(seconds)
}

/// Each row of a segment with its place and its time, in seconds since 2000; nothing if the rows do not
/// carry the column.
pub(super) fn times<'a>(
    target: &PgTarget,
    segment: &'a Segment,
    column: &str,
) -> Option<impl Iterator<Item = (usize, Range<usize>, Option<i64>)> + use<'a>> {
    if segment.layout == Layout::DELETE {
        return None;
    }
    let place = target.columns_for(segment.layout).position(|known| known.name == column)?;
    Some(rows(&segment.bytes).enumerate().map(move |(row, range)| {
        let bytes = segment.bytes.get(range.clone());
        (row, range, second(bytes.and_then(|bytes| cell(bytes, place))))
    }))
}

/// The second that a `timestamptz` is in; nothing for NULL and the infinities.
fn second(value: Option<&[u8]>) -> Option<i64> {
    let at = i64::from_be_bytes(value?.try_into().ok()?);
    (at != i64::MAX && at != i64::MIN).then(|| at.div_euclid(1_000_000))
}

/// A column that rows do not carry is NULL in them, unless Postgres fills it: then nobody here knows in
/// which bucket they are.
fn check_left_out(target: &PgTarget, rollup: &Rollup) -> Result<(), PgError> {
    let name = &rollup.time_column;
    let known = target.table.columns.iter().find(|column| column.name == *name);
    if rollup.watches_inserts || known.is_some_and(|column| !column.has_default) {
        return Ok(());
    }
    Err(PgError {
        fault: Fault::Config,
        code: "rollup".to_owned(),
        message: format!(
            "rollup {} goes by column {name}, which Postgres fills for rows that lack it, so that their \
             buckets are not known; feed it in every record, or make the rollup anew with \
             watch_inserts = true",
            rollup.name
        ),
        copy_line: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_second_that_has_begun() {
        let of = |at: i64| second(Some(&at.to_be_bytes()));
        assert_eq!([of(0), of(999_999), of(1_000_000)], [Some(0), Some(0), Some(1)]);
        assert_eq!([of(-1), of(-1_000_000), of(-1_000_001)], [Some(-1), Some(-1), Some(-2)]);
        assert_eq!([of(i64::MAX), of(i64::MIN), second(None)], [None; 3]);
        assert_eq!(second(Some(&[0; 4])), None);
    }
}
