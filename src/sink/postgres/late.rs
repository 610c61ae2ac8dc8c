//! Rows that come after the detailed rows of their time are gone. The summary of that time cannot be made
//! anew any more: they are added to it, where all rollups of the table want that, and are dead letters
//! otherwise.
//!
//! What is too late is known for certain in the transaction alone, behind the rows. So it is noted there,
//! the transaction rolled back, and what is noted decides for the next one, which checks it.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Mutex, PoisonError},
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
    touched::{Rollup, times},
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

/// Since when there are detailed rows, by time column, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Late {
    since: Mutex<BTreeMap<String, Since>>,
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

impl Late {
    /// Notes what a rollup says, among all of its table, for the next try.
    pub(super) fn note(&self, rollup: &Rollup, all: &[Rollup]) -> PgError {
        let Rollup { name, time_column, since, shown_since, .. } = rollup;
        let told = Since {
            rollup: name.clone(),
            second: *since,
            shown: shown_since.clone(),
            merged: merged_before(all),
        };
        let mut known = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(time_column.clone()).or_insert_with(|| told.clone());
        if known.second <= told.second {
            *known = told;
        }
        PgError::outage(
            LATE,
            format!("rows are before {shown_since}, which rollup {name} tells now"),
        )
    }

    /// Takes rows that are too late out of the batches; or sets the outcome of one whose records are not there.
    pub(super) fn set_aside(&self, target: &PgTarget, batches: &mut [&mut Flushed]) {
        let known = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        batches.iter_mut().for_each(|flushed| flushed.batch.take_late_back());
        for (column, since) in known.iter() {
            let rejection = Rejection {
                reason: Reason::TooLate,
                column: Some(column.clone()),
                message: format!(
                    "the row's time is before {}, since when rollup {} has its detailed rows",
                    since.shown, since.rollup
                ),
            };
            for flushed in batches.iter_mut() {
                let is_late = |s: &Segment| !earlier(target, s, column, since.second).is_empty();
                if !flushed.batch.is_kept() && flushed.batch.segments.iter().any(is_late) {
                    target.lineage.needs_records(flushed);
                    continue;
                }
                let batch = &mut flushed.batch;
                let takes = !batch.late_is_refused && target.merge.is_none();
                let merged = since.merged.filter(|_| takes).unwrap_or(i64::MIN);
                for index in 0..batch.segments.len() {
                    let added = earlier(target, &batch.segments[index], column, merged);
                    batch.set_late(index, &added);
                    let rest = earlier(target, &batch.segments[index], column, since.second);
                    rest.iter().for_each(|_| metrics::dead_letter(Reason::TooLate));
                    let letter = |(row, range)| (row, range, rejection.clone());
                    batch.set_aside(index, rest.into_iter().map(letter).collect());
                }
            }
        }
    }

    /// Forgets what no rollup of the table says any more: it was dropped, or made anew where there are older rows.
    pub(super) fn compare(&self, all: &[Rollup]) {
        let mut known = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|column, since| {
            let says =
                |rollup: &Rollup| rollup.time_column == *column && rollup.since >= since.second;
            all.iter().any(says)
        });
    }

    /// What is noted is not so any more.
    fn forget(&self) -> PgError {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).clear();
        PgError::outage(LATE, "the rollups that were to take late rows are others now")
    }

    /// Before which second rows are added to summaries, as far as it is known.
    fn merged(&self) -> Option<i64> {
        let known = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().filter_map(|since| since.merged).max()
    }
}

/// Before which second rows are too late for all rollups of a table, and to be added to them.
fn merged_before(rollups: &[Rollup]) -> Option<i64> {
    let all = rollups.iter().all(|rollup| rollup.late_sql.is_some());
    rollups.iter().map(|rollup| rollup.since).min().filter(|_| all)
}

/// The rows of a segment whose time is earlier, by place.
fn earlier(
    target: &PgTarget,
    segment: &Segment,
    column: &str,
    end: i64,
) -> Vec<(usize, Range<usize>)> {
    let times = times(target, segment, column).into_iter().flatten();
    let is_earlier = |second: Option<i64>| second.is_some_and(|second| second < end);
    times.filter_map(|(row, range, at)| is_earlier(at).then_some((row, range))).collect()
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
        let known = target.lineage.late.merged();
        if known.is_none() || merged_before(rollups) < known {
            return Err(target.lineage.late.forget());
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
        // Perhaps no row of the transaction is in the table itself.
        self.hold_types(target).await?;
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
