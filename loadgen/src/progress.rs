//! One line a second on stderr: how far, how fast, how long still.

use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Knows the goal of a run and what was shown last.
#[derive(Debug)]
pub(crate) struct Progress {
    count: Option<u64>,
    duration: Option<Duration>,
    last_done: u64,
    last_elapsed: Duration,
    is_terminal: bool,
    is_shown: bool,
}

impl Progress {
    /// Time between two lines.
    pub(crate) const PERIOD: Duration = Duration::from_secs(1);

    pub(crate) fn new(count: Option<u64>, duration: Option<Duration>) -> Self {
        Progress {
            count,
            duration,
            last_done: 0,
            last_elapsed: Duration::ZERO,
            is_terminal: std::io::stderr().is_terminal(),
            is_shown: false,
        }
    }

    /// Shows that `done` records are acknowledged after `elapsed`.
    pub(crate) fn show(&mut self, done: u64, elapsed: Duration) {
        let line = self.line(done, elapsed);
        // A terminal keeps one line: back to its start, and clear it.
        let (start, end) = if self.is_terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        // A closed stderr must not end a load.
        drop(write!(std::io::stderr(), "{start}{line}{end}"));
        self.is_shown = true;
    }

    /// Leaves the line on the terminal.
    pub(crate) fn finish(&self) {
        if self.is_terminal && self.is_shown {
            eprintln!();
        }
    }

    fn line(&mut self, done: u64, elapsed: Duration) -> String {
        let seconds = (elapsed - self.last_elapsed).as_secs_f64().max(1e-9);
        let rate = (done - self.last_done) as f64 / seconds;
        (self.last_done, self.last_elapsed) = (done, elapsed);
        let share = self.share(done, elapsed);
        let mut line = format!("loadgen: records={done} rate={rate:.0}/s");
        if let Some(share) = share {
            line += &format!(" done={:.1}%", share * 100.0);
            if share > 0.0 {
                let left = elapsed.as_secs_f64() * (1.0 - share) / share;
                line += &format!(" eta={left:.0}s");
            }
        }
        line
    }

    /// The part of the run that lies behind: by count or by time, whichever ends it first.
    fn share(&self, done: u64, elapsed: Duration) -> Option<f64> {
        let by_count = self.count.map(|count| done as f64 / count.max(1) as f64);
        let by_time = self.duration.map(|all| elapsed.as_secs_f64() / all.as_secs_f64().max(1e-9));
        let share = by_count.into_iter().chain(by_time).reduce(f64::max);
        share.map(|share| share.min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rate_share_and_time_left() {
        let mut progress = Progress::new(Some(1000), None);
        let second = Duration::from_secs(1);
        assert_eq!(progress.line(100, second), "loadgen: records=100 rate=100/s done=10.0% eta=9s");
        assert_eq!(
            progress.line(400, 2 * second),
            "loadgen: records=400 rate=300/s done=40.0% eta=3s"
        );
    }

    #[test]
    fn an_endless_run_has_no_share() {
        let mut progress = Progress::new(None, None);
        assert_eq!(progress.line(5, Duration::from_secs(1)), "loadgen: records=5 rate=5/s");
    }
}
