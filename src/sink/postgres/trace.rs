//! What became of one record, as far as the database tells.

use super::{
    PostgresSink,
    catalog::{Table, quote_identifier},
    column::Metadata,
    sqlstate::PgError,
};
use crate::{
    config::{self, ColumnFeed},
    error::Error,
};

/// How long the table may be searched: without an index on the record's place, all of it is read.
const SEARCH_SQL: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = '5s'";
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
    /// The rows that have its place, each with the names and values of its columns.
    Rows(Vec<Vec<(String, String)>>),
    /// No column of the table has the records' offsets.
    NoPlace,
    /// It took too long, with this condition.
    TooLong(String),
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
        let Some(condition) = condition(target, sought) else { return Ok(Search::NoPlace) };
        let generated = table.generated.keys();
        let names: Vec<&String> =
            table.columns.iter().map(|column| &column.name).chain(generated).collect();
        let shown: Vec<String> =
            names.iter().map(|name| format!("{}::text", quote_identifier(name))).collect();
        let table = table.quoted();
        let sql =
            format!("SELECT ARRAY[{}] FROM {table} WHERE {condition} LIMIT 3", shown.join(", "));
        self.ask(async |client| {
            let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
            client.batch_execute(SEARCH_SQL).await.map_err(failed)?;
            let found = client.query(&sql, &[]).await.map_err(failed);
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
            Ok(Search::Rows(rows.iter().map(shown).collect()))
        })
    }
}

/// What is true of the row of a record, by the columns that are fed from its place. Texts, which read as
/// whatever type the column has.
fn condition(target: &config::Target, sought: &Sought<'_>) -> Option<String> {
    let column = |metadata| {
        let mut fed = target.columns.iter();
        fed.find(|(_, feed)| **feed == ColumnFeed::Metadata(metadata))
            .map(|(column, _)| quote_identifier(column))
    };
    let mut condition = format!("{} = '{}'", column(Metadata::Offset)?, sought.offset);
    if let Some(partition) = column(Metadata::Partition) {
        condition.push_str(&format!(" AND {partition} = '{}'", sought.partition));
    }
    if let Some(topic) = column(Metadata::Topic) {
        condition.push_str(&format!(" AND {topic} = '{}'", sought.topic.replace('\'', "''")));
    }
    Some(condition)
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
        assert_eq!(condition(&target, &sought), None);
        let mut feed = |column: &str, metadata| {
            target.columns.insert(column.to_owned(), ColumnFeed::Metadata(metadata));
            condition(&target, &sought)
        };
        assert_eq!(feed("part", Metadata::Partition), None);
        let expected = "\"off\" = '7' AND \"part\" = '3'";
        assert_eq!(feed("off", Metadata::Offset).as_deref(), Some(expected));
        let expected = "\"off\" = '7' AND \"part\" = '3' AND \"t\" = 'it''s'";
        assert_eq!(feed("t", Metadata::Topic).as_deref(), Some(expected));
    }
}
