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
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use deadpool_postgres::Object;
use futures_util::SinkExt as _;
use tokio_postgres::{Row, Statement, types::ToSql};

use super::{
    Shared, connect,
    encode::{HEADER, TRAILER, rows},
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
/// With the wait for a connection it stays below what the watchdog takes for silence.
const TRANSACTION_MAX: Duration = Duration::from_secs(30);
/// Bytes handed to the driver at once: large enough to make its per-message work vanish, small
/// enough to stay in the cache between encoding buffer and socket.
const CHUNK_BYTES: usize = 64 << 10;

const ADVANCE_SQL: &str = "\
    UPDATE tidegate.checkpoints c SET next_offset = k.next_offset, updated_at = now() \
    FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[]) \
        AS k(checkpoint_id, expected, next_offset, epoch) \
    WHERE c.checkpoint_id = k.checkpoint_id AND c.next_offset = k.expected AND c.epoch = k.epoch";

const RESOLVE_SQL: &str = "\
    SELECT checkpoint_id, next_offset, epoch FROM tidegate.checkpoints \
    WHERE checkpoint_id = ANY($1) ORDER BY checkpoint_id FOR UPDATE";

/// A record that was dead-lettered already (at-least-once, redone) is the same record.
const DEAD_LETTERS_SQL: &str = "\
    INSERT INTO tidegate.dead_letters (consumer_group, cluster_id, topic, partition, \"offset\", \
        target, record_timestamp, key, value, reason, column_name, message, sqlstate) \
    SELECT g, cl, t, p, o, tg, timestamptz 'epoch' + ms * interval '1 millisecond', k, v, r, c, m, s \
    FROM unnest($1::text[], $2::text[], $3::text[], $4::int4[], $5::int8[], $6::text[], \
        $7::int8[], $8::bytea[], $9::bytea[], $10::text[], $11::text[], $12::text[], $13::text[]) \
        AS d(g, cl, t, p, o, tg, ms, k, v, r, c, m, s) \
    ON CONFLICT DO NOTHING";

/// A connection with the statements that it knows.
struct Session {
    connection: Object,
    /// Of the transaction that is under way.
    deadline: tokio::time::Instant,
    copies: HashMap<(TargetId, Layout), Statement>,
    advance: Option<Statement>,
}

/// Where in a write set an error arose.
struct Failure {
    error: PgError,
    /// The batch's segment that was being copied.
    segment: Option<usize>,
    /// COMMIT was on its way: the transaction may have happened.
    in_doubt: bool,
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
    in_doubt: bool,
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
        let result = runtime.block_on(self.write_set(&target, batches, heart));
        result.map_err(|error| self.explain(&target, error))
    }
}

impl PostgresWriter {
    pub(crate) fn new(shared: Arc<Shared>, status: Arc<SinkStatus>) -> Self {
        Self { shared, status, session: None, in_doubt: false }
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

    /// Writes one batch; a row that Postgres refuses leaves it as a dead letter.
    async fn isolate(
        &mut self,
        target: &PgTarget,
        flushed: &mut Flushed,
        heart: &Heart,
    ) -> Result<(), PgError> {
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
            let place = match (failure.segment, failure.error.copy_line) {
                (Some(segment), Some(line)) => Some((segment, line.saturating_sub(1))),
                // A trigger or a constraint at the end: no line tells the row.
                _ => self.search(target, &mut flushed.batch, heart).await?,
            };
            // What no row repeats was not a row's fault: a parent that came in the meantime, say.
            let Some((segment, row)) = place else {
                return Err(PgError { fault: Fault::Outage, ..failure.error });
            };
            let range = flushed.batch.segments.get(segment).and_then(|s| rows(&s.bytes).nth(row));
            let Some(range) = range else { return Err(failure.error) };
            let PgError { code, message, .. } = &failure.error;
            crate::metrics::dead_letter(crate::rejection::Reason::Refused);
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

    /// One transaction for all of `batches`; when all advance, each has its outcome.
    async fn attempt(
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
        for flushed in batches {
            let Some(claim) = flushed.lane.claim else { continue };
            let row = rows.iter().find(|row| row.get::<_, i64>(0) == claim.checkpoint_id);
            let stored = row.map(|row| (row.get::<_, i64>(1), row.get::<_, i64>(2)));
            flushed.outcome = judge(stored, claim.epoch, &flushed.batch)?;
        }
        Ok(())
    }

    async fn session(&mut self) -> Result<Session, Failure> {
        let deadline = tokio::time::Instant::now() + TRANSACTION_MAX;
        if let Some(session) = self.session.take() {
            return Ok(Session { deadline, ..session });
        }
        let since = Instant::now();
        let connection = connect::checkout(&self.shared.pool).await;
        self.status.clock.add(Stage::Connect, since.elapsed());
        Ok(Session { connection: connection?, deadline, copies: HashMap::new(), advance: None })
    }

    fn give_back(&mut self, session: Session, healthy: bool) {
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
        other => Err(PgError {
            fault: Fault::Config,
            code: "checkpoint".to_owned(),
            message: format!(
                "the checkpoint stands at {:?} while this process has written up to {}: the \
                 database went back in time, or somebody else writes it",
                other.map(|(next_offset, _)| next_offset),
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
enum Advance {
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
    let advanced = session.advance(batches).await?;
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

impl Session {
    /// Waits for one step, at most until the transaction's deadline. Each step is bounded by
    /// itself, so that what it has borrowed outlives a time-out.
    async fn within<T>(
        &self,
        step: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, PgError> {
        match tokio::time::timeout_at(self.deadline, step).await {
            Ok(result) => result.map_err(|error| PgError::from_driver(&error)),
            Err(_) => {
                let seconds = TRANSACTION_MAX.as_secs();
                Err(PgError::outage("timeout", format!("no answer within {seconds} s")))
            }
        }
    }

    async fn execute(&self, sql: &str) -> Result<(), PgError> {
        self.within(self.connection.batch_execute(sql)).await
    }

    async fn copy(
        &mut self,
        target: &PgTarget,
        layout: Layout,
        buffers: &[Bytes],
        expected: u64,
    ) -> Result<(), PgError> {
        let key = (target.id, layout);
        if !self.copies.contains_key(&key) {
            let sql = target.copy_sql(layout);
            let statement = self.within(self.connection.prepare(&sql)).await?;
            self.copies.insert(key, statement);
        }
        let stream = async {
            let sink = self.connection.copy_in(&self.copies[&key]).await?;
            let mut sink = std::pin::pin!(sink);
            sink.feed(Bytes::from_static(&HEADER)).await?;
            for buffer in buffers {
                let mut rest = buffer.clone();
                while !rest.is_empty() {
                    let chunk = rest.split_to(rest.len().min(CHUNK_BYTES));
                    sink.feed(chunk).await?;
                }
            }
            sink.feed(Bytes::from_static(&TRAILER)).await?;
            sink.finish().await
        };
        let copied = self.within(stream).await?;
        if copied == expected {
            return Ok(());
        }
        Err(PgError {
            fault: Fault::Config,
            code: "copy".to_owned(),
            message: format!(
                "Postgres took {copied} of {expected} rows without an error: a trigger or a rule \
                 drops rows"
            ),
            copy_line: None,
        })
    }

    async fn dead_letters(&self, batches: &[&mut Flushed]) -> Result<(), PgError> {
        let letters: Vec<_> = batches
            .iter()
            .flat_map(|f| f.batch.dead_letters.iter().map(|letter| (&f.lane, letter)))
            .collect();
        if letters.is_empty() {
            return Ok(());
        }
        macro_rules! column {
            ($lane:ident, $letter:ident, $value:expr) => {
                letters.iter().map(|($lane, $letter)| $value).collect::<Vec<_>>()
            };
        }
        let groups = column!(lane, _l, lane.group.name.as_str());
        let clusters = column!(lane, _l, lane.group.cluster_id.as_str());
        let topics = column!(lane, _l, &*lane.key.topic);
        let partitions = column!(lane, _l, lane.key.partition);
        let offsets = column!(_n, letter, letter.offset);
        let targets = column!(lane, _l, &*lane.key.target);
        let timestamps = column!(_n, letter, letter.timestamp_ms);
        let keys = column!(_n, letter, letter.key.as_deref());
        let values = column!(_n, letter, letter.value.as_deref());
        let reasons = column!(_n, letter, letter.rejection.reason.as_str());
        let names = column!(_n, letter, letter.rejection.column.as_deref());
        let messages = column!(_n, letter, letter.rejection.message.replace('\0', "\u{fffd}"));
        let sqlstates = column!(_n, letter, letter.sqlstate.as_deref());
        let parameters: [&(dyn ToSql + Sync); 13] = [
            &groups,
            &clusters,
            &topics,
            &partitions,
            &offsets,
            &targets,
            &timestamps,
            &keys,
            &values,
            &reasons,
            &names,
            &messages,
            &sqlstates,
        ];
        self.within(self.connection.execute(DEAD_LETTERS_SQL, &parameters)).await.map(drop)
    }

    /// Moves the checkpoints on. False if a lane is not where this process left it; in
    /// at-least-once the statement only has to fail in an aborted transaction.
    async fn advance(&mut self, batches: &[&mut Flushed]) -> Result<bool, PgError> {
        let claims: Vec<_> =
            batches.iter().filter_map(|f| f.lane.claim.map(|claim| (claim, &f.batch))).collect();
        if claims.is_empty() {
            self.execute("SELECT 1").await?;
            return Ok(true);
        }
        let ids: Vec<i64> = claims.iter().map(|(claim, _)| claim.checkpoint_id).collect();
        let expected: Vec<i64> = claims.iter().map(|(_, batch)| batch.begin).collect();
        let next: Vec<i64> = claims.iter().map(|(_, batch)| batch.end).collect();
        let epochs: Vec<i64> = claims.iter().map(|(claim, _)| claim.epoch).collect();
        let statement = match &self.advance {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.within(self.connection.prepare(ADVANCE_SQL)).await?;
                self.advance.insert(statement).clone()
            }
        };
        let parameters: [&(dyn ToSql + Sync); 4] = [&ids, &expected, &next, &epochs];
        let moved = self.within(self.connection.execute(&statement, &parameters)).await?;
        Ok(moved == claims.len() as u64)
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
