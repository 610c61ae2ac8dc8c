//! One line of state now and then, for the log.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{observation::Observation, status::Status};

const INTERVAL: Duration = Duration::from_secs(10);

/// Says every ten seconds what the last five were like.
pub(crate) struct StateLine {
    status: Arc<Status>,
    at: Instant,
}

impl StateLine {
    pub(crate) fn new(status: Arc<Status>) -> Self {
        Self { status, at: Instant::now() }
    }

    pub(crate) fn tick(&mut self) {
        if self.at.elapsed() < INTERVAL {
            return;
        }
        self.at = Instant::now();
        tracing::info!("{}", line(self.status.lag(), &self.status.observation()));
    }
}

fn line(lag: u64, seen: &Observation) -> String {
    let quantile = |quantile| {
        let ms = seen.latency.quantile_ms(quantile);
        ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"))
    };
    let behind = match seen.lag_seconds() {
        Some(seconds) if lag > 0 => format!(" ({seconds:.1} s)"),
        _ => String::new(),
    };
    format!(
        "{:.0} rows/s, lag {lag} records{behind}, latency p50 {} ms p99 {} ms, {}",
        seen.rows_per_s,
        quantile(0.5),
        quantile(0.99),
        seen.verdict,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_much_how_late_and_why() {
        let seen = Observation { rows_per_s: 1200.4, ..Observation::default() };
        let text = line(0, &seen);
        assert_eq!(text, "1200 rows/s, lag 0 records, latency p50 - ms p99 - ms, none ()");
    }
}
