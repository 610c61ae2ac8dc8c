//! Rows that come after the detailed rows of their time are gone. The summary of that time cannot be made
//! anew any more: they are added to it, where all rollups of the table want that, and are dead letters
//! otherwise.
//!
//! What is too late is known for certain in the transaction alone, behind the rows. So it is noted there and
//! the transaction rolled back. Before rows are taken out for what is noted, the rollups are asked again:
//! one may have been dropped, or made anew, and a dead letter does not become a row any more. Where others
//! would refuse the rows before (a trigger, a partition that is not there), the rollups are asked as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::types::ToSql;

use super::{
    catalog::quote_identifier,
    encode::{HEADER, TRAILER},
    session::Session,
    sqlstate::{Fault, PgError},
    table::PgTarget,
    touched::{FIRST_SECOND, Rollup, times},
};
use crate::{
    batch::Segment,
    metrics,
    rejection::{Reason, Rejection},
    rollup::{LATE_LOCK, LATE_TABLE},
    sink::Flushed,
};

/// The class of an outage that says: some rows are too late, or are not, which was not known before.
pub(super) const LATE: &str = "too_late";
/// The class of an outage that says: the summaries do not take the rows that are too late.
pub(super) const REFUSED: &str = "too_late_refused";

const LOCK_SQL: &str = "SELECT pg_advisory_xact_lock($1, hashtext($2))";

/// What the rollups said is believed for so long.
const BELIEVED: Duration = Duration::from_secs(10);

/// What the rollups of a table said last.
#[derive(Debug, Default)]
pub(super) struct Late {
    said: Mutex<Said>,
}

#[derive(Clone, Debug, Default)]
struct Said {
    at: Option<Instant>,
    /// Since when there are detailed rows, by time column.
    since: BTreeMap<String, Since>,
}

#[derive(Clone, Debug)]
struct Since {
    /// The rollup whose detailed rows begin last.
    rollup: String,
    /// Since 2000.
    second: i64,
    shown: String,
    /// What is earlier is too late for all rollups of the table, and they want it added.
    merged: Option<i64>,
}

impl Since {
    /// What the rollups of a table, of which these are all, say of a time column.
    fn of(column: &str, all: &[Rollup]) -> Option<Self> {
        let says = |rollup: &&Rollup| rollup.time_column == column && rollup.since > i64::MIN;
        let newest = all.iter().filter(says).max_by_key(|rollup| rollup.since)?;
        Some(Self {
            rollup: newest.name.clone(),
            second: newest.since,
            shown: newest.shown_since.clone(),
            merged: merged_before(all),
        })
    }
}

impl Late {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the rollups of the table say.
    pub(super) fn note(&self, all: &[Rollup]) {
        let columns = all.iter().map(|rollup| &rollup.time_column);
        let since = columns.filter_map(|column| Some((column.clone(), Since::of(column, all)?)));
        *self.said() = Said { at: Some(Instant::now()), since: since.collect() };
    }

    /// Whether the rollups are to be asked: a row is too late by what they said, or that is old.
    pub(super) fn must_ask(&self, target: &PgTarget, batches: &mut [&mut Flushed]) -> bool {
        batches.iter_mut().for_each(|flushed| flushed.batch.take_late_back());
        let is_old = self.said().at.is_none_or(|at| at.elapsed() > BELIEVED);
        is_old || self.concerns(target, batches)
    }

    /// Whether a row is too late by what the rollups said.
    pub(super) fn concerns(&self, target: &PgTarget, batches: &[&mut Flushed]) -> bool {
        let said = self.said().clone();
        let mut segments = batches.iter().flat_map(|flushed| &flushed.batch.segments);
        segments.any(|segment| {
            let mut columns = said.since.iter();
            columns.any(|(column, since)| has_earlier(target, segment, column, since.second))
        })
    }

    /// Takes rows that are too late out of the batches; or sets the outcome of one whose records are not there.
    pub(super) fn set_aside(&self, target: &PgTarget, batches: &mut [&mut Flushed]) {
        let said = self.said().clone();
        for (column, since) in said.since {
            let rejection = Rejection {
                reason: Reason::TooLate,
                column: Some(column.clone()),
                message: format!(
                    "the row's time is before {}, since when rollup {} has its detailed rows",
                    since.shown, since.rollup
                ),
            };
            for flushed in batches.iter_mut() {
                let is_late =
                    |segment: &Segment| has_earlier(target, segment, &column, since.second);
                if !flushed.batch.is_kept() && flushed.batch.segments.iter().any(is_late) {
                    target.lineage.needs_records(flushed);
                    continue;
                }
                let batch = &mut flushed.batch;
                let takes = !batch.late_is_refused && target.merge.is_none();
                let merged = since.merged.filter(|_| takes).unwrap_or(i64::MIN);
                for index in 0..batch.segments.len() {
                    let added: Vec<_> =
                        earlier(target, &batch.segments[index], &column, merged).collect();
                    batch.set_late(index, &added);
                    let rest: Vec<_> =
                        earlier(target, &batch.segments[index], &column, since.second)
                            .map(|(row, range)| (row, range, rejection.clone()))
                            .collect();
                    rest.iter().for_each(|_| metrics::dead_letter(Reason::TooLate));
                    batch.set_aside(index, rest);
                }
            }
        }
    }
}

/// Before which second rows are too late for all rollups of a table, and to be added to them.
fn merged_before(rollups: &[Rollup]) -> Option<i64> {
    let all = rollups.iter().all(|rollup| rollup.late_sql.is_some());
    rollups.iter().map(|rollup| rollup.since).min().filter(|_| all)
}

/// The rows of a segment whose time is earlier, by place.
fn earlier<'a>(
    target: &PgTarget,
    segment: &'a Segment,
    column: &str,
    end: i64,
) -> impl Iterator<Item = (usize, Range<usize>)> + use<'a> {
    let times = times(target, segment, column).into_iter().flatten();
    // What has no bucket is in no summary, and stays in the table.
    let is_earlier =
        move |second: Option<i64>| second.is_some_and(|s| (FIRST_SECOND..end).contains(&s));
    times.filter_map(move |(row, range, at)| is_earlier(at).then_some((row, range)))
}

fn has_earlier(target: &PgTarget, segment: &Segment, column: &str, end: i64) -> bool {
    earlier(target, segment, column, end).next().is_some()
}

/// Whether all rows of a segment are too late for all rollups of their table, which want them added.
fn is_late(target: &PgTarget, segment: &Segment, rollups: &[Rollup]) -> bool {
    let Some(end) = merged_before(rollups) else { return false };
    let rows = rollups.iter().flat_map(|r| earlier(target, segment, &r.time_column, end));
    rows.map(|(row, _)| row).collect::<BTreeSet<_>>().len() == segment.rows as usize
}

impl Session {
    /// Adds rows that are too late to the summaries of their table.
    pub(super) async fn add_late(
        &self,
        target: &PgTarget,
        batches: &[&mut Flushed],
        rollups: &[Rollup],
    ) -> Result<(), PgError> {
        let late: Vec<&Segment> = batches.iter().flat_map(|flushed| &flushed.batch.late).collect();
        if late.is_empty() {
            return Ok(());
        }
        if !late.iter().all(|segment| is_late(target, segment, rollups)) {
            let message = "the rollups that were to take late rows are others now";
            return Err(PgError::outage(LATE, message));
        }
        let added = self.add_segments(target, &late, rollups).await;
        // It is not known which row it was, and there are none in the table to look for it.
        added.map_err(|error| match error.fault {
            Fault::Row => PgError::outage(REFUSED, error.message),
            _ => error,
        })
    }

    async fn add_segments(
        &self,
        target: &PgTarget,
        late: &[&Segment],
        rollups: &[Rollup],
    ) -> Result<(), PgError> {
        let table = target.table.quoted();
        self.execute(&format!(
            "CREATE TEMP TABLE tidegate_late (LIKE {table} INCLUDING DEFAULTS INCLUDING GENERATED \
             INCLUDING IDENTITY) ON COMMIT DROP"
        ))
        .await?;
        for segment in late {
            let columns = target.columns_for(segment.layout);
            let columns: Vec<_> = columns.map(|column| quote_identifier(&column.name)).collect();
            let columns = columns.join(", ");
            let sql = format!("COPY {LATE_TABLE} ({columns}) FROM STDIN (FORMAT binary)");
            let rows = Bytes::copy_from_slice(&segment.bytes);
            let stream = async {
                let sink = self.connection.copy_in(sql.as_str()).await?;
                let mut sink = std::pin::pin!(sink);
                for piece in [Bytes::from_static(&HEADER), rows, Bytes::from_static(&TRAILER)] {
                    sink.feed(piece).await?;
                }
                sink.finish().await
            };
            self.within(stream).await?;
        }
        for rollup in rollups {
            let parameters: [&(dyn ToSql + Sync); 2] = [&LATE_LOCK, &rollup.name];
            self.within(self.connection.query(LOCK_SQL, &parameters)).await?;
            if let Some(sql) = &rollup.late_sql {
                self.execute(sql).await?;
            }
        }
        Ok(())
    }
}
