//! End-to-end latency over an interval, from the histogram in `/metrics`.

use crate::error::Error;

const BUCKET: &str = "tidegate_end_to_end_latency_seconds_bucket{le=\"";

/// Counts up to each bound, the last of which is infinite.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Latency {
    buckets: Vec<(f64, f64)>,
}

impl Latency {
    /// Reads it from a page in Prometheus' text format.
    pub(crate) fn parse(page: &str) -> Result<Self, Error> {
        let bucket = |line: &str| {
            let (bound, count) = line.strip_prefix(BUCKET)?.split_once("\"} ")?;
            // Rust reads `+Inf` as it is.
            Some((bound.parse().ok()?, count.trim().parse().ok()?))
        };
        let buckets: Vec<(f64, f64)> = page.lines().filter_map(bucket).collect();
        if buckets.is_empty() {
            let got = "no end-to-end latency".to_owned();
            return Err(Error::Answer { path: "/metrics", got });
        }
        Ok(Self { buckets })
    }

    /// What came after `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let pairs = self.buckets.iter().zip(&earlier.buckets);
        let buckets = pairs.map(|((bound, count), (_, before))| (*bound, count - before)).collect();
        Self { buckets }
    }

    pub(crate) fn records(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count as u64)
    }

    /// Milliseconds that the share `quantile` of the records does not exceed, interpolated inside
    /// its bucket; none without records.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let rank = quantile * self.buckets.last().map(|(_, count)| *count)?;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in &self.buckets {
            if *count >= rank && *count > below {
                // Beyond the last bound nothing more is known.
                let high = if bound.is_finite() { *bound } else { low };
                return Some(1000.0 * (low + (high - low) * (rank - below) / (count - below)));
            }
            (low, below) = (*bound, *count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(counts: [u32; 3]) -> String {
        let [a, b, c] = counts;
        format!(
            "# TYPE tidegate_end_to_end_latency_seconds histogram\n\
             {BUCKET}0.1\"}} {a}\n{BUCKET}0.2\"}} {b}\n{BUCKET}+Inf\"}} {c}\nother 5\n"
        )
    }

    #[test]
    fn only_the_records_of_the_interval_count() {
        let before = Latency::parse(&page([0, 50, 900])).unwrap();
        let after = Latency::parse(&page([100, 250, 1100])).unwrap();
        let interval = after.since(&before);
        assert_eq!(interval.records(), 200);
        assert_eq!(interval.quantile_ms(0.25).map(f64::round), Some(50.0));
        assert_eq!(interval.quantile_ms(0.75).map(f64::round), Some(150.0));
        assert_eq!(before.since(&before).quantile_ms(0.5), None);
    }

    #[test]
    fn a_page_without_the_histogram_is_refused() {
        assert!(Latency::parse("up 1\n").is_err());
    }
}
