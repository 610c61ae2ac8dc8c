//! One connection in use: the steps of a transaction, each with a deadline.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use deadpool_postgres::Object;
use futures_util::SinkExt as _;
use tokio::time::Instant;
use tokio_postgres::{CopyInSink, Statement, types::ToSql};

use super::{
    catalog,
    encode::{HEADER, TRAILER},
    sqlstate::{Fault, PgError},
    table::PgTarget,
};
use crate::{
    batch::{Layout, Place},
    failpoint::failpoint,
    headers,
    sink::{Flushed, TargetId},
};

/// Bytes handed to the driver at once: large enough to make its per-message work vanish, small
/// enough to stay in the cache between encoding buffer and socket.
const CHUNK_BYTES: usize = 256 << 10;

/// The years 1 to 9999 in milliseconds since the Unix epoch.
const YEARS_MS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

const ADVANCE_SQL: &str = "\
    UPDATE tidegate.checkpoints c SET next_offset = k.next_offset, updated_at = now() \
    FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[]) \
        AS k(checkpoint_id, expected, next_offset, epoch) \
    WHERE c.checkpoint_id = k.checkpoint_id AND c.next_offset = k.expected AND c.epoch = k.epoch";

/// A record at the same place is the same record (at-least-once, redone), or another one in a topic
/// that was made anew: the newest stays.
const DEAD_LETTERS_SQL: &str = "\
    INSERT INTO tidegate.dead_letters (consumer_group, cluster_id, topic, partition, \"offset\", \
        target, record_timestamp, key, value, reason, column_name, message, sqlstate, headers) \
    SELECT g, cl, t, p, o, tg, timestamptz 'epoch' + ms * interval '1 millisecond', k, v, r, c, m, s, h::jsonb \
    FROM unnest($1::text[], $2::text[], $3::text[], $4::int4[], $5::int8[], $6::text[], \
        $7::int8[], $8::bytea[], $9::bytea[], $10::text[], $11::text[], $12::text[], $13::text[], \
        $14::text[]) AS d(g, cl, t, p, o, tg, ms, k, v, r, c, m, s, h) \
    ON CONFLICT (consumer_group, cluster_id, topic, partition, \"offset\", target) DO UPDATE \
        SET record_timestamp = excluded.record_timestamp, key = excluded.key, \
            value = excluded.value, reason = excluded.reason, column_name = excluded.column_name, \
            message = excluded.message, sqlstate = excluded.sqlstate, headers = excluded.headers, \
            created_at = now()";

/// Two replays may have read the same letter, and a running tidegate may have replaced it since: then
/// its row has another version (xmin, which also a freeze leaves in place), or is gone.
const REMOVE_REPLAYED_SQL: &str = "\
    DELETE FROM tidegate.dead_letters d \
    USING unnest($1::text[], $2::text[], $3::text[], $4::int4[], $5::int8[], $6::text[], $7::text[]) \
        AS r(g, cl, t, p, o, tg, version) \
    WHERE d.consumer_group = r.g AND d.cluster_id = r.cl AND d.topic = r.t AND d.partition = r.p \
      AND d.\"offset\" = r.o AND d.target = r.tg AND d.xmin = r.version::xid";

/// The class of an outage that says: read the dead letters anew.
pub(super) const REPLAYED: &str = "replayed";

/// How long a staging table is used. Its oldest transaction id grows with its age, as no vacuum looks at
/// the temporary tables of another session, and must not come near to a wraparound.
const STAGE_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A staging table of this session.
struct Stage {
    made_by: String,
    made_at: Instant,
    /// For rows with keys that may be the same, and for others.
    puts: [Option<Statement>; 2],
}

/// A connection with the statements that it knows.
pub(super) struct Session {
    pub(super) connection: Object,
    /// How long the transaction that is under way may take, and until when.
    patience: Duration,
    deadline: Instant,
    copies: HashMap<(TargetId, Layout), Statement>,
    /// The staging tables that it has, by name.
    stages: HashMap<String, Stage>,
    advance: Option<Statement>,
    /// Rows that were copied since the last merge.
    pub(super) copied: u64,
}

impl Session {
    /// A connection that knows no statement yet.
    pub(super) fn new(connection: Object, patience: Duration) -> Self {
        Self {
            connection,
            patience,
            deadline: Instant::now() + patience,
            copies: HashMap::new(),
            stages: HashMap::new(),
            advance: None,
            copied: 0,
        }
    }

    /// A transaction begins now, and may take so long.
    pub(super) fn restart_deadline(&mut self, patience: Duration) {
        self.patience = patience;
        self.deadline = Instant::now() + patience;
    }

    /// Waits for one step, at most until the transaction's deadline. Each step is bounded by
    /// itself, so that what it has borrowed outlives a time-out.
    pub(super) async fn within<T>(
        &self,
        step: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, PgError> {
        match tokio::time::timeout_at(self.deadline, step).await {
            Ok(result) => result.map_err(|error| PgError::from_driver(&error)),
            Err(_) => {
                let seconds = self.patience.as_secs();
                Err(PgError::outage("timeout", format!("no answer within {seconds} s")))
            }
        }
    }

    pub(super) async fn execute(&self, sql: &str) -> Result<(), PgError> {
        self.within(self.connection.batch_execute(sql)).await
    }

    /// Copies rows into the transaction that is under way, or into one that begins in the same round trip
    /// by `begin`.
    pub(super) async fn copy(
        &mut self,
        target: &PgTarget,
        layout: Layout,
        buffers: &[Bytes],
        expected: u64,
        begin: Option<&str>,
    ) -> Result<(), PgError> {
        let key = (target.id, layout);
        if !self.copies.contains_key(&key) {
            let sql = target.copy_sql(layout);
            let statement = self.within(self.connection.prepare(&sql)).await?;
            self.copies.insert(key, statement);
        }
        let stream = async {
            let sink = self.open_copy(&self.copies[&key], begin).await?;
            let mut sink = std::pin::pin!(sink);
            sink.feed(Bytes::from_static(&HEADER)).await?;
            for buffer in buffers {
                let mut rest = buffer.clone();
                while !rest.is_empty() {
                    let chunk = rest.split_to(rest.len().min(CHUNK_BYTES));
                    sink.feed(chunk).await?;
                    failpoint!("copy.begun");
                }
            }
            sink.feed(Bytes::from_static(&TRAILER)).await?;
            sink.finish().await
        };
        let copied = self.within(stream).await?;
        self.copied += copied;
        if copied == expected { Ok(()) } else { Err(dropped(copied, expected)) }
    }

    /// Sends BEGIN and COPY at once. Nothing is fed before the answer to BEGIN: a COPY outside of a transaction
    /// would commit by itself, and a sink that is dropped without a row makes it fail.
    async fn open_copy(
        &self,
        copy: &Statement,
        begin: Option<&str>,
    ) -> Result<CopyInSink<Bytes>, tokio_postgres::Error> {
        let Some(begin) = begin else { return self.connection.copy_in(copy).await };
        let (begun, sink) = tokio::join!(
            biased;
            self.connection.batch_execute(begin),
            self.connection.copy_in(copy)
        );
        begun?;
        failpoint!("transaction.begun");
        sink
    }

    /// Makes the staging table of a target that merges, unless there is one. Outside of any transaction:
    /// then COMMIT need not write to the catalog.
    pub(super) async fn prepare_stage(&mut self, target: &PgTarget) -> Result<(), PgError> {
        let Some(merge) = &target.merge else { return Ok(()) };
        let is_fit = |stage: &Stage| {
            stage.made_by == merge.stage_sql() && stage.made_at.elapsed() < STAGE_LIFE
        };
        if self.stages.get(merge.stage()).is_some_and(is_fit) {
            return Ok(());
        }
        // Another state of the same table may have had it.
        self.copies.clear();
        self.execute(merge.stage_sql()).await?;
        let made_by = merge.stage_sql().to_owned();
        self.stages.insert(
            merge.stage().to_owned(),
            Stage { made_by, made_at: Instant::now(), puts: [None, None] },
        );
        Ok(())
    }

    /// Merges what was copied into the staging table of a target that has one. No two rows have one key
    /// if they are `unique`.
    pub(super) async fn merge(
        &mut self,
        target: &PgTarget,
        deletes: bool,
        unique: bool,
    ) -> Result<(), PgError> {
        let copied = std::mem::take(&mut self.copied);
        let Some(merge) = &target.merge else { return Ok(()) };
        if deletes {
            return self.execute(merge.change_sql()).await;
        }
        let place = usize::from(unique);
        let known = self.stages.get(merge.stage()).and_then(|stage| stage.puts[place].clone());
        let statement = match known {
            Some(statement) => statement,
            None => {
                let statement = self.within(self.connection.prepare(merge.put_sql(unique))).await?;
                if let Some(stage) = self.stages.get_mut(merge.stage()) {
                    stage.puts[place] = Some(statement.clone());
                }
                statement
            }
        };
        let merged = self.within(self.connection.execute(&statement, &[])).await?;
        if merge.appends() && merged != copied {
            return Err(dropped(merged, copied));
        }
        Ok(())
    }

    /// Sends dead letters to the target's topic, if it has one, and waits until they are there.
    pub(super) async fn send_dead_letters(
        &self,
        target: &PgTarget,
        batches: &mut [&mut Flushed],
    ) -> Result<(), PgError> {
        let Some(topic) = &target.dead_letter_topic else { return Ok(()) };
        let sent = topic.send(batches, self.deadline).await;
        sent.map_err(|away| PgError::outage(away.class, away.message))?;
        failpoint!("letters.acknowledged");
        Ok(())
    }

    /// Puts dead letters where they belong: to the target's topic, or into the table.
    pub(super) async fn dead_letters(
        &self,
        target: &PgTarget,
        batches: &mut [&mut Flushed],
    ) -> Result<(), PgError> {
        self.remove_replayed(batches).await?;
        self.send_dead_letters(target, batches).await?;
        let letters: Vec<_> = batches
            .iter()
            .flat_map(|f| f.batch.dead_letters.iter().map(|letter| (&f.lane, letter)))
            .filter(|(_, letter)| letter.place != Place::Topic)
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
        // A producer may send any number; Postgres ends some 290,000 years from here.
        let timestamps =
            column!(_n, letter, letter.timestamp_ms.filter(|ms| YEARS_MS.contains(ms)));
        let keys = column!(_n, letter, letter.key.as_deref());
        let values = column!(_n, letter, letter.value.as_deref());
        let reasons = column!(_n, letter, letter.rejection.reason.as_str());
        let names = column!(_n, letter, letter.rejection.column.as_deref());
        let messages = column!(_n, letter, letter.rejection.message.replace('\0', "\u{fffd}"));
        let sqlstates = column!(_n, letter, letter.sqlstate.as_deref());
        let headers = column!(_n, letter, headers::to_json(letter.original().headers));
        let headers: Vec<Option<String>> =
            headers.iter().map(|list| list.as_ref().map(ToString::to_string)).collect();
        let parameters: [&(dyn ToSql + Sync); 14] = [
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
            &headers,
        ];
        let inserted = self.within(self.connection.execute(DEAD_LETTERS_SQL, &parameters)).await;
        // No row of the batch may be blamed for it.
        inserted.map(drop).map_err(|error| match error.fault {
            Fault::Row => PgError { fault: Fault::Config, ..error },
            _ => error,
        })
    }

    /// Removes the stored dead letters that the batches were made of, and fails if one is not there
    /// as it was read: its record is a row already, or another record has taken its place.
    async fn remove_replayed(&self, batches: &[&mut Flushed]) -> Result<(), PgError> {
        let replayed: Vec<_> = batches
            .iter()
            .flat_map(|f| f.batch.replayed.iter().map(|replayed| (&f.lane, replayed)))
            .collect();
        if replayed.is_empty() {
            return Ok(());
        }
        let lanes = || replayed.iter().map(|(lane, _)| lane);
        let groups: Vec<_> = lanes().map(|lane| lane.group.name.as_str()).collect();
        let clusters: Vec<_> = lanes().map(|lane| lane.group.cluster_id.as_str()).collect();
        let topics: Vec<_> = lanes().map(|lane| &*lane.key.topic).collect();
        let partitions: Vec<_> = lanes().map(|lane| lane.key.partition).collect();
        let targets: Vec<_> = lanes().map(|lane| &*lane.key.target).collect();
        let offsets: Vec<_> = replayed.iter().map(|(_, replayed)| replayed.offset).collect();
        let versions: Vec<_> =
            replayed.iter().map(|(_, replayed)| replayed.version.as_str()).collect();
        let parameters: [&(dyn ToSql + Sync); 7] =
            [&groups, &clusters, &topics, &partitions, &offsets, &targets, &versions];
        let removed =
            self.within(self.connection.execute(REMOVE_REPLAYED_SQL, &parameters)).await?;
        if removed == replayed.len() as u64 {
            return Ok(());
        }
        Err(PgError::outage(REPLAYED, "a dead letter was replayed, dropped or replaced meanwhile"))
    }

    /// Refuses to commit rows that were encoded for types which the columns no longer have: binary
    /// values of the same length would be taken for others, without an error. The lock of the COPY
    /// keeps the types from changing until COMMIT.
    async fn check_types(&self, target: &PgTarget) -> Result<(), PgError> {
        let statement = self.types_statement().await?;
        self.compare_types(target, &statement).await
    }

    async fn types_statement(&self) -> Result<Statement, PgError> {
        self.within(self.connection.prepare_cached(catalog::NAMED_TYPES_SQL)).await
    }

    async fn compare_types(&self, target: &PgTarget, statement: &Statement) -> Result<(), PgError> {
        let parameters: [&(dyn ToSql + Sync); 2] = [&target.table.quoted(), &target.column_names()];
        let row = self.within(self.connection.query_one(statement, &parameters)).await?;
        if row.get::<_, Option<&str>>(0) == Some(&target.types) {
            return Ok(());
        }
        Err(PgError {
            fault: Fault::Config,
            code: "types".to_owned(),
            message: "the type of a column was changed while it was being written".to_owned(),
            copy_line: None,
        })
    }

    /// Checks the types where no COPY may have taken the lock that keeps them: a run that was rolled
    /// back has let go of it.
    pub(super) async fn hold_types(&self, target: &PgTarget) -> Result<(), PgError> {
        let table = target.table.quoted();
        self.execute(&format!("LOCK TABLE ONLY {table} IN ROW EXCLUSIVE MODE")).await?;
        self.check_types(target).await
    }

    /// Checks the types, looks at the rollups and moves the checkpoints on, in one round trip; logs
    /// finished buckets that were touched in another, which is seldom.
    pub(super) async fn advance(
        &mut self,
        target: &PgTarget,
        batches: &[&mut Flushed],
    ) -> Result<bool, PgError> {
        if self.advance.is_none() {
            let statement = self.within(self.connection.prepare(ADVANCE_SQL)).await?;
            self.advance = Some(statement);
        }
        // Prepared beforehand, so that the check goes out first: behind an update that fails, all that
        // Postgres says of it is that the transaction is aborted.
        let statement = self.types_statement().await?;
        let rollup_statements = self.rollup_statements().await?;
        if batches.iter().any(|flushed| !flushed.batch.late.is_empty()) {
            // Perhaps no row of the transaction is in the table itself. From here to COMMIT nobody drops or
            // creates a rollup of it.
            self.hold_types(target).await?;
        }
        let (types, locked, rollups, moved) = tokio::join!(
            biased;
            self.compare_types(target, &statement),
            self.lock_rollups(target, &rollup_statements),
            self.rollups(target, &rollup_statements),
            self.move_checkpoints(batches)
        );
        types?;
        locked?;
        let (rollups, is_moved) = (rollups?, moved?);
        failpoint!("rollups.read");
        if is_moved {
            self.touch(target, batches, &rollups).await?;
            self.add_late(target, batches, &rollups).await?;
        }
        Ok(is_moved)
    }

    /// Moves the checkpoints on. False if a lane is not where this process left it; in
    /// at-least-once the statement only has to fail in an aborted transaction.
    async fn move_checkpoints(&self, batches: &[&mut Flushed]) -> Result<bool, PgError> {
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
        let Some(statement) = &self.advance else { return Ok(false) };
        let parameters: [&(dyn ToSql + Sync); 4] = [&ids, &expected, &next, &epochs];
        let moved = self.within(self.connection.execute(statement, &parameters)).await?;
        Ok(moved == claims.len() as u64)
    }
}

/// Rows are gone, and nobody has said so.
#[cold]
fn dropped(taken: u64, expected: u64) -> PgError {
    PgError {
        fault: Fault::Config,
        code: "copy".to_owned(),
        message: format!(
            "Postgres took {taken} of {expected} rows without an error: a trigger or a rule drops rows"
        ),
        copy_line: None,
    }
}
