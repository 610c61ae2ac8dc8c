//! The texts of dates and times: RFC 3339, and a little of what Postgres reads besides.

/// A day, and a time in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Days since 2000-01-01.
    pub(super) days: i64,
    /// Microseconds since the day began; a whole day for 24:00:00.
    pub(super) us: i64,
    /// Seconds by which the zone's clock is ahead of UTC.
    pub(super) zone_s: Option<i64>,
}

/// Why a text is no date or time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Fault {
    Grammar,
    Year,
    Month,
    Day,
    Time,
    Zone,
}

/// Reads `YYYY-MM-DD`, in days since 2000-01-01. Years may have up to 7 digits. ` BC` may follow.
pub(super) fn date(text: &[u8]) -> Result<i64, Fault> {
    match date_prefix(text) {
        Ok((days, [])) => Ok(days),
        read => {
            let fault = read.err().unwrap_or(Fault::Grammar);
            match before_christ(text, fault)? {
                (days, []) => Ok(days),
                _ => Err(Fault::Grammar),
            }
        }
    }
}

/// Reads a date, `T` or a space, `hh:mm[:ss[.fraction]]`, and perhaps `Z`, `±hh`, `±hhmm`, `±hh:mm`, and
/// perhaps ` BC`. A date alone is its midnight.
#[inline(always)]
pub(super) fn moment(text: &[u8]) -> Result<Moment, Fault> {
    let read = date_prefix(text).and_then(|(days, rest)| moment_of(days, rest));
    read.or_else(|fault| {
        let (days, rest) = before_christ(text, fault)?;
        moment_of(days, rest)
    })
}

#[inline(always)]
fn moment_of(days: i64, rest: &[u8]) -> Result<Moment, Fault> {
    let time = match rest {
        [] => return Ok(Moment { days, us: 0, zone_s: None }),
        [b'T' | b't' | b' ', time @ ..] => time,
        _ => return Err(Fault::Grammar),
    };
    let (us, rest) = time_prefix(time)?;
    Ok(Moment { days, us, zone_s: zone(rest)? })
}

/// Reads `hh:mm[:ss[.fraction]]`, in microseconds, and perhaps a zone, in seconds.
pub(super) fn time(text: &[u8]) -> Result<(i64, Option<i64>), Fault> {
    let (us, rest) = time_prefix(text)?;
    Ok((us, zone(rest)?))
}

#[inline(always)]
fn date_prefix(text: &[u8]) -> Result<(i64, &[u8]), Fault> {
    let (year, rest) = year(text)?;
    day_of(year, rest)
}

/// Reads the date of a text that ends with the era, as Postgres writes it; of any other the `fault`
/// stays. The year before 1 AD is 1 BC, and the calendar is the same every 400 years.
#[cold]
fn before_christ(text: &[u8], fault: Fault) -> Result<(i64, &[u8]), Fault> {
    let (year, rest) = year(text.strip_suffix(b" BC").ok_or(fault)?)?;
    if year == 0 {
        return Err(Fault::Year);
    }
    let cycles = year / 400 + 1;
    let (days, rest) = day_of(1 - year + 400 * cycles, rest)?;
    Ok((days - 146_097 * cycles, rest))
}

#[inline(always)]
fn year(text: &[u8]) -> Result<(i64, &[u8]), Fault> {
    match text {
        &[c1, c2, y1, y2, b'-', ref rest @ ..] => Ok((100 * two(c1, c2)? + two(y1, y2)?, rest)),
        _ => long_year(text),
    }
}

#[inline(always)]
fn day_of(year: i64, rest: &[u8]) -> Result<(i64, &[u8]), Fault> {
    let &[m1, m2, b'-', d1, d2, ref rest @ ..] = rest else { return Err(Fault::Grammar) };
    Ok((days(year, two(m1, m2)?, two(d1, d2)?)?, rest))
}

fn long_year(text: &[u8]) -> Result<(i64, &[u8]), Fault> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match text.split_at(digits) {
        (year, [b'-', rest @ ..]) if (5..=7).contains(&digits) => {
            Ok((year.iter().fold(0, |year, digit| year * 10 + i64::from(digit - b'0')), rest))
        }
        _ => Err(Fault::Grammar),
    }
}

#[inline(always)]
fn time_prefix(text: &[u8]) -> Result<(i64, &[u8]), Fault> {
    let &[h1, h2, b':', m1, m2, ref rest @ ..] = text else { return Err(Fault::Grammar) };
    let (hour, minute) = (two(h1, h2)?, two(m1, m2)?);
    let (second, us, rest) = match rest {
        &[b':', s1, s2, ref rest @ ..] => {
            let (us, rest) = fraction(rest)?;
            (two(s1, s2)?, us, rest)
        }
        _ => (0, 0, rest),
    };
    let total = ((hour * 60 + minute) * 60 + second) * 1_000_000 + us;
    // Postgres, too, takes 24:00:00 and second 60 for the beginning of what follows, but nothing
    // that is longer than the day (time_overflows).
    if hour > 24 || minute > 59 || second > 60 || total > 86_400_000_000 {
        return Err(Fault::Time);
    }
    Ok((total, rest))
}

/// Reads a fraction of a second, in microseconds.
#[inline(always)]
pub(in super::super) fn fraction(text: &[u8]) -> Result<(i64, &[u8]), Fault> {
    let [b'.', rest @ ..] = text else { return Ok((0, text)) };
    let mut value = 0;
    let mut count = 0;
    for byte in rest.iter().take(7) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value * 10 + i64::from(digit);
        count += 1;
    }
    let us = match count {
        // The scale of milliseconds is by far the most frequent one.
        3 => value * 1_000,
        1..=6 => value * 10_i64.pow(6 - count),
        7 => return long_fraction(text),
        _ => return Err(Fault::Grammar),
    };
    Ok((us, rest.get(count as usize..).unwrap_or_default()))
}

/// Rounds a fraction with more digits than microseconds as Postgres does it: by way of a double,
/// and to the even one in the middle (`ParseFractionalSecond`).
fn long_fraction(text: &[u8]) -> Result<(i64, &[u8]), Fault> {
    let digits = text.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
    let (fraction, rest) = text.split_at(1 + digits);
    let fraction: Option<f64> = std::str::from_utf8(fraction).ok().and_then(|f| f.parse().ok());
    let seconds = fraction.ok_or(Fault::Grammar)?;
    Ok(((seconds * 1_000_000.0).round_ties_even() as i64, rest))
}

#[inline(always)]
fn zone(text: &[u8]) -> Result<Option<i64>, Fault> {
    let (sign, text) = match text {
        [b'Z' | b'z'] => return Ok(Some(0)),
        [] => return Ok(None),
        [b'+', text @ ..] => (1, text),
        [b'-', text @ ..] => (-1, text),
        _ => return Err(Fault::Grammar),
    };
    let (hours, minutes) = match *text {
        [h1, h2] => (two(h1, h2)?, 0),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => (two(h1, h2)?, two(m1, m2)?),
        _ => return Err(Fault::Grammar),
    };
    if hours > 23 || minutes > 59 {
        return Err(Fault::Zone);
    }
    Ok(Some(sign * (hours * 3_600 + minutes * 60)))
}

#[inline(always)]
fn two(tens: u8, ones: u8) -> Result<i64, Fault> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 {
        return Err(Fault::Grammar);
    }
    Ok(i64::from(tens * 10 + ones))
}

/// Days from 2000-01-01 to a day of the Gregorian calendar.
#[inline(always)]
fn days(year: i64, month: i64, day: i64) -> Result<i64, Fault> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Err(Fault::Month),
    };
    if day < 1 || day > length {
        return Err(Fault::Day);
    }
    if year == 0 {
        return Err(Fault::Year);
    }
    // Years that begin in March have the leap day last, and months of 153 days in five.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    Ok(365 * year + leap_days + (153 * month + 2) / 5 + day - 730_426)
}
