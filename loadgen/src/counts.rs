//! Counts what goes to one partition, at a few additions a record.

use crate::cents::Cents;
use crate::ledger::Tally;
use crate::orders::{Content, Event};
use crate::poison::Poison;
use crate::record::amount_of;

/// The running form of a [`Tally`].
#[derive(Debug, Clone, Default)]
pub struct Counts {
    orders: u64,
    new_orders: u64,
    late: u64,
    tombstones: u64,
    poison: [u64; Poison::KINDS.len()],
    cents: u128,
    new_cents: u128,
    deleted_cents: u128,
}

impl Counts {
    /// Counts an event of a profile with this seed.
    pub fn add(&mut self, event: &Event, seed: u64) {
        match event.content {
            Content::Order(order) => {
                let cents = u128::from(amount_of(seed, order.number));
                self.orders += 1;
                self.cents += cents;
                if order.is_new {
                    self.new_orders += 1;
                    self.new_cents += cents;
                }
                self.late += u64::from(order.is_late);
            }
            // An order is deleted once at most, after its first record in the same partition.
            Content::Tombstone { number } => {
                self.tombstones += 1;
                self.deleted_cents += u128::from(amount_of(seed, number));
            }
            Content::Poison { kind, .. } => self.poison[kind as usize] += 1,
        }
    }

    /// Adds what another thread counted.
    pub(crate) fn merge(&mut self, other: &Counts) {
        self.orders += other.orders;
        self.new_orders += other.new_orders;
        self.late += other.late;
        self.tombstones += other.tombstones;
        for (sum, part) in self.poison.iter_mut().zip(other.poison) {
            *sum += part;
        }
        self.cents += other.cents;
        self.new_cents += other.new_cents;
        self.deleted_cents += other.deleted_cents;
    }

    /// The counts so far.
    pub fn tally(&self) -> Tally {
        let poison_total: u64 = self.poison.iter().sum();
        let named = Poison::KINDS.iter().map(|&kind| (kind.name().to_owned(), kind));
        Tally {
            produced: self.orders + self.tombstones + poison_total,
            orders: self.orders,
            distinct_order_ids: self.new_orders,
            live_order_ids: self.new_orders - self.tombstones,
            late: self.late,
            amount_sum: Cents(self.cents as i128),
            distinct_amount_sum: Cents(self.new_cents as i128),
            live_amount_sum: Cents((self.new_cents - self.deleted_cents) as i128),
            tombstones: self.tombstones,
            poison: named.map(|(name, kind)| (name, self.poison[kind as usize])).collect(),
            poison_total,
        }
    }
}
