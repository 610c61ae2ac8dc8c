//! The frontier of one lane: the next offset that is safe to commit.
//!
//! It moves in delivery order, from the end of one durable batch to the end of the next, and never
//! by "offset + 1": compacted and transactional topics leave gaps between the records, and a batch
//! `[begin, end)` covers the gaps inside it.

use std::ops::Range;

/// A batch that does not continue where the one before it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What the frontier wants next.
    pub expected: i64,
    /// What came.
    pub found: Range<i64>,
}

/// Contiguous progress of one lane. A lane has at most one batch on its way to the sink, so there
/// is one pending range and not a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontier {
    next: i64,
    pending: Option<Range<i64>>,
}

impl Frontier {
    /// A frontier at the position that the lane resumes from.
    pub fn new(next: i64) -> Self {
        Self { next, pending: None }
    }

    /// The next offset that is safe to commit.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Whether a batch is on its way.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// A batch leaves for the sink.
    ///
    /// # Errors
    /// When one is on its way already, when the range is empty or backwards, or when it leaves a
    /// hole or an overlap behind it.
    pub fn depart(&mut self, range: Range<i64>) -> Result<(), Broken> {
        if self.pending.is_some() || range.start != self.next || range.end <= range.start {
            return Err(Broken { expected: self.next, found: range });
        }
        self.pending = Some(range);
        Ok(())
    }

    /// The batch that is on its way became durable; gives the new frontier.
    pub fn arrive(&mut self) -> i64 {
        if let Some(range) = self.pending.take() {
            self.next = range.end;
        }
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_on_its_way_does_not_move_the_frontier() {
        let mut frontier = Frontier::new(5);
        frontier.depart(5..9).unwrap();
        assert_eq!(frontier.next(), 5);
        assert_eq!(frontier.arrive(), 9);
    }

    #[test]
    fn a_hole_an_overlap_and_a_second_departure_are_refused() {
        let mut frontier = Frontier::new(5);
        assert!(frontier.depart(6..9).is_err());
        assert!(frontier.depart(4..9).is_err());
        assert!(frontier.depart(5..5).is_err());
        frontier.depart(5..9).unwrap();
        assert!(frontier.depart(9..10).is_err());
    }

    proptest! {
        /// The naive model: the set of records whose fate is settled is always a prefix.
        #[test]
        fn what_lies_below_the_frontier_has_arrived(steps in prop::collection::vec((0i64..20, any::<bool>()), 1..200)) {
            let mut frontier = Frontier::new(100);
            let mut arrived: Vec<Range<i64>> = Vec::new();
            let mut pending: Option<Range<i64>> = None;
            for (length, settle) in steps {
                if settle {
                    frontier.arrive();
                    arrived.extend(pending.take());
                } else {
                    let range = frontier.next()..frontier.next() + length;
                    if frontier.depart(range.clone()).is_ok() {
                        prop_assert!(pending.is_none() && length > 0);
                        pending = Some(range);
                    }
                }
                let covered: i64 = arrived.iter().map(|r| r.end - r.start).sum();
                prop_assert_eq!(frontier.next(), 100 + covered);
                prop_assert_eq!(frontier.is_pending(), pending.is_some());
            }
        }
    }
}
