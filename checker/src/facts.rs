//! What can be said of a set of orders, on both sides.

use loadgen::{Cents, PartitionEntry};

/// What a table holds, or should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub rows: u64,
    pub distinct_order_ids: u64,
    pub amount_sum: Cents,
    /// Sum over the partitions; `None` where positions are not kept.
    pub next_offset: Option<i64>,
    pub dead_letters: u64,
}

impl Facts {
    /// What appending the records of one partition must leave: every order record is a row, every
    /// other record a dead letter.
    pub(crate) fn of_entry(entry: &PartitionEntry, has_positions: bool) -> Self {
        let tally = &entry.tally;
        Self {
            rows: tally.orders,
            distinct_order_ids: tally.distinct_order_ids,
            amount_sum: tally.amount_sum,
            next_offset: has_positions.then_some(entry.next_offset),
            dead_letters: tally.poison_total + tally.tombstones,
        }
    }

    /// Adds the facts of a later run on the same partition.
    pub(crate) fn continue_with(&mut self, later: &Self) {
        let next_offset = self.next_offset.max(later.next_offset);
        self.add(later);
        self.next_offset = next_offset;
    }

    /// Adds the facts of another partition.
    pub(crate) fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.distinct_order_ids += other.distinct_order_ids;
        self.amount_sum += other.amount_sum;
        self.next_offset = match (self.next_offset, other.next_offset) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        self.dead_letters += other.dead_letters;
    }
}
