//! The distribution of end-to-end latency: record timestamp to committed row.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds of the buckets in milliseconds; the last bucket is open.
pub const BOUNDS_MS: [u64; 30] = [
    1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 700, 1_000, 2_000,
    3_000, 5_000, 10_000, 20_000, 30_000, 60_000, 300_000, 900_000, 3_600_000,
];

/// Counts records by latency.
#[derive(Debug, Default)]
pub struct Latency {
    counts: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_ms: AtomicU64,
}

impl Latency {
    /// `count` records took `milliseconds` each.
    pub fn record(&self, milliseconds: u64, count: u64) {
        let bucket = BOUNDS_MS.partition_point(|bound| *bound < milliseconds);
        self.counts[bucket].fetch_add(count, Relaxed);
        self.sum_ms.fetch_add(milliseconds.saturating_mul(count), Relaxed);
    }

    /// The counts at this moment.
    pub fn read(&self) -> LatencyCounts {
        LatencyCounts {
            counts: std::array::from_fn(|i| self.counts[i].load(Relaxed)),
            sum_ms: self.sum_ms.load(Relaxed),
        }
    }
}

/// Counts by bucket, at one moment or over one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencyCounts {
    /// One count a bucket, not cumulative.
    pub counts: [u64; BOUNDS_MS.len() + 1],
    /// The sum of all latencies.
    pub sum_ms: u64,
}

impl LatencyCounts {
    /// What came since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            counts: std::array::from_fn(|i| self.counts[i] - earlier.counts[i]),
            sum_ms: self.sum_ms - earlier.sum_ms,
        }
    }

    /// Number of records.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The latency in milliseconds that the share `quantile` of the records does not exceed,
    /// interpolated inside its bucket; `None` without records.
    pub fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let rank = (quantile * total as f64).max(1.0);
        let mut below = 0u64;
        for (i, count) in self.counts.iter().enumerate() {
            if *count > 0 && (below + count) as f64 >= rank {
                let low = if i == 0 { 0 } else { BOUNDS_MS[i - 1] } as f64;
                let high = BOUNDS_MS.get(i).copied().unwrap_or(BOUNDS_MS[i - 1] * 2) as f64;
                return Some(low + (high - low) * (rank - below as f64) / *count as f64);
            }
            below += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_in_the_bucket_of_their_rank() {
        let latency = Latency::default();
        latency.record(4, 90);
        latency.record(150, 9);
        latency.record(9_000_000, 1);
        let counts = latency.read();
        let p50 = counts.quantile_ms(0.5).unwrap();
        assert!(p50 > 3.0 && p50 <= 5.0, "{p50}");
        let p95 = counts.quantile_ms(0.95).unwrap();
        assert!(p95 > 100.0 && p95 <= 150.0, "{p95}");
        assert!(counts.quantile_ms(1.0).unwrap() >= 3_600_000.0);
        assert_eq!(counts.since(&counts).quantile_ms(0.5), None);
    }
}
