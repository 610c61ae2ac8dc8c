//! Rows that only Postgres can see are wrong: finds them, so that the rest is written.

use bytes::Bytes;

use super::{
    encode::rows,
    flush::{Advance, Failure, PostgresWriter},
    sqlstate::{Fault, PgError},
    table::PgTarget,
};
use crate::{batch::Batch, metrics, rejection::Reason, sink::Flushed, watchdog::Heart};

/// A batch of which so many rows, and more than half, are refused says more about the table.
const REFUSED_MIN: u64 = 100;

impl PostgresWriter {
    /// Writes one batch; a row that Postgres refuses leaves it as a dead letter.
    pub(super) async fn isolate(
        &mut self,
        target: &PgTarget,
        flushed: &mut Flushed,
        heart: &Heart,
    ) -> Result<(), PgError> {
        let rows_before = flushed.batch.rows();
        loop {
            heart.beat();
            let failure = match self.attempt(target, &mut [&mut *flushed]).await {
                Ok(Advance::All) => return Ok(()),
                Ok(Advance::Some) => {
                    self.in_doubt = true;
                    return Ok(());
                }
                Err(failure) => failure,
            };
            if failure.error.fault != Fault::Row {
                self.in_doubt |= failure.in_doubt;
                return Err(failure.error);
            }
            let refused = rows_before - flushed.batch.rows();
            if refused >= REFUSED_MIN && refused * 2 > rows_before {
                // Not the rows are at fault, but the table: a partition that is missing, a new
                // column that must not be NULL.
                let message = format!(
                    "Postgres refuses {refused} of {rows_before} rows, the last with: {}",
                    failure.error.message
                );
                return Err(PgError { fault: Fault::Config, message, ..failure.error });
            }
            let place = match named_row(&failure, &flushed.batch) {
                Some(place) => Some(place),
                // A trigger or a constraint at the end: no line tells the row.
                None => self.search(target, &mut flushed.batch, heart).await?,
            };
            // What no row repeats was not a row's fault: a parent that came in the meantime, say.
            let Some((segment, row)) = place else {
                return Err(PgError { fault: Fault::Outage, ..failure.error });
            };
            let range = flushed.batch.segments.get(segment).and_then(|s| rows(&s.bytes).nth(row));
            let Some(range) = range else { return Err(failure.error) };
            let PgError { code, message, .. } = &failure.error;
            metrics::dead_letter(Reason::Refused);
            flushed.batch.refuse(segment, row, range, code, message);
        }
    }

    /// Finds a row that Postgres refuses without saying which: the last row of the shortest run of
    /// rows, from the first on, that fails. (Halving would miss a row that only fails beside
    /// another.) `None` if that run does not fail again: then nothing says that it was this row.
    async fn search(
        &mut self,
        target: &PgTarget,
        batch: &mut Batch,
        heart: &Heart,
    ) -> Result<Option<(usize, usize)>, PgError> {
        let total = batch.rows() as usize;
        let (mut passes, mut fails) = (0, total);
        while fails - passes > 1 {
            heart.beat();
            let middle = passes + (fails - passes) / 2;
            match self.probe(target, batch, middle).await {
                Ok(()) => passes = middle,
                Err(Failure { error, .. }) if error.fault == Fault::Row => fails = middle,
                Err(failure) => return Err(failure.error),
            }
        }
        match self.probe(target, batch, fails).await {
            Ok(()) => return Ok(None),
            Err(Failure { error, .. }) if error.fault == Fault::Row => {}
            Err(failure) => return Err(failure.error),
        }
        let mut row = fails.saturating_sub(1);
        for (index, segment) in batch.segments.iter().enumerate() {
            if row < segment.rows as usize {
                return Ok(Some((index, row)));
            }
            row -= segment.rows as usize;
        }
        Ok(None)
    }

    /// Tries the first `count` rows and rolls them back.
    async fn probe(
        &mut self,
        target: &PgTarget,
        batch: &mut Batch,
        count: usize,
    ) -> Result<(), Failure> {
        let mut left = count;
        let mut session = self.session().await?;
        let tried = async {
            session.execute("BEGIN").await?;
            for segment in &batch.segments {
                let take = left.min(segment.rows as usize);
                left -= take;
                if take > 0 {
                    let end = rows(&segment.bytes).nth(take - 1).map_or(0, |range| range.end);
                    let bytes = Bytes::copy_from_slice(&segment.bytes[..end]);
                    session.copy(target, segment.layout, &[bytes], take as u64).await?;
                }
            }
            session.execute("SET CONSTRAINTS ALL IMMEDIATE").await?;
            session.execute("ROLLBACK").await
        };
        let result: Result<(), PgError> = tried.await;
        self.give_back(session, result.is_ok());
        Ok(result?)
    }
}

/// The row that COPY's error names, as segment and number. Rows are inserted in groups, and the line
/// of an error from there (a row too large for its page) is where COPY has got to, not the row's.
fn named_row(failure: &Failure, batch: &Batch) -> Option<(usize, usize)> {
    let (segment, line) = (failure.segment?, failure.error.copy_line?);
    let rows = batch.segments.get(segment)?.rows as usize;
    (failure.error.code != "54000" && (1..=rows).contains(&line)).then(|| (segment, line - 1))
}
