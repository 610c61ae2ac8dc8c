//! Partitions by time: made before the rows that need them are copied, within a horizon.
//!
//! `CREATE TABLE ... PARTITION OF` would lock the whole table against everybody. A table of its own that is
//! attached locks only out other DDL, and the default partition, if there is one.

mod bucket;
mod expiry;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use deadpool_postgres::Object;

use super::{
    catalog::{Table, quote_identifier},
    column::ColumnType,
    ddl,
    encode::{cell, rows},
    session::Session,
    sqlstate::{Fault, PgError},
    table::PgTarget,
};
use crate::{
    config,
    error::Error,
    failpoint::failpoint,
    metrics,
    rejection::{Reason, Rejection},
    sink::Flushed,
};

/// 2000-01-01 in microseconds since 1970-01-01.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// How long a bucket is left alone for which no partition could be made.
const BLOCKED_MAX: Duration = Duration::from_secs(60);

const KEY_SQL: &str = "\
    SELECT p.partstrat::text, p.partnatts, a.attname::text FROM pg_partitioned_table p \
    LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] \
    WHERE p.partrelid = $1";

/// The bounds as microseconds since 2000; NULL for MINVALUE, MAXVALUE and infinities. The session's time
/// zone is UTC, in which pg_get_expr shows a timestamptz.
const PARTITIONS_SQL: &str = r"
    SELECT n.nspname::text, c.relname::text, pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT',
           i.inhdetachpending, us.lower, us.upper
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid),
        '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') AS found) bound
    CROSS JOIN LATERAL (SELECT
        CASE WHEN found[1] ~ '^''\d' THEN
            (extract(epoch FROM trim('''' FROM found[1])::timestamptz - timestamptz '2000-01-01 00:00+00') * 1000000)::int8
        END AS lower,
        CASE WHEN found[2] ~ '^''\d' THEN
            (extract(epoch FROM trim('''' FROM found[2])::timestamptz - timestamptz '2000-01-01 00:00+00') * 1000000)::int8
        END AS upper) us
    WHERE i.inhparent = $1";

/// The partitions of one table.
pub(crate) struct Partitions {
    config: config::Partitions,
    column: String,
    /// Whether the column is a `date`, which counts days; else it counts microseconds.
    is_date: bool,
    state: Mutex<State>,
}

/// What is known of the table's partitions.
#[derive(Debug, Default)]
struct State {
    ranges: Vec<Range<i64>>,
    has_default: bool,
    /// The bucket of the present for which those ahead were made last.
    made_ahead_at: Option<i64>,
    /// Buckets for which there can be no partition now.
    blocked: BTreeMap<i64, Instant>,
}

/// One partition as the catalog shows it.
struct Found {
    schema: String,
    name: String,
    is_default: bool,
    is_detaching: bool,
    range: Range<i64>,
}

impl Found {
    fn quoted(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.name))
    }
}

/// Where a row goes.
enum Place {
    /// There is a partition for it, if only the default one.
    There,
    /// The bucket that begins then needs a partition.
    Wanted(i64),
    /// Nowhere, and why.
    Nowhere(String),
}

impl Partitions {
    /// The partitions of `table`; the inner error is for a table that has none, or others.
    pub(super) async fn open(
        client: &Object,
        table: &Table,
        config: &config::Partitions,
    ) -> Result<Result<Self, Error>, PgError> {
        let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
        let shown = table.display();
        let row = client.query_opt(KEY_SQL, &[&table.oid]).await.map_err(failed)?;
        let column = row.and_then(|row| {
            let (strategy, columns): (String, i16) = (row.get(0), row.get(1));
            row.get::<_, Option<String>>(2).filter(|_| strategy == "r" && columns == 1)
        });
        let Some(column) = column else {
            return Ok(Err(Error::config(format!(
                "{shown} is not partitioned by range of one column, as `partitions` wants it; remove \
                 the key, or partition the table"
            ))));
        };
        if let Some(wanted) = config.column.as_ref().filter(|wanted| **wanted != column) {
            return Ok(Err(Error::config(format!(
                "{shown} is partitioned by {column}, not by {wanted}; mend partitions.column"
            ))));
        }
        let key = table.columns.iter().find(|known| known.name == column);
        let is_date = match key.map(|key| &key.column_type) {
            Some(ColumnType::Date) => true,
            Some(ColumnType::Timestamp | ColumnType::Timestamptz) => false,
            _ => {
                return Ok(Err(Error::config(format!(
                    "{shown} is partitioned by {column}, which is no timestamptz, timestamp or date; \
                     remove `partitions`"
                ))));
            }
        };
        let partitions = Self { config: config.clone(), column, is_date, state: Mutex::default() };
        partitions.note(&find(client, table.oid).await?);
        Ok(Ok(partitions))
    }

    /// Reads the partitions again, as somebody else makes and detaches them, too. Says whether they are
    /// others than those that were known.
    pub(super) async fn look(&self, session: &Session, table: &Table) -> Result<bool, PgError> {
        Ok(self.note(&find(&session.connection, table.oid).await?))
    }

    fn note(&self, found: &[Found]) -> bool {
        let attached = found.iter().filter(|found| !found.is_default && !found.is_detaching);
        let mut ranges: Vec<Range<i64>> = attached.map(|found| found.range.clone()).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let has_default = found.iter().any(|partition| partition.is_default);
        let mut state = self.state();
        let changed = state.ranges != ranges || state.has_default != has_default;
        (state.ranges, state.has_default) = (ranges, has_default);
        changed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The buckets that need a partition before `batches` are copied: those of the rows, and those ahead
    /// of the present. Rows for which there will be none become dead letters.
    pub(super) fn sort(&self, target: &PgTarget, batches: &mut [&mut Flushed]) -> BTreeSet<i64> {
        let now = now_us();
        let mut wanted = self.wanted_ahead(now);
        for flushed in batches {
            for index in 0..flushed.batch.segments.len() {
                let segment = &flushed.batch.segments[index];
                let place =
                    target.columns_for(segment.layout).position(|known| known.name == self.column);
                // Left to its default, which is in the present as a rule.
                let Some(place) = place else { continue };
                let mut nowhere = Vec::new();
                // Rows come in the order of time, mostly.
                let mut last = 0..0;
                for (row, range) in rows(&segment.bytes).enumerate() {
                    let key = self.key(segment.bytes.get(range.clone()).unwrap_or_default(), place);
                    if key.is_some_and(|at| last.contains(&at)) {
                        continue;
                    }
                    match self.judge(key, now, &mut last) {
                        Place::There => {}
                        Place::Wanted(start) => drop(wanted.insert(start)),
                        Place::Nowhere(why) => nowhere.push((row, range, self.rejection(why))),
                    }
                }
                nowhere.iter().for_each(|_| metrics::dead_letter(Reason::NoPartition));
                flushed.batch.set_aside(index, nowhere);
            }
        }
        wanted
    }

    fn rejection(&self, message: String) -> Rejection {
        Rejection { reason: Reason::NoPartition, column: Some(self.column.clone()), message }
    }

    fn wanted_ahead(&self, now: i64) -> BTreeSet<i64> {
        let by = self.config.by;
        let Some((start, _)) = bucket::bucket(by, now) else { return BTreeSet::new() };
        let state = self.state();
        if state.made_ahead_at == Some(start) {
            return BTreeSet::new();
        }
        let starts = std::iter::successors(Some(start), |start| {
            bucket::bucket(by, *start).map(|(_, end)| end)
        });
        starts.take(self.config.ahead + 1).filter(|start| state.is_free(*start)).collect()
    }

    /// The time in the key column, in microseconds; `None` for NULL and infinities.
    fn key(&self, row: &[u8], place: usize) -> Option<i64> {
        let value = cell(row, place)?;
        match (value.len(), self.is_date) {
            (4, true) => {
                let days = i32::from_be_bytes(*value.first_chunk()?);
                let is_finite = days != i32::MAX && days != i32::MIN;
                is_finite.then(|| i64::from(days).checked_mul(bucket::DAY_US)).flatten()
            }
            (8, false) => {
                let at = i64::from_be_bytes(*value.first_chunk()?);
                (at != i64::MAX && at != i64::MIN).then_some(at)
            }
            _ => None,
        }
    }

    fn judge(&self, key: Option<i64>, now: i64, last: &mut Range<i64>) -> Place {
        let state = self.state();
        let elsewhere = |why: String| match state.has_default {
            true => Place::There,
            false => Place::Nowhere(why),
        };
        let Some(at) = key else {
            return elsewhere(
                "no partition holds null or infinity, and there is no default".into(),
            );
        };
        if let Some(range) = state.range_of(at) {
            *last = range.clone();
            return Place::There;
        }
        let shown = bucket::text(at);
        let by = self.config.by;
        let (Some((start, _)), Some(first)) = (bucket::bucket(by, at), self.first(now)) else {
            return elsewhere(format!("`{shown}`: the calendar ends before"));
        };
        if start < first {
            let why = "is older than the partitions that are made (`behind`)";
            return elsewhere(format!("`{shown}`: {why}, and there is no default partition"));
        }
        if self.last(now).is_none_or(|last| start > last) {
            let why = "is later than the partitions that are made (`ahead`)";
            return elsewhere(format!("`{shown}`: {why}, and there is no default partition"));
        }
        match state.is_free(start) {
            true => Place::Wanted(start),
            false => elsewhere(format!("`{shown}`: no partition could be made; the log says why")),
        }
    }

    /// The oldest bucket that a row may ask for.
    fn first(&self, now: i64) -> Option<i64> {
        let behind = i64::try_from(self.config.behind.as_micros()).ok()?;
        bucket::bucket(self.config.by, now.checked_sub(behind)?).map(|(start, _)| start)
    }

    /// The latest bucket that a row may ask for.
    fn last(&self, now: i64) -> Option<i64> {
        let mut start = now;
        for _ in 0..self.config.ahead {
            (_, start) = bucket::bucket(self.config.by, start)?;
        }
        bucket::bucket(self.config.by, start).map(|(start, _)| start)
    }

    /// Makes the partitions for these buckets that are not there yet.
    pub(super) async fn make(
        &self,
        session: &Session,
        table: &Table,
        wanted: &BTreeSet<i64>,
    ) -> Result<(), PgError> {
        session.execute("BEGIN; SET LOCAL lock_timeout = '1s'").await?;
        session.execute(ddl::LOCK_SQL).await?;
        self.look(session, table).await?;
        let mut blocked = Vec::new();
        for start in wanted {
            let Some((start, end)) = bucket::bucket(self.config.by, *start) else { continue };
            if self.state().range_of(start).is_some() {
                continue;
            }
            session.execute("SAVEPOINT partition").await?;
            match session.execute(&self.create_sql(table, start, end)).await {
                Ok(()) => tracing::info!(
                    "made a partition of {} for {}",
                    table.display(),
                    bucket::text(start)
                ),
                // Rows of its time are in the default partition, or in a partition that overlaps it, or
                // its name is taken.
                Err(error) if matches!(error.fault, Fault::Row | Fault::Config) => {
                    tracing::warn!(
                        "no partition of {} can be made for {}: {} (SQLSTATE {}); its rows go to the \
                         default partition, or become dead letters",
                        table.display(),
                        bucket::text(start),
                        error.message,
                        error.code
                    );
                    session.execute("ROLLBACK TO SAVEPOINT partition").await?;
                    blocked.push(start);
                }
                Err(error) => return Err(error),
            }
        }
        let found = find(&session.connection, table.oid).await?;
        failpoint!("partition.making");
        session.execute("COMMIT").await?;
        self.note(&found);
        let mut state = self.state();
        state.blocked.extend(blocked.into_iter().map(|start| (start, Instant::now())));
        state.made_ahead_at = bucket::bucket(self.config.by, now_us()).map(|(start, _)| start);
        Ok(())
    }

    fn create_sql(&self, table: &Table, start: i64, end: i64) -> String {
        let suffix = bucket::suffix(self.config.by, start);
        let mut room = 63 - suffix.len();
        while !table.name.is_char_boundary(room.min(table.name.len())) {
            room -= 1;
        }
        let stem = table.name.get(..room).unwrap_or(&table.name);
        let schema = quote_identifier(&table.schema);
        let name = format!("{schema}.{}", quote_identifier(&format!("{stem}{suffix}")));
        let parent = table.quoted();
        // Identities and indexes are the parent's; ATTACH makes the indexes.
        format!(
            "CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS INCLUDING GENERATED \
             INCLUDING CONSTRAINTS INCLUDING STORAGE); \
             ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ('{}') TO ('{}')",
            bucket::text(start),
            bucket::text(end)
        )
    }
}

impl State {
    fn range_of(&self, at: i64) -> Option<&Range<i64>> {
        let behind = self.ranges.partition_point(|range| range.start <= at);
        let range = self.ranges.get(behind.checked_sub(1)?)?;
        range.contains(&at).then_some(range)
    }

    /// Whether a partition may be made that begins then.
    fn is_free(&self, start: i64) -> bool {
        let is_blocked = self.blocked.get(&start).is_some_and(|at| at.elapsed() < BLOCKED_MAX);
        !is_blocked && self.range_of(start).is_none()
    }
}

async fn find(client: &Object, oid: u32) -> Result<Vec<Found>, PgError> {
    let rows = client.query(PARTITIONS_SQL, &[&oid]).await;
    let rows = rows.map_err(|error| PgError::from_driver(&error))?;
    let found = |row: &tokio_postgres::Row| Found {
        schema: row.get(0),
        name: row.get(1),
        is_default: row.get(2),
        is_detaching: row.get(3),
        range: row.get::<_, Option<i64>>(4).unwrap_or(i64::MIN)
            ..row.get::<_, Option<i64>>(5).unwrap_or(i64::MAX),
    };
    Ok(rows.iter().map(found).collect())
}

/// Whether a row was refused because its partition is not there.
pub(super) fn is_missing(error: &PgError) -> bool {
    error.code == "23514" && error.message.starts_with("no partition of relation")
}

/// The present in microseconds since 2000.
fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let us = since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
    us.saturating_sub(POSTGRES_EPOCH_US)
}
