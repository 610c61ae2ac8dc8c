//! Looks at the database without changing anything: for `tidegate check` and `tidegate lag`.

use std::time::Instant;

use deadpool_postgres::Object;
use tokio_postgres::SimpleQueryMessage;

use super::{PostgresSink, Shared, connect, sqlstate::PgError};
use crate::error::Error;

const BEGIN_SQL: &str = "BEGIN TRANSACTION READ ONLY";

const CHECKPOINTS_SQL: &str = "\
    SELECT topic, partition, target, next_offset, topic_id, replaced FROM tidegate.checkpoints \
    WHERE consumer_group = $1 AND cluster_id = $2";

/// How often it is looked whether the session is still the same.
const SESSION_TRIES: usize = 3;

/// Where a lane stands.
#[derive(Clone, Debug)]
pub(crate) struct StoredPosition {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) target: String,
    pub(crate) next_offset: i64,
    /// The topic that the offset is of.
    pub(crate) topic_id: Option<String>,
    /// The mapping that may not write any more, since a replay has replaced its table.
    pub(crate) replaced: Option<String>,
}

impl PostgresSink {
    /// Asks in a transaction that reads alone; not tried again, and not waited for longer than the
    /// sink's patience.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub(crate) fn inspect<T>(
        &self,
        question: impl AsyncFnOnce(&Object) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
        self.ask_once(async |client| {
            client.batch_execute(BEGIN_SQL).await.map_err(failed)?;
            let answer = question(client).await.map_err(failed)?;
            client.batch_execute("ROLLBACK").await.map_err(failed)?;
            Ok(answer)
        })
    }

    /// Whether one connection gets several sessions: a pooler stands between that gives each transaction
    /// another one. Asked without prepared statements, which may be lost in between.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub(crate) fn session_changes(&self) -> Result<bool, Error> {
        let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
        self.ask_once(async |client| {
            let other = connect::checkout(&self.shared.pool).await?;
            let before = process(client).await.map_err(failed)?;
            for _ in 0..SESSION_TRIES {
                // It keeps the session that the first one may have had.
                other.batch_execute(BEGIN_SQL).await.map_err(failed)?;
                process(&other).await.map_err(failed)?;
                let after = process(client).await.map_err(failed)?;
                other.batch_execute("ROLLBACK").await.map_err(failed)?;
                if after != before {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    fn ask_once<T>(
        &self,
        question: impl AsyncFnOnce(&mut Object) -> Result<T, PgError>,
    ) -> Result<T, Error> {
        let Shared { name, pool, runtime, .. } = &*self.shared;
        let deadline = Instant::now() + self.patience;
        let mut go_on = || Instant::now() < deadline;
        let answer =
            runtime.block_on(connect::ask_while(pool, &mut go_on, self.patience, question));
        answer.map_err(|error| {
            if error.code == "stopped" {
                let seconds = self.patience.as_secs();
                return Error::unavailable(format!("sink {name}: no answer within {seconds} s"));
            }
            error.to_error(name)
        })
    }

    /// The checkpoints of a group that reads this cluster; none if nobody has written here yet.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub(crate) fn stored_positions(
        &self,
        group: &str,
        cluster_id: &str,
    ) -> Result<Vec<StoredPosition>, Error> {
        self.inspect(async |client| {
            let made = "SELECT count(*) > 0 FROM pg_class WHERE relname = 'checkpoints' \
                        AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'tidegate')";
            if !client.query_one(made, &[]).await?.get::<_, bool>(0) {
                return Ok(Vec::new());
            }
            let rows = client.query(CHECKPOINTS_SQL, &[&group, &cluster_id]).await?;
            let position = |row: &tokio_postgres::Row| StoredPosition {
                topic: row.get(0),
                partition: row.get(1),
                target: row.get(2),
                next_offset: row.get(3),
                topic_id: row.get(4),
                replaced: row.get(5),
            };
            Ok(rows.iter().map(position).collect())
        })
    }
}

/// The process that serves a connection.
async fn process(client: &Object) -> Result<String, tokio_postgres::Error> {
    let answers = client.simple_query("SELECT pg_backend_pid()").await?;
    let row = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(row.unwrap_or_default().to_owned())
}
