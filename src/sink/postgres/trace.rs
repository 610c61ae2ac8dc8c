//! What became of one record, as far as the database tells.

use super::{
    PostgresSink,
    catalog::{CatalogColumn, Table, quote_identifier},
    column::Metadata,
    sqlstate::PgError,
};
use crate::{
    config::{self, ColumnFeed},
    error::Error,
};

/// How long the table may be searched: without an index on the record's place, all of it is read.
const SEARCH_SQL: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = '5s'";
/// How many offsets around a row its batch is looked for.
const BATCH_MAX: i64 = 1_000_000;
/// What Postgres answers when that was too short.
const CANCELLED: &str = "57014";

const CHECKPOINT_SQL: &str = "\
    SELECT next_offset, owner, to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
    FROM tidegate.checkpoints WHERE consumer_group = $1 AND cluster_id = $2 AND topic = $3 \
      AND partition = $4 AND target = $5";

/// A record on its way to one target.
pub(crate) struct Sought<'a> {
    pub(crate) group: &'a str,
    pub(crate) cluster_id: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// The lane's name of the target.
    pub(crate) target: &'a str,
}

/// Where a lane stands.
pub(crate) struct Checkpoint {
    pub(crate) next_offset: i64,
    pub(crate) owner: String,
    pub(crate) updated_at: String,
}

/// What was found of a record in its table.
pub(crate) enum Search {
    /// The rows that have its place.
    Rows(Vec<Found>),
    /// No column of the table has the records' offsets.
    NoPlace,
    /// It took too long, with this condition.
    TooLong(String),
}

/// A row that was found.
pub(crate) struct Found {
    /// The names and values of its columns.
    pub(crate) cells: Vec<(String, String)>,
    pub(crate) batch: Option<Together>,
}

/// The rows around one that have come with its transaction, if nobody has changed them since.
pub(crate) struct Together {
    pub(crate) rows: i64,
    pub(crate) first_offset: String,
    pub(crate) last_offset: String,
    /// If Postgres keeps it (`track_commit_timestamp`).
    pub(crate) committed_at: Option<String>,
}

impl PostgresSink {
    /// The checkpoint of the record's lane, if it has one.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub(crate) fn checkpoint(&self, sought: &Sought<'_>) -> Result<Option<Checkpoint>, Error> {
        let Sought { group, cluster_id, topic, partition, target, .. } = sought;
        self.ask(async |client| {
            let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                [group, cluster_id, topic, partition, target];
            match client.query_opt(CHECKPOINT_SQL, &parameters).await {
                Ok(row) => Ok(row.map(|row| Checkpoint {
                    next_offset: row.get(0),
                    owner: row.get(1),
                    updated_at: row.get(2),
                })),
                Err(error) => match PgError::from_driver(&error) {
                    // No tidegate has written here yet.
                    error if error.code == "42P01" => Ok(None),
                    error => Err(error),
                },
            }
        })
    }

    /// Looks for the row of a record by the columns that have its place.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub(crate) fn search(
        &self,
        table: &Table,
        target: &config::Target,
        sought: &Sought<'_>,
    ) -> Result<Search, Error> {
        let Some(place) = Place::new(target, sought) else { return Ok(Search::NoPlace) };
        let condition = place.condition();
        let generated = table.generated.keys();
        let names: Vec<&String> =
            table.columns.iter().map(|column| &column.name).chain(generated).collect();
        let shown: Vec<String> =
            names.iter().map(|name| format!("{}::text", quote_identifier(name))).collect();
        let batch_sql = place.batch_sql(table);
        let table = table.quoted();
        let sql = format!(
            "SELECT ARRAY[{}], xmin::text FROM {table} WHERE {condition} LIMIT 3",
            shown.join(", ")
        );
        self.ask(async |client| {
            let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
            client.batch_execute(SEARCH_SQL).await.map_err(failed)?;
            let found = client.query(&sql, &[]).await.map_err(failed);
            let mut batches = Vec::new();
            for row in found.iter().flatten() {
                let Some(sql) = &batch_sql else { break };
                // It is left out where it takes too long.
                let batch = client.query_opt(sql, &[&row.get::<_, &str>(1)]).await;
                batches.push(batch.ok().flatten().as_ref().map(Together::of));
            }
            client.batch_execute("ROLLBACK").await.map_err(failed)?;
            let rows = match found {
                Ok(rows) => rows,
                Err(error) if error.code == CANCELLED => {
                    return Ok(Search::TooLong(condition.clone()));
                }
                Err(error) => return Err(error),
            };
            let shown = |row: &tokio_postgres::Row| {
                let values: Vec<Option<String>> = row.get(0);
                let values = values.into_iter().map(|v| v.unwrap_or_else(|| "NULL".to_owned()));
                names.iter().map(|&name| name.clone()).zip(values).collect()
            };
            let batches = batches.into_iter().chain(std::iter::repeat_with(|| None));
            let found = rows.iter().zip(batches);
            Ok(Search::Rows(found.map(|(row, batch)| Found { cells: shown(row), batch }).collect()))
        })
    }
}

impl Together {
    fn of(row: &tokio_postgres::Row) -> Self {
        Self {
            rows: row.get(0),
            first_offset: row.get(1),
            last_offset: row.get(2),
            committed_at: row.get(3),
        }
    }
}

/// The columns that are fed from a record's place, and what they have for it. Texts, which read as
/// whatever type the column has.
struct Place {
    offset: i64,
    /// The column that has it.
    column: String,
    /// What is true of the rows of the same partition.
    lane: String,
}

impl Place {
    fn new(target: &config::Target, sought: &Sought<'_>) -> Option<Self> {
        let column = |metadata| {
            let mut fed = target.columns.iter();
            fed.find(|(_, feed)| **feed == ColumnFeed::Metadata(metadata))
                .map(|(column, _)| column.clone())
        };
        let mut lane = String::new();
        if let Some(partition) = column(Metadata::Partition) {
            lane.push_str(&format!(
                " AND {} = '{}'",
                quote_identifier(&partition),
                sought.partition
            ));
        }
        if let Some(topic) = column(Metadata::Topic) {
            let text = sought.topic.replace('\'', "''");
            lane.push_str(&format!(" AND {} = '{text}'", quote_identifier(&topic)));
        }
        Some(Self { offset: sought.offset, column: column(Metadata::Offset)?, lane })
    }

    fn condition(&self) -> String {
        format!("{} = '{}'{}", quote_identifier(&self.column), self.offset, self.lane)
    }

    /// What was committed with the transaction `$1`, if the offsets are numbers: no batch goes further.
    fn batch_sql(&self, table: &Table) -> Option<String> {
        let is_number = |known: &&CatalogColumn| {
            known.name == self.column && matches!(known.type_name.as_str(), "bigint" | "integer")
        };
        table.columns.iter().find(is_number)?;
        let (offset, lane) = (self.offset, &self.lane);
        let (column, table) = (quote_identifier(&self.column), table.quoted());
        Some(format!(
            "SELECT count(*), min({column})::text, max({column})::text, \
                 CASE current_setting('track_commit_timestamp') WHEN 'on' THEN \
                     to_char(pg_xact_commit_timestamp($1::text::xid) AT TIME ZONE 'UTC', \
                         'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') END \
             FROM {table} WHERE {column} BETWEEN {} AND {}{lane} AND xmin = $1::text::xid",
            offset.saturating_sub(BATCH_MAX),
            offset.saturating_add(BATCH_MAX),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Target;

    #[test]
    fn a_row_is_looked_for_by_all_columns_that_have_a_place() {
        let sought = Sought {
            group: "g",
            cluster_id: "c",
            topic: "it's",
            partition: 3,
            offset: 7,
            target: "pg.public.t",
        };
        let mut target = Target::example();
        let condition =
            |target: &Target| Place::new(target, &sought).map(|place| place.condition());
        assert_eq!(condition(&target), None);
        let mut feed = |column: &str, metadata| {
            target.columns.insert(column.to_owned(), ColumnFeed::Metadata(metadata));
            condition(&target)
        };
        assert_eq!(feed("part", Metadata::Partition), None);
        let expected = "\"off\" = '7' AND \"part\" = '3'";
        assert_eq!(feed("off", Metadata::Offset).as_deref(), Some(expected));
        let expected = "\"off\" = '7' AND \"part\" = '3' AND \"t\" = 'it''s'";
        assert_eq!(feed("t", Metadata::Topic).as_deref(), Some(expected));
    }
}
