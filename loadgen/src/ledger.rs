//! What was produced, for whoever checks that it all arrived.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cents::Cents;

/// Why a ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("cannot read the ledger {}: is the path right and the run finished?", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the ledger {}: does the folder exist and may it be written?", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not a ledger of loadgen", path.display())]
    Format { path: PathBuf, source: serde_json::Error },
}

/// What one run produced, per partition and in total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub topic: String,
    pub seed: u64,
    /// Whether the broker has acknowledged every record counted here.
    pub complete: bool,
    pub produced: u64,
    pub partitions: Vec<PartitionEntry>,
    pub totals: Tally,
}

/// What one partition got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionEntry {
    pub partition: i32,
    /// Offset of the first record of this run; the high watermark if there is none.
    pub first_offset: i64,
    /// Offset after the last record of this run.
    pub next_offset: i64,
    #[serde(flatten)]
    pub tally: Tally,
}

/// Counts and sums over records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// All records: orders, tombstones and poison.
    pub produced: u64,
    /// Records that become a row when rows are appended: new orders and updates.
    pub orders: u64,
    /// Orders with their first record in this run: the rows left by upsert.
    pub distinct_order_ids: u64,
    /// Orders that no tombstone removed: the rows left by upsert and delete.
    pub live_order_ids: u64,
    /// Orders (not their updates) whose `created_at` was moved into the past.
    pub late: u64,
    /// Sum of `amount` over `orders`.
    pub amount_sum: Cents,
    /// Sum of `amount` over `distinct_order_ids`; an update never changes the amount.
    pub distinct_amount_sum: Cents,
    /// Sum of `amount` over `live_order_ids`.
    pub live_amount_sum: Cents,
    pub tombstones: u64,
    /// Records that cannot become a row, by kind.
    pub poison: BTreeMap<String, u64>,
    pub poison_total: u64,
}

impl Tally {
    /// Adds another tally to this one.
    pub fn add(&mut self, other: &Tally) {
        self.produced += other.produced;
        self.orders += other.orders;
        self.distinct_order_ids += other.distinct_order_ids;
        self.live_order_ids += other.live_order_ids;
        self.late += other.late;
        self.amount_sum += other.amount_sum;
        self.distinct_amount_sum += other.distinct_amount_sum;
        self.live_amount_sum += other.live_amount_sum;
        self.tombstones += other.tombstones;
        for (kind, count) in &other.poison {
            *self.poison.entry(kind.clone()).or_default() += count;
        }
        self.poison_total += other.poison_total;
    }
}

impl Ledger {
    /// A ledger over these partitions, with their totals.
    pub fn new(topic: &str, seed: u64, complete: bool, partitions: Vec<PartitionEntry>) -> Self {
        let mut totals = Tally::default();
        for entry in &partitions {
            totals.add(&entry.tally);
        }
        let produced = totals.produced;
        Ledger { topic: topic.to_owned(), seed, complete, produced, partitions, totals }
    }

    /// Reads a ledger file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path)
            .map_err(|source| LedgerError::Read { path: path.to_owned(), source })?;
        serde_json::from_slice(&bytes)
            .map_err(|source| LedgerError::Format { path: path.to_owned(), source })
    }

    /// Writes the ledger in one step: a reader sees the old file or the whole new one.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), LedgerError> {
        let path = path.as_ref();
        let mut json = serde_json::to_vec_pretty(self)
            .map_err(|source| LedgerError::Format { path: path.to_owned(), source })?;
        json.push(b'\n');
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        std::fs::write(&partial, json)
            .and_then(|()| std::fs::rename(&partial, path))
            .map_err(|source| LedgerError::Write { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(partition: i32, produced: u64) -> PartitionEntry {
        let poison = BTreeMap::from([("not_json".to_owned(), produced)]);
        let amount_sum = Cents(produced as i128 * 101);
        let tally = Tally {
            produced,
            orders: produced,
            amount_sum,
            poison,
            poison_total: produced,
            ..Tally::default()
        };
        PartitionEntry { partition, first_offset: 3, next_offset: 3 + produced as i64, tally }
    }

    #[test]
    fn a_ledger_reads_back_as_it_was_written() {
        let ledger = Ledger::new("orders", u64::MAX, true, vec![entry(0, 2), entry(1, 5)]);
        let path = std::env::temp_dir().join(format!("loadgen-ledger-{}.json", std::process::id()));
        ledger.write(&path).unwrap();
        let back = Ledger::read(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(back.unwrap(), ledger);
    }

    #[test]
    fn totals_are_the_sums_of_the_partitions() {
        let totals = Ledger::new("orders", 1, true, vec![entry(0, 2), entry(1, 5)]).totals;
        assert_eq!((totals.produced, totals.poison["not_json"]), (7, 7));
        assert_eq!(totals.amount_sum.to_string(), "7.07");
    }

    #[test]
    fn the_file_has_the_names_that_checkers_read() {
        let ledger = Ledger::new("orders", 1, true, vec![entry(0, 2)]);
        let json = serde_json::to_value(&ledger).unwrap();
        assert_eq!(json["partitions"][0]["next_offset"], 5);
        assert_eq!(json["partitions"][0]["amount_sum"], "2.02");
        assert_eq!(json["totals"]["poison"]["not_json"], 2);
    }

    #[test]
    fn a_missing_ledger_is_named_in_the_error() {
        let error = Ledger::read("nowhere/ledger.json").unwrap_err();
        assert!(error.to_string().contains("nowhere/ledger.json"), "{error}");
    }
}
