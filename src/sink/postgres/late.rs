//! Rows that come after the detailed rows of their time are gone: they become dead letters, as the summary
//! of that time cannot be made anew any more.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::{
    sqlstate::PgError,
    table::PgTarget,
    touched::{Rollup, times},
};
use crate::{
    metrics,
    rejection::{Reason, Rejection},
    sink::Flushed,
};

/// The class of an outage that says: some rows are too late, which was not known before.
pub(super) const LATE: &str = "too_late";

/// Since when there are detailed rows, by time column, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Late {
    since: Mutex<BTreeMap<String, Since>>,
}

#[derive(Clone, Debug)]
struct Since {
    rollup: String,
    /// Since 2000.
    second: i64,
    shown: String,
}

impl Late {
    /// Notes what a rollup says, for the next try.
    pub(super) fn note(&self, rollup: &Rollup) -> PgError {
        let Rollup { name, time_column, since, shown_since, .. } = rollup;
        let told = Since { rollup: name.clone(), second: *since, shown: shown_since.clone() };
        let mut known = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(time_column.clone()).or_insert_with(|| told.clone());
        if known.second < told.second {
            *known = told;
        }
        PgError::outage(
            LATE,
            format!("rows are before {shown_since}, which rollup {name} tells now"),
        )
    }

    /// Takes rows that are too late out of the batches.
    pub(super) fn set_aside(&self, target: &PgTarget, batches: &mut [&mut Flushed]) {
        let known = self.since.lock().unwrap_or_else(PoisonError::into_inner);
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
                for index in 0..flushed.batch.segments.len() {
                    let segment = &flushed.batch.segments[index];
                    let Some(times) = times(target, segment, column) else { continue };
                    let late: Vec<_> = times
                        .filter(|(.., second)| second.is_some_and(|second| second < since.second))
                        .map(|(row, range, _)| (row, range, rejection.clone()))
                        .collect();
                    late.iter().for_each(|_| metrics::dead_letter(Reason::TooLate));
                    flushed.batch.set_aside(index, late);
                }
            }
        }
    }
}
