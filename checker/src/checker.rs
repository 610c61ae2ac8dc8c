//! Asks Postgres and compares.

use std::collections::{BTreeMap, BTreeSet};

use loadgen::{Cents, Ledger};
use stack::Client;

use crate::{
    error::Error,
    facts::Facts,
    proof::{Comparison, Proof},
};

/// Which table to check, and how it tells its rows apart. It needs the columns `order_id` and
/// `amount`, and rows that were appended.
#[derive(Clone, Debug)]
pub struct Checker {
    table: String,
    origin: Option<Origin>,
    consumer_group: Option<String>,
    has_positions: bool,
}

/// Columns that say which record a row was.
#[derive(Clone, Debug)]
struct Origin {
    partition: String,
    offset: String,
}

type Row = Vec<Option<String>>;
/// `None` stands for all partitions together.
type ByPartition<T> = BTreeMap<Option<i32>, T>;

impl Checker {
    /// A check of `table`, a name as SQL wants it, in total alone.
    pub fn new(table: &str) -> Self {
        Self { table: table.to_owned(), origin: None, consumer_group: None, has_positions: true }
    }

    /// Checks each partition by itself, by the columns that hold each row's partition and offset.
    #[must_use]
    pub fn by_partition(mut self, partition_column: &str, offset_column: &str) -> Self {
        let (partition, offset) = (partition_column.to_owned(), offset_column.to_owned());
        self.origin = Some(Origin { partition, offset });
        self
    }

    /// Looks only at the checkpoints and dead letters of this consumer group; without it there
    /// must be one group alone.
    #[must_use]
    pub fn consumer_group(mut self, group: &str) -> Self {
        self.consumer_group = Some(group.to_owned());
        self
    }

    /// For at-least-once delivery, which keeps no checkpoints in Postgres.
    #[must_use]
    pub fn without_checkpoints(mut self) -> Self {
        self.has_positions = false;
        self
    }

    /// Compares the table with what `ledgers` say, one after the other produced to one topic. The
    /// order ids of two ledgers must not overlap.
    ///
    /// # Errors
    /// When the ledgers cannot be used or Postgres cannot be asked; not when the table is wrong.
    pub fn check(&self, client: &Client, ledgers: &[&Ledger]) -> Result<Proof, Error> {
        let topic = self.topic(ledgers)?;
        let expected = self.expected(ledgers);
        let mut found = self.rows(client)?;
        for (partition, next_offset) in self.positions(client, topic)? {
            found.entry(partition).or_default().0.next_offset = Some(next_offset);
        }
        for (partition, dead_letters) in self.dead_letters(client, topic)? {
            found.entry(partition).or_default().0.dead_letters = dead_letters;
        }
        // Rows of a partition that nothing was produced to are as wrong as missing ones.
        let partitions: BTreeSet<Option<i32>> =
            expected.keys().chain(found.keys()).copied().collect();
        let comparisons = partitions.into_iter().map(|partition| {
            let expected = expected.get(&partition).cloned().unwrap_or_default();
            let (found, positions) = found.remove(&partition).unwrap_or_default();
            let duplicated = match positions {
                Some(positions) => found.rows - positions,
                // Updates repeat an order id and are no duplicates.
                None => {
                    let repeated = expected.rows - expected.distinct_order_ids;
                    (found.rows - found.distinct_order_ids).saturating_sub(repeated)
                }
            };
            Comparison { partition, expected, found, duplicated }
        });
        Ok(Proof { table: self.table.clone(), comparisons: comparisons.collect() })
    }

    fn topic<'a>(&self, ledgers: &[&'a Ledger]) -> Result<&'a str, Error> {
        let Some(first) = ledgers.first() else {
            return Err(Error::NoLedger { table: self.table.clone() });
        };
        for ledger in ledgers {
            if !ledger.complete {
                return Err(Error::Incomplete { topic: ledger.topic.clone() });
            }
            if ledger.topic != first.topic {
                let (first, other) = (first.topic.clone(), ledger.topic.clone());
                return Err(Error::Topics { first, other });
            }
        }
        Ok(&first.topic)
    }

    fn expected(&self, ledgers: &[&Ledger]) -> ByPartition<Facts> {
        let mut by_partition: ByPartition<Facts> = BTreeMap::new();
        for entry in ledgers.iter().flat_map(|ledger| &ledger.partitions) {
            let facts = Facts::of_entry(entry, self.has_positions);
            by_partition.entry(Some(entry.partition)).or_default().continue_with(&facts);
        }
        if self.origin.is_some() {
            return by_partition;
        }
        let mut all = Facts::default();
        by_partition.values().for_each(|facts| all.add(facts));
        BTreeMap::from([(None, all)])
    }

    /// Facts about the rows, with the number of records that they come from where rows say so.
    fn rows(&self, client: &Client) -> Result<ByPartition<(Facts, Option<u64>)>, Error> {
        let (partition, positions, group) = match &self.origin {
            Some(Origin { partition, offset }) => {
                (partition.as_str(), format!("count(DISTINCT {offset})"), " GROUP BY 1")
            }
            None => ("NULL", "NULL".to_owned(), ""),
        };
        let sql = format!(
            "SELECT {partition}, count(*), count(DISTINCT order_id), \
             coalesce(sum(amount), 0)::numeric(38, 2), {positions} FROM {}{group}",
            self.table
        );
        let rows = client.query_text(&sql)?;
        rows.iter()
            .map(|row| {
                let facts = Facts {
                    rows: number(&sql, row, 1)?,
                    distinct_order_ids: number(&sql, row, 2)?,
                    amount_sum: parsed::<Cents>(&sql, row, 3, "an amount")?,
                    ..Facts::default()
                };
                let positions = self.origin.is_some().then(|| number(&sql, row, 4)).transpose()?;
                Ok((self.partition(&sql, row)?, (facts, positions)))
            })
            .collect()
    }

    fn positions(&self, client: &Client, topic: &str) -> Result<ByPartition<i64>, Error> {
        if !self.has_positions {
            return Ok(BTreeMap::new());
        }
        self.per_partition(client, topic, "tidegate.checkpoints", "sum(next_offset)::bigint")
    }

    fn dead_letters(&self, client: &Client, topic: &str) -> Result<ByPartition<u64>, Error> {
        self.per_partition(client, topic, "tidegate.dead_letters", "count(*)")
    }

    /// One number for each partition of `topic`, or for all of them together.
    fn per_partition<T: std::str::FromStr>(
        &self,
        client: &Client,
        topic: &str,
        table: &str,
        what: &str,
    ) -> Result<ByPartition<T>, Error> {
        let mut filter = format!("topic = {}", literal(topic));
        if let Some(group) = &self.consumer_group {
            filter += &format!(" AND consumer_group = {}", literal(group));
        }
        let (partition, group) = match self.origin {
            Some(_) => ("partition", "GROUP BY 1"),
            // Without a row there is no number, not NULL.
            None => ("NULL", "HAVING count(*) > 0"),
        };
        let sql = format!("SELECT {partition}, {what} FROM {table} WHERE {filter} {group}");
        let rows = client.query_text(&sql)?;
        rows.iter()
            .map(|row| Ok((self.partition(&sql, row)?, parsed(&sql, row, 1, "a number")?)))
            .collect()
    }

    fn partition(&self, sql: &str, row: &Row) -> Result<Option<i32>, Error> {
        self.origin.is_some().then(|| parsed(sql, row, 0, "a partition")).transpose()
    }
}

fn number(sql: &str, row: &Row, column: usize) -> Result<u64, Error> {
    parsed(sql, row, column, "a number")
}

fn parsed<T: std::str::FromStr>(
    sql: &str,
    row: &Row,
    column: usize,
    expected: &'static str,
) -> Result<T, Error> {
    let text = row.get(column).cloned().flatten();
    text.as_deref().and_then(|text| text.parse().ok()).ok_or_else(|| Error::Answer {
        sql: sql.to_owned(),
        got: text.unwrap_or_else(|| "NULL".to_owned()),
        expected,
    })
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
