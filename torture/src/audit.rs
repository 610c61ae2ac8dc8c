//! The books, checked after each fault: what stands before a partition's checkpoint is there once.
//!
//! The topic has no gaps, as one idempotent producer writes it: every offset before the checkpoint
//! is a row or a dead letter, and there is nothing behind it. One statement sees rows and checkpoint
//! at the same moment, so this holds at any time, while tidegate writes. The proof at the end
//! compares with the producer's ledger as well; this one tells after which fault it went wrong.

use std::collections::BTreeMap;

use stack::Client;

use crate::{error::Error, instance::GROUP, servers::TOPIC};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
}

/// Up to where the books were found in order, by partition.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    checked: BTreeMap<i32, i64>,
}

/// What one partition shows.
struct Page {
    partition: i32,
    next: i64,
    rows: i64,
    distinct_rows: i64,
    dead_letters: i64,
    rows_beyond: i64,
}

impl Audit {
    /// The database is another one and may have gone back in time: all is to be checked again.
    pub(crate) fn start_over(&mut self) {
        self.checked.clear();
    }

    /// Checks what came since the last time.
    pub(crate) fn check(&mut self, client: &Client) -> Result<Damage, Error> {
        let mut damage = Damage::default();
        for page in self.pages(client)? {
            let since = self.checked.insert(page.partition, page.next).unwrap_or(0);
            let missing = page.next - since - page.distinct_rows - page.dead_letters;
            let surplus = page.rows - page.distinct_rows + page.rows_beyond;
            damage.lost += missing.max(0) as u64;
            // Fewer offsets than records: some record is a row and a dead letter, or, where the
            // checkpoint went back, a row that stayed.
            damage.duplicated += (surplus + (-missing).max(0)) as u64;
        }
        Ok(damage)
    }

    fn pages(&self, client: &Client) -> Result<Vec<Page>, Error> {
        let sql = self.sql();
        let rows = client.query_text(&sql)?;
        let parsed = rows.iter().map(|row| {
            let numbers: Option<Vec<i64>> =
                row.iter().map(|cell| cell.as_deref()?.parse().ok()).collect();
            let [partition, next, rows, distinct_rows, dead_letters, rows_beyond] = numbers?[..]
            else {
                return None;
            };
            let partition = i32::try_from(partition).ok()?;
            Some(Page { partition, next, rows, distinct_rows, dead_letters, rows_beyond })
        });
        parsed
            .collect::<Option<_>>()
            .ok_or_else(|| Error::Answer { sql: sql.clone(), got: format!("{rows:?}") })
    }

    fn sql(&self) -> String {
        let since: Vec<String> =
            self.checked.iter().map(|(partition, next)| format!("({partition},{next})")).collect();
        // VALUES cannot be empty, and no partition has this number.
        let since = if since.is_empty() { "(-1,0)".to_owned() } else { since.join(",") };
        format!(
            "SELECT c.partition, c.next_offset, seen.rows, seen.distinct_rows, \
             (SELECT count(*) FROM tidegate.dead_letters d WHERE d.consumer_group = '{GROUP}' \
              AND d.topic = '{TOPIC}' AND d.partition = c.partition \
              AND d.\"offset\" >= coalesce(s.since, 0) AND d.\"offset\" < c.next_offset), \
             (SELECT count(*) FROM orders o WHERE o.kafka_partition = c.partition \
              AND o.kafka_offset >= c.next_offset) \
             FROM tidegate.checkpoints c \
             LEFT JOIN (VALUES {since}) s (partition, since) ON s.partition = c.partition, \
             LATERAL (SELECT count(*) AS rows, count(DISTINCT o.kafka_offset) AS distinct_rows \
              FROM orders o WHERE o.kafka_partition = c.partition \
              AND o.kafka_offset >= coalesce(s.since, 0) AND o.kafka_offset < c.next_offset) seen \
             WHERE c.consumer_group = '{GROUP}' AND c.topic = '{TOPIC}'"
        )
    }
}

#[cfg(test)]
mod tests {
    use stack::{Postgres, PostgresOptions};

    use super::*;

    const SCHEMA: &str = "CREATE SCHEMA tidegate; \
        CREATE TABLE tidegate.checkpoints (consumer_group text, topic text, partition int, \
            next_offset bigint); \
        CREATE TABLE tidegate.dead_letters (consumer_group text, topic text, partition int, \
            \"offset\" bigint); \
        CREATE TABLE orders (kafka_partition int, kafka_offset bigint); \
        INSERT INTO orders SELECT p, o FROM generate_series(0, 1) p, generate_series(0, 8) o; \
        INSERT INTO tidegate.dead_letters SELECT 'torture', 'orders', p, 9 \
            FROM generate_series(0, 1) p; \
        INSERT INTO tidegate.checkpoints SELECT 'torture', 'orders', p, 10 \
            FROM generate_series(0, 1) p";

    #[test]
    fn each_kind_of_damage_is_counted_once_and_after_the_fault_that_did_it() {
        let postgres = Postgres::start(PostgresOptions::default()).unwrap();
        postgres.execute(SCHEMA).unwrap();
        let client = postgres.client().unwrap();
        let mut audit = Audit::default();
        let mut after = |sql: &str| {
            client.execute(sql).unwrap();
            let Damage { lost, duplicated } = audit.check(&client).unwrap();
            (lost, duplicated)
        };
        let advance = "UPDATE tidegate.checkpoints SET next_offset = next_offset + 1 \
                       WHERE partition = 0";
        assert_eq!(after("SELECT 1"), (0, 0));
        assert_eq!(after(&format!("INSERT INTO orders VALUES (0, 10); {advance}")), (0, 0));
        assert_eq!(after(advance), (1, 0));
        assert_eq!(
            after(&format!("INSERT INTO orders VALUES (0, 12), (0, 12); {advance}")),
            (0, 1)
        );
        let both = "INSERT INTO orders VALUES (0, 13); \
                    INSERT INTO tidegate.dead_letters VALUES ('torture', 'orders', 0, 13)";
        assert_eq!(after(&format!("{both}; {advance}")), (0, 1));
        assert_eq!(after("INSERT INTO orders VALUES (1, 10)"), (0, 1));
        // Behind the back of what was checked, until all is checked again.
        assert_eq!(after("DELETE FROM orders WHERE kafka_offset IN (10, 12, 13)"), (0, 0));
        audit.start_over();
        let again = audit.check(&client).unwrap();
        assert_eq!(again, Damage { lost: 3, duplicated: 0 });
    }
}
