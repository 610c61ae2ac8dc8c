//! The writer of one thread: a write set becomes durable, or it is known why not.
//!
//! Rests on this fact of the driver: a future that was dropped does not unsend what it sent. Past COMMIT,
//! any failure is in doubt and is resolved by reading the checkpoint under its lock, which waits for
//! the old backend.

use std::{sync::Arc, time::Duration};

use tokio_postgres::{Row, types::ToSql};

use super::{
    Shared, catalog, checkpoint, connect, late, partitions,
    session::Session,
    sqlstate::{Fault, PgError},
    table::PgTarget,
    transaction::{End, transact},
};
use crate::{
    batch::Batch,
    error::{Error, ErrorKind},
    lane::{Loss, Outcome},
    metrics,
    sink::{Flushed, Standing, TargetId, WriteError, Writer},
    stage::{Stage, ThreadClock},
    watchdog::Heart,
};

/// The deadline of one transaction. The server's own timeouts do not end a COPY that waits for the
/// client, nor do they help when the server is what has stopped.
const PATIENCE_MIN: Duration = Duration::from_secs(30);
const PATIENCE_MAX: Duration = Duration::from_secs(900);
const BEAT_INTERVAL: Duration = Duration::from_secs(5);

const RESOLVE_SQL: &str = "\
    SELECT checkpoint_id, next_offset, epoch FROM tidegate.checkpoints \
    WHERE checkpoint_id = ANY($1) ORDER BY checkpoint_id FOR UPDATE";

/// Why the checkpoints are to be read before anything else is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// COMMIT got no answer: the transaction may have happened.
    Unanswered,
    /// The check-and-set did not find every lane where this process left it.
    Unmatched,
}

/// The writer of one thread.
pub(crate) struct PostgresWriter {
    shared: Arc<Shared>,
    pub(super) clock: Arc<ThreadClock>,
    session: Option<Session>,
    /// How long a transaction may take at present.
    pub(super) patience: Duration,
    doubt: Option<Doubt>,
}

impl Writer for PostgresWriter {
    fn write(
        &mut self,
        target: TargetId,
        batches: &mut [Flushed],
        heart: &Heart,
    ) -> Result<(), WriteError> {
        let Some(target) = self.shared.target(target) else {
            return Err(WriteError::Halt(Error::software(
                "a batch for a target that was not opened",
            )));
        };
        let runtime = self.shared.runtime.clone();
        let written = self.write_set(&target, batches, heart);
        let mut result = runtime.block_on(while_beating(heart, written));
        if let Err(error) = &result
            && self.may_be_stale(error)
        {
            match runtime.block_on(while_beating(heart, self.is_stale(&target))) {
                Ok(true) => {
                    for flushed in batches.iter_mut().filter(|flushed| flushed.outcome.is_none()) {
                        if target.lineage.needs_records(flushed) {
                            flushed.outcome = Some(Outcome::Stale);
                        }
                    }
                    result = Ok(());
                }
                // What the error means is not known yet: both are tried again.
                Err(away) if away.fault == Fault::Outage => result = Err(away),
                Ok(false) | Err(_) => {}
            }
        }
        // Silence may mean a server that is gone, or rows that take long (a trigger, an index): only
        // more time can tell, and the rows would never get in with less.
        self.patience = match &result {
            Err(error) if error.code == "timeout" => (self.patience * 2).min(PATIENCE_MAX),
            Err(_) => self.patience,
            Ok(()) => PATIENCE_MIN,
        };
        result.map_err(|error| self.explain(&target, error))
    }
}

impl PostgresWriter {
    pub(crate) fn new(shared: Arc<Shared>, clock: Arc<ThreadClock>) -> Self {
        Self { shared, clock, session: None, patience: PATIENCE_MIN, doubt: None }
    }

    fn explain(&self, target: &PgTarget, error: PgError) -> WriteError {
        let sink = &self.shared.name;
        let table = target.table.display();
        let PgError { code, message, .. } = error;
        let text = format!("sink {sink}, table {table}: {message} (SQLSTATE {code})");
        match error.fault {
            Fault::Outage => WriteError::Outage { class: code, message: text },
            Fault::Permission => WriteError::Halt(Error::new(ErrorKind::Permission, text)),
            Fault::Config => WriteError::Halt(Error::config(format!(
                "{text}; nothing of the batch was written. Mend the table or the configuration and start again"
            ))),
            Fault::Row => WriteError::Halt(Error::software(text)),
        }
    }

    /// Whether nothing was written because of what a column's type was not any more. Where the types of
    /// binary values have become others, COPY reports what it reads in them, or an internal error
    /// (`jsonb` has a version).
    fn may_be_stale(&self, error: &PgError) -> bool {
        self.doubt.is_none() && (error.fault == Fault::Config || error.code == "XX000")
    }

    /// Whether the columns are all there, but have other types than the rows were encoded for.
    async fn is_stale(&mut self, target: &PgTarget) -> Result<bool, PgError> {
        let session = self.session().await?;
        let names = target.column_names();
        let parameters: [&(dyn ToSql + Sync); 2] = [&target.table.quoted(), &names];
        let asked = session.connection.query_one(catalog::STATE_SQL, &parameters);
        let asked = session.within(asked).await;
        self.give_back(session, asked.is_ok());
        let row = asked?;
        let types = row.get::<_, Option<&str>>(1);
        Ok(row.get::<_, i64>(0) == names.len() as i64 && types != Some(target.types.as_str()))
    }

    async fn write_set(
        &mut self,
        target: &PgTarget,
        batches: &mut [Flushed],
        heart: &Heart,
    ) -> Result<(), PgError> {
        let mut has_asked = false;
        loop {
            heart.beat();
            if let Some(doubt) = self.doubt {
                self.resolve(batches, doubt).await?;
                self.doubt = None;
                heart.beat();
            }
            let mut open: Vec<&mut Flushed> =
                batches.iter_mut().filter(|flushed| flushed.outcome.is_none()).collect();
            if open.is_empty() {
                return Ok(());
            }
            if target.lineage.late.must_ask(target, &mut open) {
                self.ask_rollups(target).await?;
                target.lineage.late.set_aside(target, &mut open);
                open.retain(|flushed| flushed.outcome.is_none());
                if open.is_empty() {
                    return Ok(());
                }
            }
            self.make_partitions(target, &mut open).await?;
            heart.beat();
            match self.attempt(target, &mut open).await {
                Err(error) if partitions::is_missing(&error) && self.look_again(target).await? => {}
                // It is known now which.
                Err(error) if error.code == late::LATE => {}
                // One batch at a time: the rows at fault are looked for in their own.
                Err(error) if error.fault == Fault::Row || error.code == late::REFUSED => {
                    // The trigger of a rollup that watches inserts refuses rows that are too late.
                    if !std::mem::replace(&mut has_asked, true) {
                        self.ask_rollups(target).await?;
                        if target.lineage.late.concerns(target, &open) {
                            continue;
                        }
                    }
                    for flushed in open {
                        match self.isolate(target, flushed, heart).await {
                            Err(error) if error.code == late::LATE => {}
                            Err(error) if error.code == late::REFUSED => {
                                tracing::warn!(
                                    table = target.table.display(),
                                    "rows that are too late become dead letters, as a summary refuses one: {}",
                                    error.message
                                );
                                flushed.batch.late_is_refused = true;
                            }
                            Err(error)
                                if error.fault == Fault::Row
                                    && !target.lineage.needs_records(flushed) => {}
                            result => result?,
                        }
                        if self.doubt.is_some() {
                            break;
                        }
                    }
                }
                result => result?,
            }
        }
    }

    /// Makes the partitions that the rows need, before anything is copied.
    async fn make_partitions(
        &mut self,
        target: &PgTarget,
        batches: &mut [&mut Flushed],
    ) -> Result<(), PgError> {
        let Some(partitions) = &target.lineage.partitions else { return Ok(()) };
        let wanted = partitions.sort(target, batches);
        if wanted.is_empty() {
            return Ok(());
        }
        let session = self.session().await?;
        let made = partitions.make(&session, &target.table, &wanted).await;
        self.give_back(session, made.is_ok());
        made
    }

    /// Whether the partitions are others than they were: somebody has detached one.
    async fn look_again(&mut self, target: &PgTarget) -> Result<bool, PgError> {
        let Some(partitions) = &target.lineage.partitions else { return Ok(false) };
        let session = self.session().await?;
        let looked = partitions.look(&session, &target.table).await;
        self.give_back(session, looked.is_ok());
        looked
    }

    /// Asks the rollups since when they have detailed rows.
    async fn ask_rollups(&mut self, target: &PgTarget) -> Result<(), PgError> {
        let session = self.session().await?;
        let asked = async {
            let statements = session.rollup_statements().await?;
            session.rollups(target, &statements).await
        };
        let rollups = asked.await;
        self.give_back(session, rollups.is_ok());
        target.lineage.late.note(&rollups?);
        Ok(())
    }

    /// One transaction for all of `batches`. When it has happened, each has its outcome; when a lane
    /// is not where this process left it, there is a doubt.
    async fn attempt(
        &mut self,
        target: &PgTarget,
        batches: &mut [&mut Flushed],
    ) -> Result<(), PgError> {
        let mut session = self.session().await?;
        let mut end = End::default();
        let result = transact(&mut session, target, batches, &mut end, &self.clock).await;
        self.conclude(session, end, batches, result)
    }

    /// What a transaction that has come to an end means for its batches.
    pub(super) fn conclude(
        &mut self,
        session: Session,
        end: End,
        batches: &mut [&mut Flushed],
        result: Result<(), PgError>,
    ) -> Result<(), PgError> {
        let is_done = result.is_ok() && end == End::Committed;
        if is_done {
            batches.iter_mut().for_each(|flushed| flushed.outcome = Some(Outcome::Durable));
        }
        self.give_back(session, is_done);
        self.doubt = match (&result, end) {
            (Ok(()), End::Unmatched) => Some(Doubt::Unmatched),
            // A constraint that fails at COMMIT is an answer; silence is not.
            (Err(error), End::Committing) if error.fault != Fault::Row => Some(Doubt::Unanswered),
            _ => None,
        };
        result
    }

    /// Reads what became of batches in doubt, and sets the outcome of those that need not or must not
    /// be written again.
    async fn resolve(&mut self, batches: &mut [Flushed], doubt: Doubt) -> Result<(), PgError> {
        let claims: Vec<i64> =
            batches.iter().filter_map(|f| f.lane.claim.map(|claim| claim.checkpoint_id)).collect();
        if claims.is_empty() {
            // At-least-once keeps nothing to look at: the batches are written again.
            metrics::in_doubt("unknown", batches.len());
            return Ok(());
        }
        let session = self.session().await?;
        let asked = async {
            session.execute("BEGIN").await?;
            let rows = session.within(session.connection.query(RESOLVE_SQL, &[&claims])).await?;
            session.execute("COMMIT").await?;
            Ok(rows)
        };
        let result: Result<Vec<Row>, PgError> = asked.await;
        self.give_back(session, result.is_ok());
        let rows = result?;
        for flushed in batches.iter_mut().filter(|flushed| flushed.outcome.is_none()) {
            let Some(claim) = flushed.lane.claim else { continue };
            let standing = checkpoint::standing(&rows, claim.checkpoint_id);
            flushed.outcome = judge(standing, claim.epoch, &flushed.batch)?;
            if doubt == Doubt::Unanswered {
                metrics::in_doubt(found(flushed.outcome), 1);
            }
        }
        Ok(())
    }

    pub(super) async fn session(&mut self) -> Result<Session, PgError> {
        if let Some(mut session) = self.session.take() {
            session.restart_deadline(self.patience);
            return Ok(session);
        }
        self.clock.enter(Stage::Connect);
        let connection = connect::checkout(&self.shared.pool).await;
        self.clock.enter(Stage::Copy);
        Ok(Session::new(connection?, self.patience))
    }

    fn give_back(&mut self, session: Session, healthy: bool) {
        if healthy {
            self.session = Some(session);
        } else {
            connect::discard(session.connection);
        }
    }
}

/// What a batch in doubt has become, by the checkpoint of its lane; `None` means that it was not
/// written and may be.
fn judge(
    standing: Option<Standing>,
    epoch: i64,
    batch: &Batch,
) -> Result<Option<Outcome>, PgError> {
    let stands = match standing {
        Some(standing) if standing.epoch > epoch => {
            return Ok(Some(Outcome::Lost(Loss::Fenced)));
        }
        // Not even the claim is in this database.
        Some(standing) if standing.epoch < epoch || standing.next_offset < batch.begin => {
            return Ok(Some(Outcome::Lost(Loss::Regressed)));
        }
        Some(standing) if standing.next_offset == batch.end => return Ok(Some(Outcome::Durable)),
        Some(standing) if standing.next_offset == batch.begin => return Ok(None),
        Some(standing) => format!("stands at {}", standing.next_offset),
        None => "is gone".to_owned(),
    };
    Err(PgError {
        fault: Fault::Config,
        code: "checkpoint".to_owned(),
        message: format!(
            "the checkpoint {stands} while this process has written up to {}: somebody else writes \
             it, or a database from before this lane was restored. The rows in the table tell which \
             offset is next (see \"Positions\" in docs/delivery.md)",
            batch.begin
        ),
        copy_line: None,
    })
}

/// The metric label of what was found.
fn found(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Durable) => "committed",
        Some(Outcome::Lost(loss)) => loss.as_str(),
        Some(Outcome::Stale | Outcome::Discarded) | None => "not_committed",
    }
}

/// Runs to the end, with a beat now and then: every wait inside has a deadline of its own.
async fn while_beating<T>(heart: &Heart, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        heart.beat();
        if let Ok(output) = tokio::time::timeout(BEAT_INTERVAL, &mut future).await {
            return output;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_in_doubt_is_judged_by_its_checkpoint() {
        let mut batch = Batch::new(10);
        batch.end = 20;
        let judged = |next_offset, epoch| {
            let standing = Some(Standing { next_offset, epoch });
            judge(standing, 7, &batch).map_err(|error| error.fault)
        };
        let lost = |loss| Ok(Some(Outcome::Lost(loss)));
        assert_eq!(judged(20, 7), Ok(Some(Outcome::Durable)));
        assert_eq!(judged(10, 7), Ok(None));
        assert_eq!(judged(20, 8), lost(Loss::Fenced));
        assert_eq!(judged(10, 8), lost(Loss::Fenced));
        assert_eq!(judged(9, 7), lost(Loss::Regressed));
        assert_eq!(judged(10, 6), lost(Loss::Regressed));
        assert_eq!(judged(15, 7), Err(Fault::Config));
        assert_eq!(judged(21, 7), Err(Fault::Config));
        assert_eq!(judge(None, 7, &batch).map_err(|error| error.fault), Err(Fault::Config));
    }
}
