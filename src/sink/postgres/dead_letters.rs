//! The stored dead letters, and what an operator does with them.

use deadpool_postgres::Object;
use tokio_postgres::{Row, types::ToSql};

use super::{
    PostgresSink, ddl, session,
    sqlstate::{Fault, PgError},
};
use crate::error::Error;

/// The class of a [`WriteError::Outage`](crate::sink::WriteError) of a replay: the letters of its
/// batch are not what they were when they were read.
pub const REPLAYED: &str = session::REPLAYED;

const ADD_HEADERS_SQL: &str =
    "ALTER TABLE tidegate.dead_letters ADD COLUMN IF NOT EXISTS headers jsonb";

const HAS_HEADERS_SQL: &str = "SELECT EXISTS (SELECT FROM pg_attribute WHERE attname = 'headers' \
     AND attrelid = to_regclass('tidegate.dead_letters') AND NOT attisdropped)";

/// Letters that are removed in one statement: a statement has a deadline.
const DROP_ROWS: i64 = 5_000;

/// A filter as a condition; its parameters come first in each statement.
const MATCHES: &str = "\
    consumer_group = ANY($1) AND ($2::text IS NULL OR topic = $2) \
    AND ($3::int4 IS NULL OR partition = $3) AND ($4::int8 IS NULL OR \"offset\" = $4) \
    AND ($5::text IS NULL OR target = $5) AND ($6::text IS NULL OR reason = $6) \
    AND ($7::text IS NULL OR created_at >= $7::text::timestamptz)";

const ENTRY: &str = "\
    consumer_group, topic, partition, \"offset\", target, reason, column_name, message, sqlstate, \
    to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
    coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0)";

/// Which dead letters.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of these consumer groups.
    pub groups: Vec<String>,
    /// Of this topic.
    pub topic: Option<String>,
    /// Of this partition.
    pub partition: Option<i32>,
    /// At this offset.
    pub offset: Option<i64>,
    /// On their way to this target.
    pub target: Option<String>,
    /// For this reason.
    pub reason: Option<String>,
    /// Not older than this instant, in RFC 3339.
    pub since: Option<String>,
}

impl Filter {
    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![
            &self.groups,
            &self.topic,
            &self.partition,
            &self.offset,
            &self.target,
            &self.reason,
            &self.since,
        ]
    }
}

/// What is told of a dead letter in a list.
#[derive(Clone, Debug)]
pub struct Entry {
    /// In whose name it was read.
    pub group: String,
    /// The record's topic.
    pub topic: String,
    /// The record's partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
    /// Where it was to go.
    pub target: String,
    /// The class of its rejection.
    pub reason: String,
    /// The column that could not take its value.
    pub column: Option<String>,
    /// What was found, what was expected.
    pub message: String,
    /// What Postgres said.
    pub sqlstate: Option<String>,
    /// Since when it is there, in RFC 3339.
    pub created_at: String,
    /// Bytes of key and value.
    pub bytes: i32,
}

/// A dead letter with its record.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What a list tells of it.
    pub entry: Entry,
    /// The cluster in which its offset means something.
    pub cluster_id: String,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's payload.
    pub value: Option<Vec<u8>>,
    /// The record's headers, as [`headers::to_json`](crate::headers::to_json) writes them.
    pub headers: Option<String>,
    /// Changes with each change of the row.
    pub version: String,
}

/// How many dead letters have something in common.
#[derive(Clone, Debug)]
pub struct Sum {
    /// What they have in common.
    pub names: Vec<String>,
    /// How many there are.
    pub count: i64,
    /// When the first and the last came, in RFC 3339.
    pub span: [String; 2],
}

/// The letters of one group and topic, on their way to one target.
#[derive(Clone, Debug)]
pub struct Way {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The target.
    pub target: String,
}

/// A place in the order in which the letters of a [`Way`] are replayed: cluster, partition, offset.
pub type Place = (String, i32, i64);

/// Adds the column that tables lack which were made before dead letters had headers.
///
/// # Errors
/// When Postgres cannot be asked, or the role may not: then with the SQL for somebody who may.
pub(super) async fn ensure_headers(client: &mut Object) -> Result<(), PgError> {
    let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
    if client.query_one(HAS_HEADERS_SQL, &[]).await.map_err(failed)?.get(0) {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(ddl::LOCK_SQL).await.map_err(failed)?;
    let altered = transaction.batch_execute(ADD_HEADERS_SQL).await.map_err(failed);
    altered.map_err(|error| match error.fault {
        Fault::Permission => PgError {
            message: format!(
                "an earlier version has made tidegate.dead_letters, and this role may not add the \
                 column that it lacks ({}); its owner must run: {ADD_HEADERS_SQL}",
                error.message
            ),
            ..error
        },
        _ => error,
    })?;
    transaction.commit().await.map_err(failed)
}

impl PostgresSink {
    /// The newest dead letters, and how many there are.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn list_dead_letters(
        &self,
        filter: &Filter,
        limit: i64,
    ) -> Result<(Vec<Entry>, i64), Error> {
        let count = format!("SELECT count(*) FROM tidegate.dead_letters WHERE {MATCHES}");
        let list = format!(
            "SELECT {ENTRY} FROM tidegate.dead_letters WHERE {MATCHES} \
             ORDER BY created_at DESC, topic, partition, \"offset\" DESC, target LIMIT $8"
        );
        let counted = self.rows(&count, &filter.parameters())?;
        let mut parameters = filter.parameters();
        parameters.push(&limit);
        let listed = self.rows(&list, &parameters)?;
        let total = counted.first().map_or(0, |row| row.get(0));
        Ok((listed.iter().map(entry).collect(), total))
    }

    /// How many dead letters there are by the values of some columns, the most frequent first.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn sum_dead_letters(&self, filter: &Filter, columns: &[&str]) -> Result<Vec<Sum>, Error> {
        let names: Vec<String> =
            columns.iter().map(|column| format!("coalesce({column}, '-')")).collect();
        let (names, count) = (names.join(", "), columns.len());
        let groups: Vec<String> = (1..=count).map(|place| place.to_string()).collect();
        let format = "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'";
        let sql = format!(
            "SELECT {names}, count(*), to_char(min(created_at) AT TIME ZONE 'UTC', {format}), \
             to_char(max(created_at) AT TIME ZONE 'UTC', {format}) \
             FROM tidegate.dead_letters WHERE {MATCHES} GROUP BY {groups} \
             ORDER BY count(*) DESC, {groups}",
            groups = groups.join(", ")
        );
        let rows = self.rows(&sql, &filter.parameters())?;
        let sum = |row: &Row| Sum {
            names: (0..count).map(|place| row.get(place)).collect(),
            count: row.get(count),
            span: [row.get(count + 1), row.get(count + 2)],
        };
        Ok(rows.iter().map(sum).collect())
    }

    /// Everything of the dead letters that match, which are few: those of one record.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn show_dead_letters(&self, filter: &Filter) -> Result<Vec<Stored>, Error> {
        let sql = format!(
            "SELECT {ENTRY}, {} FROM tidegate.dead_letters WHERE {MATCHES} \
             ORDER BY consumer_group, cluster_id, target",
            self.record_columns()?
        );
        Ok(self.rows(&sql, &filter.parameters())?.iter().map(stored).collect())
    }

    /// The first letters of `way` behind `after`, all of one partition, at most `count` of them and
    /// so many bytes; one at least, if there is one.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn page_of_dead_letters(
        &self,
        filter: &Filter,
        way: &Way,
        after: Option<&Place>,
        [count, bytes]: [i64; 2],
    ) -> Result<Vec<Stored>, Error> {
        // octet_length does not fetch what is stored out of line (toast_raw_datum_size).
        let sql = format!(
            "WITH page AS ( \
                 SELECT xmin AS version, *, coalesce(octet_length(key), 0) \
                     + coalesce(octet_length(value), 0) AS size FROM tidegate.dead_letters \
                 WHERE {MATCHES} AND consumer_group = $8 AND topic = $9 AND target = $10 \
                   AND ($11::text IS NULL OR (cluster_id, partition, \"offset\") > ($11, $12, $13)) \
                 ORDER BY cluster_id, partition, \"offset\" LIMIT $14), \
             measured AS ( \
                 SELECT *, sum(size) OVER places - size AS before, \
                     first_value(cluster_id) OVER places AS first_cluster, \
                     first_value(partition) OVER places AS first_partition \
                 FROM page WINDOW places AS (ORDER BY cluster_id, partition, \"offset\")) \
             SELECT {ENTRY}, {} FROM measured WHERE before <= $15::int8 \
               AND cluster_id = first_cluster AND partition = first_partition \
             ORDER BY \"offset\"",
            self.record_columns()?.replace("xmin", "version")
        );
        let (cluster, partition, offset) = match after {
            Some((cluster, partition, offset)) => (Some(cluster), *partition, *offset),
            None => (None, 0, 0),
        };
        let mut parameters = filter.parameters();
        parameters.extend([&way.group, &way.topic, &way.target].map(|t| t as &(dyn ToSql + Sync)));
        parameters.push(&cluster);
        parameters.push(&partition);
        parameters.push(&offset);
        parameters.push(&count);
        parameters.push(&bytes);
        Ok(self.rows(&sql, &parameters)?.iter().map(stored).collect())
    }

    /// Removes dead letters for good; gives how many. Those that are being replayed stay.
    ///
    /// # Errors
    /// When the database cannot be asked. What was removed by then is.
    pub fn drop_dead_letters(&self, filter: &Filter) -> Result<u64, Error> {
        let sql = format!(
            "WITH gone AS (DELETE FROM tidegate.dead_letters WHERE ctid = ANY(ARRAY( \
                 SELECT ctid FROM tidegate.dead_letters WHERE {MATCHES} LIMIT $8 \
                 FOR UPDATE SKIP LOCKED)) RETURNING 1) SELECT count(*) FROM gone"
        );
        let mut parameters = filter.parameters();
        parameters.push(&DROP_ROWS);
        let mut dropped = 0;
        loop {
            let rows = self.rows(&sql, &parameters)?;
            match rows.first().map_or(0, |row| row.get::<_, i64>(0)) {
                0 => return Ok(dropped),
                count => dropped += count as u64,
            }
        }
    }

    /// What [`stored`] reads behind an [`ENTRY`]; a table that nobody has written to since dead
    /// letters have headers has none.
    fn record_columns(&self) -> Result<String, Error> {
        let has_headers: bool =
            self.rows(HAS_HEADERS_SQL, &[])?.first().is_some_and(|row| row.get(0));
        let headers = if has_headers { "headers::text" } else { "NULL::text" };
        Ok(format!(
            "cluster_id, (extract(epoch FROM record_timestamp) * 1000)::int8, key, value, {headers}, \
             xmin::text"
        ))
    }

    /// No rows where no tidegate has made the table yet.
    fn rows(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        self.ask(async |client| match client.query(sql, parameters).await {
            Ok(rows) => Ok(rows),
            Err(error) => match PgError::from_driver(&error) {
                error if error.code == "42P01" => Ok(Vec::new()),
                error if error.fault == Fault::Permission => Err(PgError {
                    message: format!(
                        "{}; the role needs USAGE on the schema tidegate, and SELECT, INSERT, UPDATE \
                         and DELETE on tidegate.dead_letters",
                        error.message
                    ),
                    ..error
                }),
                error => Err(error),
            },
        })
    }
}

fn entry(row: &Row) -> Entry {
    Entry {
        group: row.get(0),
        topic: row.get(1),
        partition: row.get(2),
        offset: row.get(3),
        target: row.get(4),
        reason: row.get(5),
        column: row.get(6),
        message: row.get(7),
        sqlstate: row.get(8),
        created_at: row.get(9),
        bytes: row.get(10),
    }
}

fn stored(row: &Row) -> Stored {
    Stored {
        entry: entry(row),
        cluster_id: row.get(11),
        timestamp_ms: row.get(12),
        key: row.get(13),
        value: row.get(14),
        headers: row.get(15),
        version: row.get(16),
    }
}
