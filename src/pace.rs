//! A limit to how many records go on in a second, over all threads.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Shares out the time: whoever takes records waits until those before them have had theirs. What was
/// not used is not saved up, so a pause is not followed by a rush.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Per record.
    share: Duration,
    /// When the next record may go.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn new(records_per_second: u32) -> Self {
        let share = Duration::from_secs(1) / records_per_second.max(1);
        Self { share, next: Mutex::new(None) }
    }

    /// How long whoever has taken so many records has to wait before the next.
    pub(crate) fn take(&self, records: u32, now: Instant) -> Duration {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = next.filter(|next| *next > now).unwrap_or(now);
        let end = begin + self.share * records;
        *next = Some(end);
        end - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_together_keep_the_pace_and_a_pause_is_not_made_up_for() {
        let pace = Pace::new(100);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(pace.take(10, at(0)), Duration::from_millis(100));
        assert_eq!(pace.take(10, at(0)), Duration::from_millis(200));
        assert_eq!(pace.take(10, at(150)), Duration::from_millis(150));
        assert_eq!(pace.take(10, at(9000)), Duration::from_millis(100));
    }
}
