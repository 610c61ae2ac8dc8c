//! One write set, one transaction: BEGIN, COPY, dead letters, checkpoints, COMMIT.
//!
//! Rests on these facts of Postgres and of the driver:
//! - A COPY on its own commits at Sync, after CommandComplete: the driver would report success for
//!   rows that a deferred constraint still rolls back. So: an explicit transaction, always.
//! - COMMIT in an aborted transaction answers ROLLBACK without an error, and the driver does not
//!   look. So the statement before COMMIT is one that fails in an aborted transaction: the
//!   check-and-set, or SELECT 1.
//! - The row lock of the check-and-set is taken last: a process that freezes inside its COPY holds
//!   no lock that the lane's next owner would wait for.
//! - A future that was dropped does not unsend what it sent: past COMMIT, any failure is in doubt
//!   and is resolved by reading the checkpoint under its lock, which waits for the old backend.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio_postgres::Row;

use super::{
    Shared, connect,
    session::Session,
    sqlstate::{Fault, PgError},
    table::PgTarget,
};
use crate::{
    batch::{Batch, Layout},
    error::{Error, ErrorKind},
    lane::Outcome,
    sink::{Flushed, TargetId, WriteError, Writer},
    stage::Stage,
    status::SinkStatus,
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

/// Where in a write set an error arose.
pub(super) struct Failure {
    pub(super) error: PgError,
    /// The batch's segment that was being copied.
    pub(super) segment: Option<usize>,
    /// COMMIT was on its way: the transaction may have happened.
    pub(super) in_doubt: bool,
}

impl From<PgError> for Failure {
    fn from(error: PgError) -> Self {
        Self { error, segment: None, in_doubt: false }
    }
}

/// The writer of one thread.
pub(crate) struct PostgresWriter {
    shared: Arc<Shared>,
    status: Arc<SinkStatus>,
    session: Option<Session>,
    /// How long a transaction may take at present.
    patience: Duration,
    pub(super) in_doubt: bool,
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
        let result = runtime.block_on(while_beating(heart, written));
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
    pub(crate) fn new(shared: Arc<Shared>, status: Arc<SinkStatus>) -> Self {
        Self { shared, status, session: None, patience: PATIENCE_MIN, in_doubt: false }
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

    async fn write_set(
        &mut self,
        target: &PgTarget,
        batches: &mut [Flushed],
        heart: &Heart,
    ) -> Result<(), PgError> {
        loop {
            heart.beat();
            if self.in_doubt {
                self.resolve(batches).await?;
                self.in_doubt = false;
                heart.beat();
            }
            let mut open: Vec<&mut Flushed> =
                batches.iter_mut().filter(|flushed| flushed.outcome.is_none()).collect();
            if open.is_empty() {
                return Ok(());
            }
            match self.attempt(target, &mut open).await {
                Ok(Advance::All) => return Ok(()),
                // Some lane is not where this process left it: find out which, and go on with
                // the others.
                Ok(Advance::Some) => self.in_doubt = true,
                Err(Failure { error, .. }) if error.fault == Fault::Row => {
                    // One batch at a time: the rows at fault are looked for in their own.
                    for flushed in open {
                        self.isolate(target, flushed, heart).await?;
                        if self.in_doubt {
                            break;
                        }
                    }
                }
                Err(failure) => {
                    self.in_doubt |= failure.in_doubt;
                    return Err(failure.error);
                }
            }
        }
    }

    /// One transaction for all of `batches`; when all advance, each has its outcome.
    pub(super) async fn attempt(
        &mut self,
        target: &PgTarget,
        batches: &mut [&mut Flushed],
    ) -> Result<Advance, Failure> {
        let mut session = self.session().await?;
        let mut progress = Progress::default();
        let result = transact(&mut session, target, batches, &mut progress, &self.status).await;
        self.give_back(session, matches!(result, Ok(Advance::All)));
        match result {
            Ok(Advance::All) => {
                batches.iter_mut().for_each(|flushed| flushed.outcome = Some(Outcome::Durable));
                Ok(Advance::All)
            }
            Ok(Advance::Some) => Ok(Advance::Some),
            Err(error) => {
                // A constraint that fails at COMMIT is an answer; silence is not.
                let in_doubt = progress.commit_sent && error.fault != Fault::Row;
                Err(Failure { error, segment: progress.segment, in_doubt })
            }
        }
    }

    /// Reads what became of batches whose COMMIT got no answer, and sets their outcome.
    async fn resolve(&mut self, batches: &mut [Flushed]) -> Result<(), PgError> {
        let claims: Vec<i64> =
            batches.iter().filter_map(|f| f.lane.claim.map(|claim| claim.checkpoint_id)).collect();
        if claims.is_empty() {
            // At-least-once keeps nothing to look at: the batches are written again.
            return Ok(());
        }
        let session = self.session().await.map_err(|failure| failure.error)?;
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
            let row = rows.iter().find(|row| row.get::<_, i64>(0) == claim.checkpoint_id);
            let stored = row.map(|row| (row.get::<_, i64>(1), row.get::<_, i64>(2)));
            flushed.outcome = judge(stored, claim.epoch, &flushed.batch)?;
        }
        Ok(())
    }

    pub(super) async fn session(&mut self) -> Result<Session, Failure> {
        if let Some(mut session) = self.session.take() {
            session.restart_deadline(self.patience);
            return Ok(session);
        }
        let since = Instant::now();
        let connection = connect::checkout(&self.shared.pool).await;
        self.status.clock.add(Stage::Connect, since.elapsed());
        Ok(Session::new(connection?, self.patience))
    }

    pub(super) fn give_back(&mut self, session: Session, healthy: bool) {
        if healthy {
            self.session = Some(session);
        } else {
            connect::discard(session.connection);
        }
    }
}

/// What a batch in doubt has become, by the checkpoint `(next_offset, epoch)` of its lane; `None`
/// means that it was not written and may be.
fn judge(
    stored: Option<(i64, i64)>,
    epoch: i64,
    batch: &Batch,
) -> Result<Option<Outcome>, PgError> {
    match stored {
        Some((_, current)) if current != epoch => Ok(Some(Outcome::Fenced)),
        Some((next_offset, _)) if next_offset == batch.end => Ok(Some(Outcome::Durable)),
        Some((next_offset, _)) if next_offset == batch.begin => Ok(None),
        stored => Err(PgError {
            fault: Fault::Config,
            code: "checkpoint".to_owned(),
            message: format!(
                "the checkpoint {} while this process has written up to {}: the database went back in \
                 time, or somebody else writes it",
                stored.map_or_else(
                    || "is gone".to_owned(),
                    |(next_offset, _)| format!("stands at {next_offset}")
                ),
                batch.begin
            ),
            copy_line: None,
        }),
    }
}

#[derive(Default)]
struct Progress {
    segment: Option<usize>,
    commit_sent: bool,
}

/// How many of the lanes the check-and-set found where they should be.
pub(super) enum Advance {
    All,
    Some,
}

async fn transact(
    session: &mut Session,
    target: &PgTarget,
    batches: &mut [&mut Flushed],
    progress: &mut Progress,
    status: &SinkStatus,
) -> Result<Advance, PgError> {
    let mut clock = StepClock { status, since: Instant::now() };
    session.execute("BEGIN").await?;
    for (layout, index) in layouts(batches) {
        progress.segment = Some(index);
        let copied = copy_layout(session, target, layout, batches).await;
        clock.step(Stage::Copy);
        copied?;
    }
    progress.segment = None;
    session.dead_letters(batches).await?;
    let advanced = session.advance(target, batches).await?;
    clock.step(Stage::Checkpoint);
    if !advanced {
        return Ok(Advance::Some);
    }
    progress.commit_sent = true;
    let committed = session.execute("COMMIT").await;
    clock.step(Stage::Commit);
    committed?;
    Ok(Advance::All)
}

/// The layouts that occur, each with the index of the segment in the first batch that has it.
fn layouts(batches: &[&mut Flushed]) -> Vec<(Layout, usize)> {
    let mut layouts: Vec<(Layout, usize)> = Vec::new();
    for flushed in batches {
        for (index, segment) in flushed.batch.segments.iter().enumerate() {
            if segment.rows > 0 && !layouts.iter().any(|(known, _)| *known == segment.layout) {
                layouts.push((segment.layout, index));
            }
        }
    }
    layouts
}

/// Copies the rows of one layout of all batches. The driver wants to own what it sends, so the
/// buffers are lent to it and taken back afterwards.
async fn copy_layout(
    session: &mut Session,
    target: &PgTarget,
    layout: Layout,
    batches: &mut [&mut Flushed],
) -> Result<(), PgError> {
    let mut lent: Vec<(usize, usize, Bytes)> = Vec::new();
    let mut expected = 0;
    for (b, flushed) in batches.iter_mut().enumerate() {
        for (s, segment) in flushed.batch.segments.iter_mut().enumerate() {
            if segment.rows > 0 && segment.layout == layout {
                expected += u64::from(segment.rows);
                lent.push((b, s, Bytes::from(std::mem::take(&mut segment.bytes))));
            }
        }
    }
    let bytes: Vec<Bytes> = lent.iter().map(|(_, _, bytes)| bytes.clone()).collect();
    let copied = session.copy(target, layout, &bytes, expected).await;
    drop(bytes);
    for (b, s, bytes) in lent {
        // No copy where the driver has let go of it.
        batches[b].batch.segments[s].bytes = Vec::from(bytes);
    }
    copied
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

/// Adds the time since the last step to a stage.
struct StepClock<'a> {
    status: &'a SinkStatus,
    since: Instant,
}

impl StepClock<'_> {
    fn step(&mut self, stage: Stage) {
        let now = Instant::now();
        self.status.clock.add(stage, now - self.since);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_in_doubt_is_judged_by_its_checkpoint() {
        let mut batch = Batch::new(10);
        batch.end = 20;
        let judged = |stored| judge(stored, 7, &batch).map_err(|error| error.fault);
        assert_eq!(judged(Some((20, 7))), Ok(Some(Outcome::Durable)));
        assert_eq!(judged(Some((10, 7))), Ok(None));
        assert_eq!(judged(Some((20, 8))), Ok(Some(Outcome::Fenced)));
        assert_eq!(judged(Some((10, 8))), Ok(Some(Outcome::Fenced)));
        for stored in [Some((9, 7)), Some((15, 7)), Some((21, 7)), None] {
            assert_eq!(judged(stored), Err(Fault::Config), "{stored:?}");
        }
    }
}
