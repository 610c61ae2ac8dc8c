//! One version takes the place of another, under everybody who reads and writes.
//!
//! All in one transaction, in an order that was found by trying:
//! - The table is locked first, then its rollups, and only then its checkpoints: a flush holds the lock
//!   of its table while it waits for its checkpoint. The lock waits for flushes and lets readers on.
//! - Views are turned before tables are renamed: whoever reads through a view has its lock, and waits
//!   for the table's.
//! - What would wait for long behind a reader is given up and tried again, as a whole.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use deadpool_postgres::{Object, Transaction};

use super::{PostgresSink, State, Version, begin, failed, moves, rollups};
use crate::{
    error::{Error, ErrorKind},
    sink::postgres::{catalog::quote_identifier, sqlstate::PgError},
};

/// Longer than deadlock_timeout, after which a vacuum that runs by itself is cancelled.
const LOCK_SQL: &str = "SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = '20s'";
/// As long as readers may be held up. With an empty search path all names that Postgres writes have
/// their schema.
const SWITCH_SQL: &str = "SET LOCAL lock_timeout = '150ms'; SET LOCAL search_path = ''";
/// How long writers may be held up while the last records are written.
const SETTLE_MAX: Duration = Duration::from_secs(3);
const LOOK_INTERVAL: Duration = Duration::from_millis(3);
const TRIES: u32 = 40;
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(3);

const POSITIONS_SQL: &str = "\
    SELECT topic, partition, next_offset FROM tidegate.checkpoints \
    WHERE consumer_group = $1 AND cluster_id = $2 AND target = $3 ORDER BY checkpoint_id";

/// Who has claimed the lanes before is fenced. Who claims them next tells by its mapping whether it
/// knows of the swap.
const STAMP_SQL: &str = "\
    UPDATE tidegate.checkpoints SET \
        epoch = greatest(epoch + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint), \
        owner = 'replay', updated_at = now(), \
        replaced = CASE WHEN mapping <> $4 THEN mapping END, mapping = $4 \
    WHERE consumer_group = $1 AND cluster_id = $2 AND target = $3";

/// The table that goes stands where the lanes stand now: from here it could be filled on.
const PARK_SQL: &str = "\
    INSERT INTO tidegate.checkpoints AS c (consumer_group, cluster_id, topic, partition, target, \
        next_offset, epoch, topic_id, owner) \
    SELECT $4, cluster_id, topic, partition, $5, next_offset, \
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, topic_id, 'replay' \
    FROM tidegate.checkpoints WHERE consumer_group = $1 AND cluster_id = $2 AND target = $3 \
    ON CONFLICT (consumer_group, cluster_id, topic, partition, target) DO UPDATE \
        SET next_offset = excluded.next_offset, epoch = greatest(c.epoch + 1, excluded.epoch)";

const FORGET_SQL: &str = "DELETE FROM tidegate.checkpoints WHERE consumer_group = $1 AND cluster_id = $2 AND target = $3";

/// The letters of the table that comes, under the name that it gets.
const RENAME_LETTERS_SQL: &str = "UPDATE tidegate.dead_letters SET target = $4 \
    WHERE consumer_group = $1 AND cluster_id = $2 AND target = $3";
/// Those of the table that goes, out of their way.
const PARK_LETTERS_SQL: &str = "\
    UPDATE tidegate.dead_letters d SET consumer_group = $4, target = $5 \
    FROM tidegate.checkpoints c \
    WHERE d.consumer_group = $1 AND d.cluster_id = $2 AND d.target = $3 \
      AND c.consumer_group = d.consumer_group AND c.cluster_id = d.cluster_id \
      AND c.target = d.target AND c.topic = d.topic AND c.partition = d.partition \
      AND d.\"offset\" < c.next_offset";
const ADOPT_LETTERS_SQL: &str = "UPDATE tidegate.dead_letters SET consumer_group = $4 \
    WHERE consumer_group = $1 AND cluster_id = $2 AND target = $3";

/// How far each lane of a table is, by topic and partition.
pub(crate) type Positions = BTreeMap<(String, i32), i64>;

/// A swap that is to be made.
#[derive(Clone, Copy)]
pub(crate) struct Swap<'a> {
    pub(crate) version: &'a Version,
    /// The sink's name, which the lanes' targets begin with.
    pub(crate) sink: &'a str,
    /// In whose name the table is written, and of which cluster.
    pub(crate) group: &'a str,
    pub(crate) cluster_id: &'a str,
    /// What makes rows of records from now on.
    pub(crate) mapping: &'a str,
}

impl Swap<'_> {
    /// The names of the table that comes, before, and of the one that goes, afterwards.
    fn names(&self) -> (String, String) {
        let Version { name, table, id, replaced_name, .. } = self.version;
        match replaced_name {
            Some(replaced) => (replaced.clone(), name.clone()),
            None => {
                let suffix = format!("_replaced_{id}");
                let mut end = table.len().min(63 - suffix.len());
                while !table.is_char_boundary(end) {
                    end -= 1;
                }
                (name.clone(), format!("{}{suffix}", table.get(..end).unwrap_or_default()))
            }
        }
    }

    fn target(&self, table: &str) -> String {
        format!("{}.{}.{table}", self.sink, self.version.schema)
    }

    /// One try. The inner error says why it cannot be.
    async fn attempt(
        &self,
        client: &mut Object,
        settle: &Settle<'_>,
    ) -> Result<Result<(), Error>, PgError> {
        let transaction = begin(client).await?;
        transaction.batch_execute(LOCK_SQL).await.map_err(failed)?;
        let sql = "SELECT state = 'serving' FROM tidegate.replays WHERE replay_id = $1 FOR UPDATE";
        let row = transaction.query_one(sql, &[&self.version.id]).await.map_err(failed)?;
        if row.get::<_, bool>(0) != (self.version.state == State::Serving) {
            // The answer to an earlier COMMIT was lost on its way.
            return Ok(Ok(()));
        }
        let live = self.version.quoted(&self.version.table);
        let lock = format!("LOCK TABLE {live} IN SHARE ROW EXCLUSIVE MODE");
        transaction.batch_execute(&lock).await.map_err(failed)?;
        let locked_at = Instant::now();
        rollups::hold(&transaction, &live).await?;
        let sql = format!("{POSITIONS_SQL} FOR UPDATE");
        let positions = self.positions(&transaction, &sql).await?;
        if let Err(error) = (settle.raise)(&positions) {
            return Ok(Err(error));
        }
        while !(settle.is_settled)() {
            if locked_at.elapsed() >= SETTLE_MAX {
                return Ok(Err(Error::new(ErrorKind::Temporary, "the last records took too long")));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        if let Err(error) = self.switch(&transaction).await? {
            return Ok(Err(error));
        }
        transaction.commit().await.map_err(failed)?;
        let held = locked_at.elapsed().as_millis();
        tracing::info!("swapped; writers of {live} were held up for {held} ms at most");
        Ok(Ok(()))
    }

    async fn positions(
        &self,
        transaction: &Transaction<'_>,
        sql: &str,
    ) -> Result<Positions, PgError> {
        let target = self.target(&self.version.table);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&self.group, &self.cluster_id, &target];
        let rows = transaction.query(sql, &parameters).await.map_err(failed)?;
        Ok(rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect())
    }

    /// Exchanges the tables, with all that goes by their names.
    async fn switch(&self, transaction: &Transaction<'_>) -> Result<Result<(), Error>, PgError> {
        let version = self.version;
        let (incoming, outgoing) = self.names();
        transaction.batch_execute(SWITCH_SQL).await.map_err(failed)?;
        let [old, new] = self.tables(transaction, &incoming).await?;
        let mut obstacles = moves::obstacles(transaction, old).await?;
        if obstacles.is_empty() {
            let names = "SELECT quote_ident($1) || '.' || quote_ident($2), \
                         quote_ident($1) || '.' || quote_ident($3), quote_ident($2)";
            let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
                [&version.schema, &version.table, &incoming];
            let row = transaction.query_one(names, &parameters).await.map_err(failed)?;
            let names = [row.get(0), row.get(1), row.get(2)];
            obstacles = moves::turn_views(transaction, old, names).await?;
        }
        if !obstacles.is_empty() {
            return Ok(Err(refusal(version, &obstacles)));
        }
        let triggers = moves::take_triggers(transaction, old).await?;
        let rename = |from: &str, to: &str| {
            let (from, to) = (version.quoted(from), quote_identifier(to));
            format!("ALTER TABLE {from} RENAME TO {to}")
        };
        for sql in [rename(&version.table, &outgoing), rename(&incoming, &version.table)] {
            transaction.batch_execute(&sql).await.map_err(failed)?;
        }
        self.rename_indexes(transaction).await?;
        moves::hand_over(transaction, [old, new], version.id).await?;
        rollups::hand_over(transaction, [old, new]).await?;
        for sql in &triggers {
            transaction.batch_execute(sql).await.map_err(failed)?;
        }
        self.note(transaction, &incoming, &outgoing).await.map(Ok)
    }

    async fn tables(
        &self,
        transaction: &Transaction<'_>,
        incoming: &str,
    ) -> Result<[u32; 2], PgError> {
        let [live, incoming] =
            [self.version.table.as_str(), incoming].map(|name| self.version.quoted(name));
        let sql = format!(
            "SELECT '{}'::regclass::oid, '{}'::regclass::oid",
            text(&live),
            text(&incoming)
        );
        let row = transaction.query_one(&sql, &[]).await.map_err(failed)?;
        Ok([row.get(0), row.get(1)])
    }

    /// Each index of the table that comes gets the name of its like, and the other way round. The name
    /// of an index that a constraint has is the constraint's as well.
    async fn rename_indexes(&self, transaction: &Transaction<'_>) -> Result<(), PgError> {
        let sql = "SELECT n.key, n.value FROM tidegate.replays r \
                   CROSS JOIN LATERAL jsonb_each_text(r.index_names) n WHERE r.replay_id = $1";
        for row in transaction.query(sql, &[&self.version.id]).await.map_err(failed)? {
            let (serving, other): (&str, &str) = (row.get(0), row.get(1));
            let aside = format!("{other}_aside");
            for (from, to) in [(serving, &*aside), (other, serving), (&*aside, other)] {
                let (from, to) = (self.version.quoted(from), quote_identifier(to));
                let sql = format!("ALTER INDEX IF EXISTS {from} RENAME TO {to}");
                transaction.batch_execute(&sql).await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Notes the swap where the lanes, the letters and the versions are kept.
    async fn note(
        &self,
        transaction: &Transaction<'_>,
        incoming: &str,
        outgoing: &str,
    ) -> Result<(), PgError> {
        let Self { version, group, cluster_id, mapping, .. } = *self;
        let own = &version.group;
        let [live, incoming, parked] =
            [version.table.as_str(), incoming, outgoing].map(|table| self.target(table));
        transaction
            .execute(PARK_SQL, &[&group, &cluster_id, &live, own, &parked])
            .await
            .map_err(failed)?;
        let letters: [(&str, &[&(dyn tokio_postgres::types::ToSql + Sync)]); 4] = [
            (RENAME_LETTERS_SQL, &[own, &cluster_id, &incoming, &live]),
            (PARK_LETTERS_SQL, &[&group, &cluster_id, &live, own, &parked]),
            (ADOPT_LETTERS_SQL, &[own, &cluster_id, &live, &group]),
            (FORGET_SQL, &[own, &cluster_id, &incoming]),
        ];
        for (sql, parameters) in letters {
            transaction.execute(sql, parameters).await.map_err(failed)?;
        }
        transaction
            .execute(STAMP_SQL, &[&group, &cluster_id, &live, &mapping])
            .await
            .map_err(failed)?;
        let (state, replaced) = match version.state {
            State::Serving => ("loaded", None),
            State::Loading | State::Loaded => ("serving", Some(outgoing)),
        };
        let sql = "UPDATE tidegate.replays SET state = $2, replaced_name = $3, swapped_at = now() \
                   WHERE replay_id = $1";
        transaction.execute(sql, &[&version.id, &state, &replaced]).await.map_err(failed)?;
        Ok(())
    }
}

/// How the version that comes is brought to where the one that goes stands.
pub(crate) struct Settle<'a> {
    /// Lets it go on up to these positions.
    pub(crate) raise: &'a dyn Fn(&Positions) -> Result<(), Error>,
    /// Whether it is there.
    pub(crate) is_settled: &'a dyn Fn() -> bool,
}

impl PostgresSink {
    /// Whether the live table can be replaced.
    ///
    /// # Errors
    /// With what is in the way.
    pub(crate) fn check_swap(&self, version: &Version) -> Result<(), Error> {
        let table = version.quoted(&version.table);
        let sql = format!("SELECT '{}'::regclass::oid", text(&table));
        let obstacles = self.ask_long(async |client| {
            let transaction = begin(client).await?;
            let oid: u32 = transaction.query_one(&sql, &[]).await.map_err(failed)?.get(0);
            moves::obstacles(&transaction, oid).await
        })?;
        if obstacles.is_empty() { Ok(()) } else { Err(refusal(version, &obstacles)) }
    }

    /// Whether the table that comes back would be filled as it was before.
    ///
    /// # Errors
    /// When the configuration has another mapping than the one that was replaced.
    pub(crate) fn check_rollback(&self, swap: &Swap<'_>) -> Result<(), Error> {
        let target = swap.target(&swap.version.table);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&swap.group, &swap.cluster_id, &target, &swap.mapping];
        let sql = "SELECT FROM tidegate.checkpoints WHERE consumer_group = $1 AND cluster_id = $2 \
                   AND target = $3 AND replaced <> $4 LIMIT 1";
        let other =
            self.ask(async |client| client.query_opt(sql, &parameters).await.map_err(failed))?;
        if other.is_none() {
            return Ok(());
        }
        Err(Error::config(format!(
            "{}.{} was written with another mapping before the swap: roll it back with the \
             configuration of then, or what came since would be written with this one",
            swap.version.schema, swap.version.table
        )))
    }

    /// How far the live table is.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub(crate) fn positions(&self, swap: &Swap<'_>) -> Result<Positions, Error> {
        self.ask(async |client| {
            let transaction = client.transaction().await.map_err(failed)?;
            swap.positions(&transaction, POSITIONS_SQL).await
        })
    }

    /// Makes the swap. While it waits for readers and writers it gets out of their way, and comes again.
    ///
    /// # Errors
    /// When something cannot be moved, or there is never a moment for it.
    pub(crate) fn swap(&self, swap: &Swap<'_>, settle: &Settle<'_>) -> Result<(), Error> {
        let mut pause = PAUSE_MIN;
        let mut last = None;
        for _ in 0..TRIES {
            let tried = self.ask_long(async |client| swap.attempt(client, settle).await);
            match tried.and_then(|made| made) {
                Ok(()) => return Ok(()),
                Err(error)
                    if matches!(error.kind, ErrorKind::Temporary | ErrorKind::Unavailable) =>
                {
                    tracing::info!("no moment for the swap yet, trying again: {error}");
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
            if self.shared.shutdown.sleep(pause) {
                return Err(Error::new(ErrorKind::Temporary, "stopped before the swap"));
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        let last = last.map_or_else(String::new, |error| error.message);
        Err(Error::new(
            ErrorKind::Temporary,
            format!("no moment was found for the swap in {TRIES} tries, the last one: {last}"),
        ))
    }
}

fn refusal(version: &Version, obstacles: &[String]) -> Error {
    Error::config(format!(
        "{}.{} cannot be replaced, as these cannot be moved to another table: {}. Drop them, swap, and \
         make them again",
        version.schema,
        version.table,
        obstacles.join(", ")
    ))
}

/// A name inside of a text.
fn text(name: &str) -> String {
    name.replace('\'', "''")
}
