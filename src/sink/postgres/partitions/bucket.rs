//! Hours, days, weeks and months as ranges of time. Pure: the clock is passed in.
//!
//! Times are microseconds since 2000-01-01 00:00 UTC, as Postgres has them.

use crate::config::PartitionBy;

pub(super) const DAY_US: i64 = 86_400_000_000;
const HOUR_US: i64 = 3_600_000_000;
/// 2000-01-01 was a Saturday; weeks begin on Mondays, as date_trunc has it.
const MONDAY_DAYS: i64 = 2;
/// Days from 0000-03-01 to 2000-01-01.
const ERA_DAYS: i64 = 730_425;

/// The first instant of the bucket that holds `at`, and of the next one. `None` where the calendar
/// has no such times.
pub(super) fn bucket(by: PartitionBy, at: i64) -> Option<(i64, i64)> {
    let fixed = |size: i64, offset: i64| {
        let start = (at.checked_sub(offset)?).div_euclid(size).checked_mul(size)?;
        let start = start.checked_add(offset)?;
        Some((start, start.checked_add(size)?))
    };
    match by {
        PartitionBy::Hour => fixed(HOUR_US, 0),
        PartitionBy::Day => fixed(DAY_US, 0),
        PartitionBy::Week => fixed(7 * DAY_US, MONDAY_DAYS * DAY_US),
        PartitionBy::Month => {
            let (year, month, _) = civil(at.div_euclid(DAY_US));
            let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            let start = days(year, month).checked_mul(DAY_US)?;
            Some((start, days(next.0, next.1).checked_mul(DAY_US)?))
        }
    }
}

/// What a partition's name ends with.
pub(super) fn suffix(by: PartitionBy, start: i64) -> String {
    let (year, month, day) = civil(start.div_euclid(DAY_US));
    match by {
        PartitionBy::Month => format!("_p{year:04}{month:02}"),
        PartitionBy::Week | PartitionBy::Day => format!("_p{year:04}{month:02}{day:02}"),
        PartitionBy::Hour => {
            let hour = start.rem_euclid(DAY_US) / HOUR_US;
            format!("_p{year:04}{month:02}{day:02}{hour:02}")
        }
    }
}

/// The time as Postgres reads it, in UTC.
pub(super) fn text(at: i64) -> String {
    let (year, month, day) = civil(at.div_euclid(DAY_US));
    let seconds = at.rem_euclid(DAY_US) / 1_000_000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    // Before the year 1, Postgres counts without a year 0.
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}+00{era}")
}

/// Year, month and day of a number of days since 2000-01-01 (H. Hinnant, "chrono-compatible low-level
/// date algorithms": years begin in March, so that leap days come last).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + ERA_DAYS;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year, month, doy - (153 * mp + 2) / 5 + 1)
}

/// Days from 2000-01-01 to the first of a month.
fn days(year: i64, month: i64) -> i64 {
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - ERA_DAYS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(by: PartitionBy, at: i64) -> (String, String, String) {
        let (start, end) = bucket(by, at).unwrap();
        (text(start), text(end), suffix(by, start))
    }

    fn expected(start: &str, end: &str, suffix: &str) -> (String, String, String) {
        let [start, end] = [start, end].map(|hour| format!("{hour}:00:00+00"));
        (start, end, suffix.to_owned())
    }

    #[test]
    fn a_time_is_in_the_bucket_that_the_calendar_says() {
        use PartitionBy::{Day, Hour, Month, Week};
        // 2024-02-29 13:14:15, a Thursday.
        let at = (days(2024, 2) + 28) * DAY_US + 13 * HOUR_US + 855 * 1_000_000;
        let cases = [
            (Hour, expected("2024-02-29 13", "2024-02-29 14", "_p2024022913")),
            (Day, expected("2024-02-29 00", "2024-03-01 00", "_p20240229")),
            (Week, expected("2024-02-26 00", "2024-03-04 00", "_p20240226")),
            (Month, expected("2024-02-01 00", "2024-03-01 00", "_p202402")),
        ];
        for (by, expected) in cases {
            assert_eq!(shown(by, at), expected, "{by:?}");
        }
        let before = -1;
        assert_eq!(shown(Day, before), expected("1999-12-31 00", "2000-01-01 00", "_p19991231"));
        assert_eq!(shown(Month, before), expected("1999-12-01 00", "2000-01-01 00", "_p199912"));
        assert_eq!(shown(Week, 0), expected("1999-12-27 00", "2000-01-03 00", "_p19991227"));
    }

    proptest! {
        #[test]
        fn buckets_hold_their_time_and_follow_each_other_without_a_gap(at in any::<i64>()) {
            for by in [PartitionBy::Hour, PartitionBy::Day, PartitionBy::Week, PartitionBy::Month] {
                let Some((start, end)) = bucket(by, at) else { continue };
                prop_assert!((start..end).contains(&at));
                if let Some((next, _)) = bucket(by, end) {
                    prop_assert_eq!(next, end);
                }
                prop_assert_eq!(bucket(by, start), Some((start, end)));
            }
        }
    }
}
