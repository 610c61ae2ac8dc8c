//! Counted days and moments, as the texts that columns of date and time take.

use std::io::Write as _;

const DAY_S: i64 = 86_400;

/// Appends the day `days` after 1970-01-01.
pub(super) fn put_date(days: i64, out: &mut Vec<u8>) {
    // Years that begin in March have the leap day last, and 400 years have 146,097 days.
    let days = days.saturating_add(719_468);
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    // A vector takes everything. Before the year 1 Postgres counts as people do.
    let _ = match year {
        1.. => write!(out, "{year:04}-{month:02}-{day:02}"),
        _ => write!(out, "{:04}-{month:02}-{day:02} BC", 1 - year),
    };
}

/// Appends the time of day that is `units` after midnight; a second has 10 to the power of `digits`
/// of them.
pub(super) fn put_time(units: i64, digits: u32, out: &mut Vec<u8>) {
    let second = 10_i64.pow(digits);
    let (seconds, fraction) = (units.div_euclid(second), units.rem_euclid(second));
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let _ = write!(out, "{hour:02}:{minute:02}:{second:02}");
    if digits > 0 {
        let _ = write!(out, ".{fraction:0width$}", width = digits as usize);
    }
}

/// Appends the moment that is `units` after 1970-01-01T00:00:00, and `zone` behind it.
pub(super) fn put_timestamp(units: i64, digits: u32, zone: &str, out: &mut Vec<u8>) {
    let day = DAY_S * 10_i64.pow(digits);
    put_date(units.div_euclid(day), out);
    let is_before_christ = out.ends_with(b" BC");
    if is_before_christ {
        out.truncate(out.len() - 3);
    }
    out.push(b'T');
    put_time(units.rem_euclid(day), digits, out);
    out.extend_from_slice(zone.as_bytes());
    if is_before_christ {
        out.extend_from_slice(b" BC");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn days_are_those_of_the_gregorian_calendar() {
        for (days, text) in [
            (0, "1970-01-01"),
            (20_484, "2026-01-31"),
            (11_016, "2000-02-29"),
            (-1, "1969-12-31"),
            (-719_162, "0001-01-01"),
            (-719_163, "0001-12-31 BC"),
            (2_932_897, "10000-01-01"),
        ] {
            assert_eq!(shown(|out| put_date(days, out)), text);
        }
        shown(|out| put_date(i64::MIN, out));
        shown(|out| put_date(i64::MAX, out));
    }

    #[test]
    fn every_day_of_the_common_era_is_what_a_well_kept_library_says() {
        let mut date = jiff::civil::date(1, 1, 1);
        for days in -719_162..=2_932_895_i64 {
            if days % 97 == 0 {
                assert_eq!(shown(|out| put_date(days, out)), date.to_string());
            }
            date = date.tomorrow().unwrap();
        }
    }

    #[test]
    fn moments_have_the_fraction_of_their_unit() {
        let us = 1_769_860_800_123_456;
        assert_eq!(shown(|o| put_timestamp(us, 6, "Z", o)), "2026-01-31T12:00:00.123456Z");
        assert_eq!(shown(|o| put_timestamp(-1, 3, "", o)), "1969-12-31T23:59:59.999");
        assert_eq!(shown(|o| put_time(86_400_000, 3, o)), "24:00:00.000");
        let bc = -62_135_596_800_001;
        assert_eq!(shown(|o| put_timestamp(bc, 3, "Z", o)), "0001-12-31T23:59:59.999Z BC");
        for digits in [0, 3, 6, 9] {
            shown(|o| put_timestamp(i64::MIN, digits, "Z", o));
            shown(|o| put_timestamp(i64::MAX, digits, "Z", o));
        }
    }
}
