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
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

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

    /// The naive model: which of the delivered records are settled, one by one.
    #[derive(Default)]
    struct Naive {
        delivered: BTreeMap<i64, bool>,
    }

    impl Naive {
        /// The end of the longest prefix of settled records.
        fn next(&self, start: i64) -> i64 {
            let settled = self.delivered.iter().take_while(|(_, settled)| **settled);
            settled.last().map_or(start, |(offset, _)| offset + 1)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Gaps, batches of any length, wrong departures, batches that never arrive.
        #[test]
        fn it_stands_behind_the_settled_prefix(
            steps in prop::collection::vec((0u8..6, 1i64..5, 1usize..6), 1..40),
        ) {
            const START: i64 = 100;
            let (mut frontier, mut naive) = (Frontier::new(START), Naive::default());
            let (mut delivered, mut open, mut begin) = (START, Vec::new(), START);
            let mut pending: Option<Vec<i64>> = None;
            for (step, gap, count) in steps {
                match step {
                    0 | 1 => for _ in 0..count {
                        // The first record may follow at once, others after a gap.
                        let offset = delivered + gap - 1;
                        naive.delivered.insert(offset, false);
                        open.push(offset);
                        delivered = offset + 1;
                    },
                    2 | 3 => {
                        let departs = frontier.depart(begin..delivered).is_ok();
                        prop_assert_eq!(departs, pending.is_none() && begin < delivered);
                        if departs {
                            pending = Some(std::mem::take(&mut open));
                            begin = delivered;
                        }
                    }
                    4 => {
                        let before = frontier.clone();
                        prop_assert!(frontier.depart(before.next() + gap..delivered + 9).is_err());
                        prop_assert_eq!(&frontier, &before);
                    }
                    _ => {
                        frontier.arrive();
                        for offset in pending.take().into_iter().flatten() {
                            naive.delivered.insert(offset, true);
                        }
                    }
                }
                prop_assert_eq!(frontier.next(), naive.next(START));
                prop_assert_eq!(frontier.is_pending(), pending.is_some());
            }
        }
    }
}
