//! Rows that only Postgres can see are wrong: finds them, so that the rest is written.
//!
//! One transaction for a batch, in which each run of rows is copied (and merged) under a savepoint: a
//! run that is refused is rolled back and tried again in smaller ones, down to the row. Postgres goes on
//! in the extended protocol after an error inside COPY: it drops what the client still sends up to its
//! Sync.
//!
//! Rows that are merged are tried in the order of their records, whatever their layout: of the rows of
//! one key, the last that is not refused is to stay.

use std::{collections::BTreeMap, ops::Range};

use bytes::BytesMut;

use super::{
    encode::rows,
    flush::PostgresWriter,
    merge,
    session::Session,
    sqlstate::{Fault, PgError},
    table::PgTarget,
    transaction::{End, begin, finish},
};
use crate::{
    batch::{Batch, Layout, Segment},
    metrics,
    rejection::Reason,
    sink::Flushed,
    stage::Stage,
    watchdog::Heart,
};

/// A batch of which so many rows, and more than half, are refused says more about the table.
const REFUSED_MIN: usize = 100;

/// Deferred constraints are checked for each run, while it is known which rows are in it.
const KEEP: &str = "SET CONSTRAINTS ALL IMMEDIATE; RELEASE SAVEPOINT tidegate; SAVEPOINT tidegate";

/// The rows that Postgres refuses, by segment and place. One row may be found twice: COPY names it, and
/// then an earlier one fails that is only found at the end of a statement.
type Refused = BTreeMap<(usize, usize), PgError>;

impl PostgresWriter {
    /// Writes one batch; a row that Postgres refuses leaves it as a dead letter. Without the records behind
    /// the rows, that is an error.
    pub(super) async fn isolate(
        &mut self,
        target: &PgTarget,
        flushed: &mut Flushed,
        heart: &Heart,
    ) -> Result<(), PgError> {
        let mut session = self.session().await?;
        let mut end = End::default();
        let result = self.write_rest(&mut session, target, flushed, &mut end, heart).await;
        self.conclude(session, end, &mut [flushed], result)
    }

    async fn write_rest(
        &self,
        session: &mut Session,
        target: &PgTarget,
        flushed: &mut Flushed,
        end: &mut End,
        heart: &Heart,
    ) -> Result<(), PgError> {
        self.clock.enter(Stage::Copy);
        session.prepare_stage(target).await?;
        session.execute(&format!("{}; SAVEPOINT tidegate", begin(target))).await?;
        let (total, is_kept) = (flushed.batch.rows() as usize, flushed.batch.is_kept());
        // Whatever stands for another here, Postgres tells by itself.
        flushed.batch.coalesced = 0;
        let mut refused = Refused::new();
        for sequence in sequences(&flushed.batch, target.merge.is_some()) {
            let mut runs = Runs::new(sequence.len());
            while let Some(run) = runs.next() {
                heart.beat();
                session.restart_deadline(self.patience);
                let rows = &sequence[run.clone()];
                let error = match try_run(session, target, &flushed.batch, rows).await {
                    Ok(()) => {
                        // A row that was refused for an earlier one's sake (a key that both had)
                        // gets in when that one does not.
                        rows.iter().for_each(|row| drop(refused.remove(&row.place())));
                        runs.taken();
                        continue;
                    }
                    Err(error) if error.fault == Fault::Row && is_kept => error,
                    Err(error) => return Err(error),
                };
                session.execute("ROLLBACK TO SAVEPOINT tidegate").await?;
                // The lines of a staging table are of one layout, and not those of the run.
                let named = named_row(&error, &run).filter(|_| target.merge.is_none());
                if let Some(row) = runs.refused(named) {
                    refused.insert(sequence[row].place(), error.clone());
                    check_share(refused.len(), total, &error)?;
                }
            }
        }
        if !refused.is_empty() {
            // Rows for other types are refused as well: they are not at fault, and no letter may leave.
            session.restart_deadline(self.patience);
            session.hold_types(target).await?;
        }
        // From behind: the places of the others stay as they are.
        for ((segment, row), error) in refused.into_iter().rev() {
            set_aside(&mut flushed.batch, segment, row, &error);
        }
        session.restart_deadline(self.patience);
        finish(session, target, &mut [flushed], end, &self.clock).await
    }
}

/// One row of a batch.
struct Row {
    segment: usize,
    row: usize,
    bytes: Range<usize>,
}

impl Row {
    fn place(&self) -> (usize, usize) {
        (self.segment, self.row)
    }
}

/// The rows of a batch in the order in which they are tried: one layout after the other, or all of them
/// as their records came.
fn sequences(batch: &Batch, is_merged: bool) -> Vec<Vec<Row>> {
    let of_segment = |(segment, Segment { bytes, .. }): (usize, &Segment)| {
        let row = |(row, bytes)| Row { segment, row, bytes };
        rows(bytes).enumerate().map(row).collect::<Vec<_>>()
    };
    let mut sequences: Vec<Vec<Row>> = batch.segments.iter().enumerate().map(of_segment).collect();
    if is_merged {
        let mut all: Vec<Row> = sequences.drain(..).flatten().collect();
        all.sort_by_key(|row| merge::order(&batch.segments[row.segment].bytes[row.bytes.clone()]));
        sequences.push(all);
    }
    sequences
}

/// Copies the rows of a run, and merges them; keeps them if nothing refuses them.
async fn try_run(
    session: &mut Session,
    target: &PgTarget,
    batch: &Batch,
    run: &[Row],
) -> Result<(), PgError> {
    let mut layouts: BTreeMap<Layout, (BytesMut, u64)> = BTreeMap::new();
    for row in run {
        let segment = &batch.segments[row.segment];
        let (bytes, count) = layouts.entry(segment.layout).or_default();
        bytes.extend_from_slice(&segment.bytes[row.bytes.clone()]);
        *count += 1;
    }
    let deletes = layouts.contains_key(&Layout::DELETE);
    // What an earlier run has copied and not merged was rolled back.
    session.copied = 0;
    for (layout, (bytes, count)) in layouts {
        session.copy(target, layout, &[bytes.freeze()], count, None).await?;
    }
    session.merge(target, deletes, false).await?;
    match &target.merge {
        Some(merge) => session.execute(&format!("{}; {KEEP}", merge.clear_sql())).await,
        None => session.execute(KEEP).await,
    }
}

/// More than half of a batch is refused: not the rows are at fault, but the table. A partition is
/// missing, or a new column must not be NULL.
fn check_share(refused: usize, total: usize, last: &PgError) -> Result<(), PgError> {
    if refused < REFUSED_MIN || refused * 2 <= total {
        return Ok(());
    }
    let message =
        format!("Postgres refuses {refused} of {total} rows, the last with: {}", last.message);
    Err(PgError { fault: Fault::Config, message, ..last.clone() })
}

fn set_aside(batch: &mut Batch, segment: usize, row: usize, error: &PgError) {
    let Some(range) = batch.segments.get(segment).and_then(|s| rows(&s.bytes).nth(row)) else {
        return;
    };
    metrics::dead_letter(Reason::Refused);
    batch.refuse(segment, row, range, &error.code, &error.message);
}

/// The row of a run that COPY's error names. Rows are inserted in groups, and the line of an error
/// from there (a row too large for its page) is where COPY has got to, not the row's.
fn named_row(error: &PgError, run: &Range<usize>) -> Option<usize> {
    let row = run.start + error.copy_line?.checked_sub(1)?;
    (error.code != "54000" && run.contains(&row)).then_some(row)
}

/// Which rows of a segment to try next: all of them at first, fewer after each refusal, more again
/// after each success. So much is copied twice as there is between two rows at fault.
struct Runs {
    next: usize,
    /// The run that is being tried ends here.
    tried: usize,
    /// A row at fault that lies ahead.
    fault: Option<usize>,
    stride: usize,
    rows: usize,
}

impl Runs {
    fn new(rows: usize) -> Self {
        Self { next: 0, tried: 0, fault: None, stride: rows, rows }
    }

    fn next(&mut self) -> Option<Range<usize>> {
        if self.fault == Some(self.next) {
            self.next += 1;
            self.fault = None;
        }
        self.tried = self.fault.unwrap_or(self.rows).min(self.next + self.stride);
        (self.next < self.rows).then_some(self.next..self.tried)
    }

    /// The run was written.
    fn taken(&mut self) {
        self.next = self.tried;
        self.stride = (self.stride * 2).min(self.rows);
    }

    /// The run was refused for the row `named`, or for one that is yet to be found. Gives the row at
    /// fault, if it is known now.
    fn refused(&mut self, named: Option<usize>) -> Option<usize> {
        let length = self.tried - self.next;
        let row = named.or_else(|| (length == 1).then_some(self.next));
        match row {
            Some(row) => {
                self.fault = Some(row);
                self.stride = (row - self.next).max(1);
            }
            None => self.stride = length / 2,
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Plays Postgres: COPY names the first row of a run that it refuses itself (it is bad, or has the
    /// key of an earlier one); what only fails at the end of the statement is not named, and comes
    /// later. Rows have the same key if they are equal modulo `keys`.
    fn play(
        rows: usize,
        named: &BTreeSet<usize>,
        unnamed: &BTreeSet<usize>,
        keys: usize,
    ) -> (Vec<usize>, BTreeSet<usize>, usize) {
        let (mut written, mut refused, mut copied) = (Vec::<usize>::new(), BTreeSet::new(), 0);
        let mut runs = Runs::new(rows);
        while let Some(run) = runs.next() {
            copied += run.len();
            let mut taken: BTreeSet<usize> = written.iter().map(|row| row % keys).collect();
            let name = run.clone().find(|row| named.contains(row) || !taken.insert(row % keys));
            if name.is_none() && unnamed.range(run.clone()).next().is_none() {
                refused.retain(|row| !run.contains(row));
                written.extend(run);
                runs.taken();
            } else {
                refused.extend(runs.refused(name));
            }
        }
        (written, refused, copied)
    }

    proptest! {
        #[test]
        fn just_the_bad_rows_are_refused_and_every_other_is_written_once_in_order(
            rows in 0usize..400,
            named in prop::collection::btree_set(0usize..400, 0..60),
            unnamed in prop::collection::btree_set(0usize..400, 0..20),
            keys in prop_oneof![Just(1000usize), 1usize..400],
        ) {
            let inside = |bad: BTreeSet<usize>| bad.into_iter().filter(|row| *row < rows).collect();
            let (named, unnamed): (BTreeSet<usize>, BTreeSet<usize>) = (inside(named), inside(unnamed));
            let (written, refused, _) = play(rows, &named, &unnamed, keys);
            // The first good row of each key gets in.
            let mut taken = BTreeSet::new();
            let is_good = |row: &usize| !named.contains(row) && !unnamed.contains(row);
            let good: Vec<usize> =
                (0..rows).filter(|row| is_good(row) && taken.insert(row % keys)).collect();
            prop_assert_eq!(&written, &good);
            prop_assert_eq!(refused, (0..rows).filter(|row| !good.contains(row)).collect::<BTreeSet<_>>());
        }
    }

    #[test]
    fn a_few_bad_rows_cost_a_few_passes_and_not_a_pass_each() {
        let bad: BTreeSet<usize> = (0..20_000).step_by(100).collect();
        let (written, refused, copied) = play(20_000, &bad, &BTreeSet::new(), 20_000);
        assert_eq!((written.len(), refused.len()), (19_800, 200));
        assert!(copied < 8 * 20_000, "{copied} rows were sent");
    }
}
