//! One line of state now and then, for the log.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{latency::LatencyCounts, stage::StageTimes, status::Status, verdict};

const INTERVAL: Duration = Duration::from_secs(10);

/// Says every ten seconds what happened in them.
pub(crate) struct StateLine {
    status: Arc<Status>,
    at: Instant,
    written: u64,
    latency: LatencyCounts,
    partition_times: StageTimes,
    writer_times: StageTimes,
}

impl StateLine {
    pub(crate) fn new(status: Arc<Status>) -> Self {
        Self {
            status,
            at: Instant::now(),
            written: 0,
            latency: LatencyCounts::default(),
            partition_times: StageTimes::default(),
            writer_times: StageTimes::default(),
        }
    }

    pub(crate) fn tick(&mut self) {
        let seconds = self.at.elapsed();
        if seconds < INTERVAL {
            return;
        }
        let status = &self.status;
        let written: u64 = status.lanes().iter().map(|lane| lane.counts().written).sum();
        let latency = status.latency.read();
        let partition_times = status.partition_clock.read();
        let writer_times = status.writer_times();
        let lag = status.lag();
        let verdict = verdict::judge(
            &partition_times.since(&self.partition_times),
            &writer_times.since(&self.writer_times),
            lag,
        );
        let interval_latency = latency.since(&self.latency);
        let quantile = |q| {
            interval_latency.quantile_ms(q).map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"))
        };
        // Lanes that went elsewhere took their counts with them.
        let rows = written.saturating_sub(self.written) as f64 / seconds.as_secs_f64();
        tracing::info!(
            "{rows:.0} rows/s, lag {lag} records, latency p50 {} ms p99 {} ms, {verdict}",
            quantile(0.5),
            quantile(0.99),
        );
        *self = Self {
            status: Arc::clone(&self.status),
            at: Instant::now(),
            written,
            latency,
            partition_times,
            writer_times,
        };
    }
}
