//! Whether the lag grows: a line through its values, and how far they lie from it.

/// Growth below this share of the rate is none: what is left of batches and pauses.
const GROWTH_SHARE: f64 = 0.02;
/// A producer that stays below this share of what was asked for is itself the limit.
const PRODUCED_SHARE: f64 = 0.95;
/// Fewer values than these make no line.
const POINTS_MIN: usize = 4;

/// The lag at one moment of a hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// Seconds since the hold began.
    pub(crate) at_s: f64,
    /// Records.
    pub(crate) lag: f64,
}

/// What a hold has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The lag stayed where it was.
    Sustained,
    /// The lag grew all the time.
    Grows,
    /// The lag grew for a while, or there is too little to see.
    Unclear,
    /// The records were not produced at the rate that was asked for, and the lag did not grow.
    Short,
}

impl Finding {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Finding::Sustained => "steady",
            Finding::Grows => "grows",
            Finding::Unclear => "unclear",
            Finding::Short => "loadgen",
        }
    }
}

/// The least-squares line through points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Trend {
    /// Records a second.
    pub(crate) slope: f64,
    /// The slope's standard error, records a second.
    pub(crate) error: f64,
}

impl Trend {
    /// `None` of too few points.
    pub(crate) fn of(points: &[Point]) -> Option<Self> {
        if points.len() < POINTS_MIN {
            return None;
        }
        let count = points.len() as f64;
        let mean_at = points.iter().map(|point| point.at_s).sum::<f64>() / count;
        let mean_lag = points.iter().map(|point| point.lag).sum::<f64>() / count;
        let spread: f64 = points.iter().map(|point| (point.at_s - mean_at).powi(2)).sum();
        let common: f64 =
            points.iter().map(|point| (point.at_s - mean_at) * (point.lag - mean_lag)).sum();
        if spread <= 0.0 {
            return None;
        }
        let slope = common / spread;
        let off = |point: &Point| point.lag - mean_lag - slope * (point.at_s - mean_at);
        let squares: f64 = points.iter().map(|point| off(point).powi(2)).sum();
        Some(Self { slope, error: (squares / (count - 2.0) / spread).sqrt() })
    }

    /// Of the second half of a hold: its first one has the start in it.
    pub(crate) fn of_second_half(points: &[Point], hold_s: f64) -> Option<Self> {
        Self::of(&points[middle(points, hold_s)..])
    }
}

/// Judges a hold. Rates are records a second.
pub(crate) fn judge(points: &[Point], hold_s: f64, asked: f64, produced: f64) -> Finding {
    let rate = asked.min(produced);
    let (first, second) = points.split_at(middle(points, hold_s));
    let (Some(first), Some(second)) = (Trend::of(first), Trend::of(second)) else {
        return Finding::Unclear;
    };
    let none = GROWTH_SHARE * rate;
    if second.slope <= none {
        let is_short = produced < PRODUCED_SHARE * asked;
        return if is_short { Finding::Short } else { Finding::Sustained };
    }
    // One pause near the end makes a slope, too, but only there.
    let is_clear = second.slope - 2.0 * second.error > none && first.slope > none;
    if is_clear { Finding::Grows } else { Finding::Unclear }
}

/// Where the second half begins.
fn middle(points: &[Point], hold_s: f64) -> usize {
    points.partition_point(|point| point.at_s < hold_s / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(lag: impl Fn(f64) -> f64) -> Vec<Point> {
        (0..50).map(|i| f64::from(i) / 5.0).map(|at_s| Point { at_s, lag: lag(at_s) }).collect()
    }

    #[test]
    fn a_line_has_its_slope_and_no_error() {
        let trend = Trend::of(&points(|at| 7.0 + 3.0 * at)).unwrap();
        assert!((trend.slope - 3.0).abs() < 1e-9 && trend.error < 1e-6, "{trend:?}");
        assert_eq!(Trend::of(&points(|at| at)[..3]), None);
    }

    #[test]
    fn what_grows_is_told_from_what_only_stumbles() {
        let judged = |lag: fn(f64) -> f64| judge(&points(lag), 10.0, 1000.0, 1000.0);
        assert_eq!(judged(|_| 500.0), Finding::Sustained);
        assert_eq!(judged(|at| 100.0 * at), Finding::Grows);
        // As far as it can be steady.
        assert_eq!(judged(|at| 10.0 * at), Finding::Sustained);
        // A pause at the end; one in the beginning that is made up for.
        assert_eq!(judged(|at| 1000.0 * (at - 8.5).max(0.0)), Finding::Unclear);
        assert_eq!(judged(|at| 1000.0 * (3.0 - at).max(0.0)), Finding::Sustained);
        // A saw's teeth.
        assert_eq!(judged(|at| 300.0 * (at % 1.0)), Finding::Sustained);
    }

    #[test]
    fn a_producer_that_falls_short_is_named_unless_the_lag_grows() {
        assert_eq!(judge(&points(|_| 0.0), 10.0, 1000.0, 900.0), Finding::Short);
        assert_eq!(judge(&points(|at| 100.0 * at), 10.0, 1000.0, 900.0), Finding::Grows);
    }
}
