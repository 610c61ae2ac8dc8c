//! The circuit breaker of a lane: halts when most of what it reads is poison, before a whole topic is
//! poured into the dead letters. Pure.

/// Records that are looked at together.
const WINDOW_RECORDS: u64 = 1000;

/// Counts records and dead letters in windows of [`WINDOW_RECORDS`] or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    max_percent: u64,
    records: u64,
    dead_letters: u64,
}

/// More of a window were dead letters than may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tripped {
    /// Dead letters in the window.
    pub dead_letters: u64,
    /// Records in the window.
    pub records: u64,
}

impl Breaker {
    /// A breaker that lets so many percent of the records be dead letters; 100 is all of them.
    pub fn new(max_percent: u64) -> Self {
        Self { max_percent, records: 0, dead_letters: 0 }
    }

    /// Whether these records would be too much, on top of what is in the window.
    ///
    /// # Errors
    /// When they would.
    pub fn check(&self, records: u64, dead_letters: u64) -> Result<(), Tripped> {
        let records = self.records + records;
        let dead_letters = self.dead_letters + dead_letters;
        let is_full = records >= WINDOW_RECORDS;
        if is_full && dead_letters * 100 > records * self.max_percent {
            return Err(Tripped { dead_letters, records });
        }
        Ok(())
    }

    /// Takes these records into the window. A full one that has passed is followed by a new one.
    ///
    /// # Errors
    /// When they are too much.
    pub fn add(&mut self, records: u64, dead_letters: u64) -> Result<(), Tripped> {
        self.check(records, dead_letters)?;
        self.records += records;
        self.dead_letters += dead_letters;
        if self.records >= WINDOW_RECORDS {
            (self.records, self.dead_letters) = (0, 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_bad_records_are_no_reason_to_halt_however_bad_their_share_is() {
        let mut breaker = Breaker::new(50);
        assert_eq!(breaker.add(999, 999), Ok(()));
        assert_eq!(breaker.check(1, 0), Err(Tripped { dead_letters: 999, records: 1000 }));
    }

    #[test]
    fn half_is_allowed_and_more_is_not_in_one_batch_or_in_many() {
        let mut breaker = Breaker::new(50);
        assert_eq!(breaker.add(20_000, 10_000), Ok(()));
        assert_eq!(
            breaker.check(20_000, 10_001),
            Err(Tripped { dead_letters: 10_001, records: 20_000 })
        );
        for _ in 0..9 {
            assert_eq!(breaker.add(100, 51), Ok(()));
        }
        assert_eq!(breaker.add(100, 51), Err(Tripped { dead_letters: 510, records: 1000 }));
    }

    #[test]
    fn a_breaker_that_allows_all_never_halts() {
        assert_eq!(Breaker::new(100).add(5000, 5000), Ok(()));
    }
}
