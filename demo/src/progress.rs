//! One line a second: how far, how fast, how much behind.

use std::{
    io::{IsTerminal, Write, stdout},
    time::{Duration, Instant},
};

use loadgen::grouped;

const INTERVAL: Duration = Duration::from_secs(1);

/// How many records are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) produced: u64,
    pub(crate) written: u64,
}

pub(crate) struct Progress {
    started: Instant,
    count: Option<u64>,
    shown_at: Instant,
    shown: Reading,
    is_terminal: bool,
    is_shown: bool,
}

impl Progress {
    pub(crate) fn new(started: Instant, count: Option<u64>) -> Self {
        let is_terminal = stdout().is_terminal();
        Self {
            started,
            count,
            shown_at: started,
            shown: Reading::default(),
            is_terminal,
            is_shown: false,
        }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.shown_at.elapsed() >= INTERVAL
    }

    pub(crate) fn show(&mut self, reading: Reading, lag: u64) {
        let now = Instant::now();
        let seconds = now.duration_since(self.shown_at).as_secs_f64();
        let line = self.line(reading, lag, now.duration_since(self.started), seconds);
        (self.shown_at, self.shown) = (now, reading);
        self.is_shown = true;
        self.print(&line);
    }

    /// The last line: what was reached.
    pub(crate) fn end(&mut self, reading: Reading) {
        self.show(reading, 0);
    }

    fn line(&self, reading: Reading, lag: u64, elapsed: Duration, seconds: f64) -> String {
        let rate = reading.written.saturating_sub(self.shown.written) as f64 / seconds.max(1e-9);
        let share = self.count.map_or_else(String::new, |count| {
            format!("  {:3.0}%", 100.0 * reading.written as f64 / count.max(1) as f64)
        });
        format!(
            "  {:5.1} s  produced {:>11}  written {:>11}  {:>9} rows/s  lag {:>9}{share}",
            elapsed.as_secs_f64(),
            grouped(reading.produced),
            grouped(reading.written),
            grouped(rate as u64),
            grouped(lag),
        )
    }

    fn print(&self, line: &str) {
        // A terminal keeps one line: back to its start, and clear it.
        let (start, end) = if self.is_terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        let mut out = stdout().lock();
        // Nobody reads on; the result is in the exit code.
        drop(write!(out, "{start}{line}{end}").and_then(|()| out.flush()));
    }
}

impl Drop for Progress {
    /// Leaves the line on the terminal, whatever comes next.
    fn drop(&mut self) {
        if self.is_terminal && self.is_shown {
            println!();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_time_since_the_line_before() {
        let mut progress = Progress::new(Instant::now(), Some(4_000));
        progress.shown = Reading { produced: 1_000, written: 1_000 };
        let reading = Reading { produced: 3_500, written: 2_000 };
        let line = progress.line(reading, 1_500, Duration::from_secs(9), 0.5);
        for part in ["produced       3,500", "written       2,000", " 2,000 rows/s", "1,500   50%"]
        {
            assert!(line.contains(part), "{line}");
        }
    }
}
