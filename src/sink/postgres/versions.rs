//! Versions of a table: a second table of the same kind that a replay fills, and that may take the
//! first one's place.
//!
//! `tidegate.replays` has a row for each, and decides what may be done with it: it is changed in the
//! transaction of what it tells of.

mod copy;
mod moves;
mod rollups;
mod swap;
mod views;

use std::time::Duration;

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::Row;

use super::{
    PostgresSink,
    catalog::{Table, quote_identifier},
    checkpoint, connect, ddl, growth,
    sqlstate::{Fault, PgError},
};
use crate::error::{Error, ErrorKind};

pub(crate) use swap::{Positions, Settle, Swap};

const REPLAYS_SQL: &str = "\
    CREATE TABLE IF NOT EXISTS tidegate.replays ( \
        replay_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
        table_schema   text NOT NULL, \
        table_name     text NOT NULL, \
        version        text NOT NULL, \
        consumer_group text NOT NULL, \
        origin         text NOT NULL, \
        state          text NOT NULL CHECK (state IN ('loading', 'loaded', 'serving')), \
        replaced_name  text, \
        index_names    jsonb NOT NULL DEFAULT '{}', \
        created_at     timestamptz NOT NULL DEFAULT now(), \
        swapped_at     timestamptz, \
        UNIQUE (table_schema, version)); \
    COMMENT ON TABLE tidegate.replays IS 'Versions of tables that replays have made'";

const COLUMNS: &str = "replay_id, table_schema, table_name, version, consumer_group, origin, state, \
     replaced_name";

/// As long as it takes: an index is built, a table is read.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);
/// In a transaction that builds indexes.
const PATIENT_SQL: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'; \
     SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// How far a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is being filled.
    Loading,
    /// It has its indexes.
    Loaded,
    /// It has taken the live table's place.
    Serving,
}

/// A version of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) id: i64,
    pub(crate) schema: String,
    /// The name by which everybody knows the table.
    pub(crate) table: String,
    /// The version's own name, which it has when it is not serving.
    pub(crate) name: String,
    /// In whose name it is filled.
    pub(crate) group: String,
    /// Where it begins, as it was asked for.
    pub(crate) origin: String,
    pub(crate) state: State,
    /// The name that the table has now whose place it has taken.
    pub(crate) replaced_name: Option<String>,
}

impl Version {
    fn of(row: &Row) -> Self {
        Self {
            id: row.get(0),
            schema: row.get(1),
            table: row.get(2),
            name: row.get(3),
            group: row.get(4),
            origin: row.get(5),
            state: match row.get(6) {
                "loading" => State::Loading,
                "loaded" => State::Loaded,
                _ => State::Serving,
            },
            replaced_name: row.get(7),
        }
    }

    /// A table of its schema, quoted.
    fn quoted(&self, name: &str) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(name))
    }
}

/// What a replay wants to fill.
pub(crate) struct Wanted<'a> {
    pub(crate) live: &'a Table,
    pub(crate) name: &'a str,
    pub(crate) group: &'a str,
    pub(crate) origin: &'a str,
}

impl PostgresSink {
    /// The version that is wanted: the one that is there, or a new one like the live table.
    ///
    /// # Errors
    /// When the name is taken, or the live table cannot be copied.
    pub(crate) fn prepare_version(&self, wanted: &Wanted<'_>) -> Result<Version, Error> {
        self.ask(async |client| checkpoint::ensure_schema(client).await)?;
        self.ask(async |client| growth::check_owner(client, wanted.live).await)??;
        self.ask_long(async |client| {
            let transaction = begin(client).await?;
            let version = match find(&transaction, &wanted.live.schema, wanted.name).await? {
                Some(version) => resume(wanted, version),
                None => make(&transaction, wanted).await?,
            };
            if version.is_ok() {
                transaction.commit().await.map_err(failed)?;
            }
            Ok(version)
        })?
    }

    /// Builds what the version's table `name` lacks of the live table's indexes, and has it counted for
    /// the planner.
    ///
    /// # Errors
    /// When an index cannot be built.
    pub(crate) fn finish_version(
        &self,
        live: &Table,
        version: &Version,
        name: &str,
    ) -> Result<(), Error> {
        self.ask_long(async |client| {
            // Without the lock of all DDL: partitions are made under it, and an index may take hours.
            let transaction = client.transaction().await.map_err(failed)?;
            transaction.batch_execute(PATIENT_SQL).await.map_err(failed)?;
            let made =
                copy::indexes(&transaction, live.oid, version, name, copy::Kind::All).await?;
            if made > 0 || version.state == State::Loading {
                let analyze = format!("ANALYZE {}", version.quoted(name));
                transaction.batch_execute(&analyze).await.map_err(failed)?;
            }
            let sql = "UPDATE tidegate.replays SET state = 'loaded' \
                       WHERE replay_id = $1 AND state = 'loading'";
            transaction.execute(sql, &[&version.id]).await.map_err(failed)?;
            transaction.commit().await.map_err(failed)
        })
    }

    /// The versions of a table, the newest swap first.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub(crate) fn versions(&self, schema: &str, table: &str) -> Result<Vec<Version>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM tidegate.replays WHERE table_schema = $1 AND table_name = $2 \
             ORDER BY swapped_at DESC NULLS LAST, replay_id DESC"
        );
        self.ask(async |client| match client.query(&sql, &[&schema, &table]).await {
            Ok(rows) => Ok(rows.iter().map(Version::of).collect()),
            Err(error) => match failed(error) {
                // There was never a replay.
                error if error.code == "42P01" => Ok(Vec::new()),
                error => Err(error),
            },
        })
    }

    /// Drops what a version has beside the table that serves: itself, or what it has replaced; with its
    /// positions and its dead letters. Gives the name of the table that is gone.
    ///
    /// # Errors
    /// When something depends on it.
    pub(crate) fn drop_version(&self, version: &Version) -> Result<String, Error> {
        let name = match (&version.replaced_name, version.state) {
            (Some(replaced), State::Serving) => replaced,
            _ => &version.name,
        };
        let table = version.quoted(name);
        let drop = format!("DROP TABLE IF EXISTS {table}");
        self.ask_long(async |client| {
            let transaction = begin(client).await?;
            transaction.batch_execute(&drop).await.map_err(failed)?;
            for sql in [
                "DELETE FROM tidegate.checkpoints WHERE consumer_group = $1",
                "DELETE FROM tidegate.dead_letters WHERE consumer_group = $1",
            ] {
                transaction.execute(sql, &[&version.group]).await.map_err(failed)?;
            }
            let sql = "DELETE FROM tidegate.replays WHERE replay_id = $1";
            transaction.execute(sql, &[&version.id]).await.map_err(failed)?;
            transaction.commit().await.map_err(failed)
        })?;
        Ok(table)
    }

    /// Asks for what may take long, once: whoever waits for it sees what went wrong.
    fn ask_long<T>(
        &self,
        question: impl AsyncFnOnce(&mut Object) -> Result<T, PgError>,
    ) -> Result<T, Error> {
        let shared = &self.shared;
        let go_on = &mut || !shared.shutdown.is_requested();
        let answer =
            shared.runtime.block_on(connect::ask_while(&shared.pool, go_on, LONG, question));
        answer.map_err(|error| {
            let PgError { fault, code, message, .. } = error;
            let kind = match fault {
                Fault::Outage => ErrorKind::Unavailable,
                Fault::Permission => ErrorKind::Permission,
                Fault::Row | Fault::Config => ErrorKind::Config,
            };
            Error::new(kind, format!("sink {}: {message} (SQLSTATE {code})", shared.name))
        })
    }
}

/// A transaction in which versions are changed, one at a time in a database.
async fn begin(client: &mut Object) -> Result<Transaction<'_>, PgError> {
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(ddl::LOCK_SQL).await.map_err(failed)?;
    transaction.batch_execute(REPLAYS_SQL).await.map_err(failed)?;
    Ok(transaction)
}

async fn find(
    transaction: &Transaction<'_>,
    schema: &str,
    name: &str,
) -> Result<Option<Version>, PgError> {
    let sql =
        format!("SELECT {COLUMNS} FROM tidegate.replays WHERE table_schema = $1 AND version = $2");
    let row = transaction.query_opt(&sql, &[&schema, &name]).await.map_err(failed)?;
    Ok(row.as_ref().map(Version::of))
}

/// Whether what is there is what is wanted.
fn resume(wanted: &Wanted<'_>, version: Version) -> Result<Version, Error> {
    let Wanted { live, name, group, origin } = wanted;
    let begun = format!("a replay into {}.{name} was begun", version.schema);
    let way_out = format!("`tidegate replay drop` removes it ({name})");
    if version.table != live.name || version.group != *group {
        let table = &version.table;
        return Err(Error::config(format!("{begun} by another route, for {table}; {way_out}")));
    }
    if version.state == State::Serving {
        return Err(Error::config(format!(
            "{begun}, and has taken the place of {}; choose another name",
            version.table
        )));
    }
    if version.origin != *origin {
        let known = &version.origin;
        return Err(Error::config(format!(
            "{begun} with --from {known}, and not {origin}; give the same to go on, or begin anew: \
             {way_out}"
        )));
    }
    Ok(version)
}

async fn make(
    transaction: &Transaction<'_>,
    wanted: &Wanted<'_>,
) -> Result<Result<Version, Error>, PgError> {
    let Wanted { live, name, group, origin } = wanted;
    let sql = format!(
        "INSERT INTO tidegate.replays (table_schema, table_name, version, consumer_group, origin, state) \
         VALUES ($1, $2, $3, $4, $5, 'loading') RETURNING {COLUMNS}"
    );
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&live.schema, &live.name, name, group, origin];
    let row = transaction.query_one(&sql, &parameters).await.map_err(failed)?;
    let version = Version::of(&row);
    if let Some(error) = copy::table(transaction, live, &version).await? {
        return Ok(Err(error));
    }
    copy::indexes(transaction, live.oid, &version, name, copy::Kind::Deciding).await?;
    Ok(Ok(version))
}

fn failed(error: tokio_postgres::Error) -> PgError {
    PgError::from_driver(&error)
}
