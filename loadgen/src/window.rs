//! The latest orders, which updates and tombstones choose from.

use crate::random;

/// How far an order has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Created,
    Paid,
    Shipped,
    Delivered,
    Removed,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Paid => "paid",
            Status::Shipped => "shipped",
            Status::Delivered => "delivered",
            Status::Removed => "removed",
        }
    }

    fn is_open(self) -> bool {
        matches!(self, Status::Created | Status::Paid | Status::Shipped)
    }

    /// One order in twenty is removed at each step; a closed order stays as it is.
    fn next(self, bits: u64) -> Status {
        match self {
            open if open.is_open() && bits.is_multiple_of(20) => Status::Removed,
            Status::Created => Status::Paid,
            Status::Paid => Status::Shipped,
            Status::Shipped => Status::Delivered,
            closed => closed,
        }
    }
}

/// An order that may still change.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// `None` once a tombstone was written.
    status: Option<Status>,
    created_ms: i64,
}

/// An order chosen from the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) number: u64,
    pub(crate) status: Status,
    pub(crate) created_ms: i64,
}

/// A ring over the latest orders, indexed by order number.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    capacity: usize,
    slots: Vec<Slot>,
    next_number: u64,
}

/// How many neighbours are tried when the chosen order is closed or deleted.
const PROBES: u64 = 16;

impl Window {
    pub(crate) fn new(capacity: usize) -> Self {
        Window { capacity, slots: Vec::new(), next_number: 0 }
    }

    /// Takes in the next order; the oldest one leaves a full window.
    pub(crate) fn open(&mut self, status: Status, created_ms: i64) {
        let slot = Slot { status: Some(status), created_ms };
        if self.slots.len() < self.capacity {
            self.slots.push(slot);
        } else {
            let at = self.at(self.next_number);
            self.slots[at] = slot;
        }
        self.next_number += 1;
    }

    /// Moves an order on by one status; an order that is closed is repeated as it is when no
    /// open one is near. `None` if all those near are deleted.
    pub(crate) fn advance(&mut self, bits: u64) -> Option<Target> {
        let mut target =
            self.find(bits, |status| status.is_open()).or_else(|| self.find(bits, |_| true))?;
        target.status = target.status.next(random::mix(bits));
        let at = self.at(target.number);
        self.slots[at].status = Some(target.status);
        Some(target)
    }

    /// Deletes an order; `None` if all those near are deleted already.
    pub(crate) fn delete(&mut self, bits: u64) -> Option<Target> {
        let target = self.find(bits, |_| true)?;
        let at = self.at(target.number);
        self.slots[at].status = None;
        Some(target)
    }

    fn find(&self, bits: u64, wanted: impl Fn(Status) -> bool) -> Option<Target> {
        let span = self.slots.len() as u64;
        let start = random::below(bits, span.max(1));
        for probe in 0..PROBES.min(span) {
            let number = self.next_number - 1 - (start + probe) % span;
            let slot = self.slots[self.at(number)];
            if let Some(status) = slot.status.filter(|&status| wanted(status)) {
                return Some(Target { number, status, created_ms: slot.created_ms });
            }
        }
        None
    }

    fn at(&self, number: u64) -> usize {
        (number % self.capacity as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Stream, bits};

    #[test]
    fn an_order_goes_through_its_statuses_and_never_back() {
        let mut window = Window::new(1);
        window.open(Status::Created, 5);
        let mut last = Status::Created as u8;
        for i in 0..10 {
            let target = window.advance(bits(3, Stream::Target, i)).unwrap();
            assert_eq!((target.number, target.created_ms), (0, 5));
            assert!(target.status as u8 >= last);
            last = target.status as u8;
        }
        assert!(last >= Status::Delivered as u8);
    }

    #[test]
    fn a_deleted_order_is_never_chosen_again() {
        let mut window = Window::new(4);
        for _ in 0..4 {
            window.open(Status::Created, 0);
        }
        let mut deleted: Vec<u64> =
            (0..4).map(|i| window.delete(bits(1, Stream::Target, i)).unwrap().number).collect();
        deleted.sort_unstable();
        assert_eq!(deleted, [0, 1, 2, 3]);
        assert!(window.delete(9).is_none() && window.advance(9).is_none());
    }

    #[test]
    fn orders_that_left_the_window_are_not_chosen() {
        let mut window = Window::new(10);
        assert!(window.advance(1).is_none());
        for _ in 0..1005 {
            window.open(Status::Created, 0);
        }
        for i in 0..200 {
            let number = window.advance(bits(1, Stream::Target, i)).unwrap().number;
            assert!((995..1005).contains(&number), "{number}");
        }
    }
}
