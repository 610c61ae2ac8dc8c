//! How far long work is, and when it will be done.

use std::time::{Duration, Instant};

use crate::figure;

const INTERVAL: Duration = Duration::from_secs(5);

/// Tells it now and then.
pub(super) struct Progress {
    started: Instant,
    /// How much was done when it started; that says nothing of the rate.
    before: Option<u64>,
    told: Instant,
    records: u64,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Self { started: now, before: None, told: now, records: 0 }
    }

    /// A line for the log, if it is time for one. Of `all` there is `done`, in whatever unit; `records`
    /// have been taken in.
    pub(super) fn tell(
        &mut self,
        now: Instant,
        (done, all): (u64, u64),
        records: u64,
    ) -> Option<String> {
        let before = *self.before.get_or_insert(done);
        let since = now.saturating_duration_since(self.told);
        if since < INTERVAL {
            return None;
        }
        let rate = records.saturating_sub(self.records) as f64 / since.as_secs_f64();
        (self.told, self.records) = (now, records);
        let elapsed = now.saturating_duration_since(self.started);
        let left = left(elapsed, done.saturating_sub(before), all.saturating_sub(done));
        let left =
            left.map_or_else(|| "-".to_owned(), |left| figure::duration(left.as_secs() as f64));
        let percent = 100.0 * done as f64 / all.max(1) as f64;
        Some(format!("{percent:.1} %, {records} records, {rate:.0} a second, {left} left"))
    }
}

/// How long the rest takes at the rate so far; unknown before there is one.
fn left(elapsed: Duration, done: u64, rest: u64) -> Option<Duration> {
    let seconds = elapsed.as_secs_f64() * rest as f64 / done as f64;
    (done > 0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_was_done_since_the_start() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        // Half was done before a restart.
        assert_eq!(progress.tell(at(0), (50, 100), 0), None);
        assert_eq!(progress.tell(at(4), (60, 100), 9), None);
        let line = progress.tell(at(10), (75, 100), 1000).unwrap();
        assert_eq!(line, "75.0 %, 1000 records, 100 a second, 10 s left");
        assert_eq!(progress.tell(at(11), (76, 100), 1100), None);
        let line = Progress::new(start).tell(at(5), (0, 0), 0).unwrap();
        assert_eq!(line, "0.0 %, 0 records, 0 a second, - left");
    }
}
