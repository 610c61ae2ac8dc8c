//! How a lane stands to the end of its partition: in seconds, whether it will catch up, and when.
//!
//! Pure: the clock is passed in.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::lane::Standing;

/// What the lag of a lane does; the worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "String")]
pub enum LagState {
    /// Not seen for long enough, or the end of the partition is not known.
    #[default]
    Unknown,
    /// None of the others.
    Ok,
    /// All of the last third of the window it was greater than ever in the first third, and in the last third
    /// it has not become less.
    Growing,
    /// There is a lag, and nothing became durable for [`STALLED`].
    Stalled,
    /// Retention has removed records before they were durable; or it removes faster than records become
    /// durable, and is there within [`RETENTION_AHEAD`].
    WillExceedRetention,
}

impl LagState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Ok, Self::Growing, Self::Stalled, Self::WillExceedRetention, Self::Unknown];

    /// The name in metrics and in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Growing => "growing",
            Self::Stalled => "stalled",
            Self::WillExceedRetention => "will_exceed_retention",
            Self::Unknown => "unknown",
        }
    }
}

impl From<String> for LagState {
    fn from(name: String) -> Self {
        Self::ALL.into_iter().find(|state| state.as_str() == name).unwrap_or_default()
    }
}

/// How far back rates are measured.
pub const WINDOW: Duration = Duration::from_secs(60);
/// A shorter time says nothing.
const SPAN_MIN: Duration = Duration::from_secs(5);
/// A lag that stands still for so long is stalled.
pub const STALLED: Duration = Duration::from_secs(30);
/// How far ahead retention is looked for.
pub const RETENTION_AHEAD: Duration = Duration::from_secs(3600);
/// Steps of retention that are remembered: it goes by segments.
const STEPS_MAX: usize = 64;

/// What the last minute of a lane tells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outlook {
    /// What the lag does.
    pub state: LagState,
    /// When it is gone at this pace; `None` where it is not known, or never.
    pub catch_up_seconds: Option<f64>,
}

/// The last minute of a lane.
#[derive(Debug, Default)]
pub struct History {
    points: VecDeque<Point>,
    /// When the beginning of the partition moved, and to where.
    steps: VecDeque<(Instant, i64)>,
    low: Option<i64>,
    behind: Option<Behind>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: Instant,
    reached: i64,
    high: i64,
}

impl Point {
    fn lag(&self) -> i64 {
        (self.high - self.reached).max(0)
    }
}

/// Since when there is a lag, and where it began.
#[derive(Clone, Copy, Debug)]
struct Behind {
    since: Instant,
    durable: i64,
}

impl History {
    /// Takes in where the lane stands now, and says what the lag does.
    pub fn see(&mut self, at: Instant, standing: &Standing) -> Outlook {
        let Some(high) = standing.high else { return Outlook::default() };
        self.points.push_back(Point { at, reached: standing.reached, high });
        while self.points.front().is_some_and(|point| at.duration_since(point.at) > WINDOW) {
            self.points.pop_front();
        }
        if let Some(low) = standing.low
            && self.low.replace(low).is_some_and(|before| before < low)
        {
            self.steps.push_back((at, low));
            if self.steps.len() > STEPS_MAX {
                self.steps.pop_front();
            }
        }
        self.judge(standing)
    }

    /// Age of the oldest record that is not durable: by its timestamp while it is in hand; by that of the last
    /// durable record where more have become durable since there is a lag; else since when there is one.
    /// 0 without a lag, `None` where the end of the partition is not known.
    pub fn lag_seconds(&mut self, at: Instant, unix_ms: i64, standing: &Standing) -> Option<f64> {
        if standing.lag()? == 0 {
            self.behind = None;
            return Some(0.0);
        }
        let begun = Behind { since: at, durable: standing.durable };
        let behind = *self.behind.get_or_insert(begun);
        let has_moved = standing.durable != behind.durable;
        let timestamp_ms = standing.oldest_ms.or(standing.durable_ms.filter(|_| has_moved));
        Some(match timestamp_ms {
            Some(timestamp_ms) => (unix_ms - timestamp_ms).max(0) as f64 / 1000.0,
            None => at.duration_since(behind.since).as_secs_f64(),
        })
    }

    fn judge(&self, standing: &Standing) -> Outlook {
        let (Some(first), Some(last)) = (self.points.front(), self.points.back()) else {
            return Outlook::default();
        };
        if last.lag() == 0 {
            return Outlook { state: LagState::Ok, catch_up_seconds: Some(0.0) };
        }
        if standing.expired() > 0 {
            return Outlook { state: LagState::WillExceedRetention, catch_up_seconds: None };
        }
        let span = last.at.duration_since(first.at);
        if span < SPAN_MIN {
            return Outlook::default();
        }
        let rate = |from: i64, to: i64| (to - from) as f64 / span.as_secs_f64();
        let pace = rate(first.reached, last.reached);
        let closing = pace - rate(first.high, last.high);
        let state = if self.is_outrun(last, pace) {
            LagState::WillExceedRetention
        } else if self.is_stalled(last) {
            LagState::Stalled
        } else if self.is_growing() {
            LagState::Growing
        } else {
            LagState::Ok
        };
        let catch_up_seconds = (closing > 0.0).then(|| last.lag() as f64 / closing);
        Outlook { state, catch_up_seconds }
    }

    /// Whether retention comes nearer, and will be there soon. Its pace is known from its second step on.
    fn is_outrun(&self, last: &Point, pace: f64) -> bool {
        let (Some((first_at, first_low)), Some((_, low))) = (self.steps.front(), self.steps.back())
        else {
            return false;
        };
        let seconds = last.at.duration_since(*first_at).as_secs_f64();
        if self.steps.len() < 2 || seconds <= 0.0 {
            return false;
        }
        let closing = (low - first_low) as f64 / seconds - pace;
        let distance = (last.reached - low).max(0) as f64;
        closing > 0.0 && distance / closing < RETENTION_AHEAD.as_secs_f64()
    }

    fn is_stalled(&self, last: &Point) -> bool {
        let before = self.points.iter().rfind(|p| last.at.duration_since(p.at) >= STALLED);
        let Some(before) = before else { return false };
        let since = self.points.iter().filter(|point| point.at >= before.at);
        before.reached == last.reached && since.map(Point::lag).all(|lag| lag > 0)
    }

    fn is_growing(&self) -> bool {
        let lags: Vec<i64> = self.points.iter().map(Point::lag).collect();
        let third = lags.len() / 3;
        let (early, late) = (&lags[..third], &lags[lags.len() - third..]);
        let (Some(most), Some(least)) = (early.iter().max(), late.iter().min()) else {
            return false;
        };
        least > most && late.last() >= late.first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each second of a lane: durable, end, beginning.
    fn outlook(seconds: impl IntoIterator<Item = (i64, i64, i64)>) -> Outlook {
        let (start, mut history) = (Instant::now(), History::default());
        let mut outlook = Outlook::default();
        for (second, (durable, high, low)) in (0..).zip(seconds) {
            let standing = Standing {
                durable,
                reached: durable.max(low),
                low: Some(low),
                high: Some(high),
                ..Standing::default()
            };
            outlook = history.see(start + Duration::from_secs(second), &standing);
        }
        outlook
    }

    #[test]
    fn each_course_has_its_name() {
        use LagState::{Growing, Ok, Stalled, Unknown, WillExceedRetention};
        let course = |durable: fn(i64) -> i64, high: fn(i64) -> i64, low: fn(i64) -> i64| {
            outlook((0..60).map(|t| (durable(t), high(t), low(t))))
        };
        let cases = [
            ("caught up", course(|t| 10 * t, |t| 10 * t, |_| 0), Ok),
            (
                "a steady flow, some on its way",
                course(|t| 10 * t, |t| 10 * t + 3 + t % 4, |_| 0),
                Ok,
            ),
            ("catches up", course(|t| 20 * t, |t| 5000 + 10 * t, |_| 0), Ok),
            ("falls behind", course(|t| 9 * t, |t| 100 + 10 * t, |_| 0), Growing),
            (
                "fell behind, and catches up",
                course(|t| if t < 30 { 0 } else { 100 * (t - 30) }, |t| 5000 + 10 * t, |_| 0),
                Ok,
            ),
            ("stands still", course(|_| 7, |t| 100 + t, |_| 0), Stalled),
            ("stood still, and moves", course(|t| if t < 55 { 7 } else { t }, |_| 100, |_| 0), Ok),
            (
                "is outrun",
                course(|t| 1000 + t, |t| 10_000 + 10 * t, |t| 10 * (t / 5)),
                WillExceedRetention,
            ),
            (
                "is outrun, but in days",
                course(|t| 90_000_000 + t, |t| 100_000_000 + t, |t| 10 * (t / 5)),
                Ok,
            ),
            (
                "one step of retention is no pace",
                course(|t| 9000 + t, |t| 10_000 + t, |t| if t < 30 { 0 } else { 8000 }),
                Ok,
            ),
            ("retention was there", course(|t| t, |_| 10_000, |_| 500), WillExceedRetention),
            ("two seconds say nothing", outlook([(0, 5, 0), (0, 6, 0)]), Unknown),
        ];
        for (what, outlook, expected) in cases {
            assert_eq!(outlook.state, expected, "{what}");
        }
    }

    #[test]
    fn the_time_to_catch_up_is_that_of_the_last_minute() {
        // 600 behind at the end, and 10 nearer each second.
        let outlook = outlook((0..=60).map(|t| (30 * t, 1200 + 20 * t, 0)));
        assert_eq!(outlook.catch_up_seconds, Some(60.0));
        let never = super::tests::outlook((0..=60).map(|t| (t, 100 + 2 * t, 0)));
        assert_eq!(never.catch_up_seconds, None);
    }

    #[test]
    fn the_age_of_the_oldest_record_is_by_what_is_known_of_it() {
        let (start, mut history) = (Instant::now(), History::default());
        let mut seconds = |second: u64, standing: Standing| {
            history.lag_seconds(start + Duration::from_secs(second), 1_000_000, &standing)
        };
        let idle = Standing { durable: 5, reached: 5, high: Some(5), ..Standing::default() };
        let waiting = Standing { high: Some(9), ..idle };
        assert_eq!(seconds(0, Standing::default()), None);
        assert_eq!(seconds(1, idle), Some(0.0));
        // Not fetched yet, and what is durable says nothing of it.
        assert_eq!(seconds(2, Standing { durable_ms: Some(1), ..waiting }), Some(0.0));
        assert_eq!(seconds(5, Standing { durable_ms: Some(1), ..waiting }), Some(3.0));
        assert_eq!(seconds(6, Standing { oldest_ms: Some(998_000), ..waiting }), Some(2.0));
        let moved = Standing { durable: 7, reached: 7, durable_ms: Some(999_000), ..waiting };
        assert_eq!(seconds(7, moved), Some(1.0));
        assert_eq!(seconds(8, idle), Some(0.0));
        assert_eq!(seconds(9, waiting), Some(0.0));
    }
}
