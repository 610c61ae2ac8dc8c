//! `interval`: months, days and microseconds, each by itself, as `interval_recv` reads them.

use super::{
    Literal, put_fixed, refuse,
    time::{duration, fraction},
};
use crate::{
    rejection::{Reason, Rejection},
    sink::postgres::column::EpochUnit,
};

const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;

pub(super) fn encode(
    literal: Literal<'_>,
    unit: Option<EpochUnit>,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let (Literal::Number(text) | Literal::Text(text)) = literal;
    if let Some(us) = duration(literal, unit, "interval")? {
        return put(Interval { us, ..Interval::default() }, text, out);
    }
    let interval = match text {
        [b'P', rest @ ..] => iso(rest),
        // As XML Schema has it; Postgres has the sign before each number alone.
        [b'-', b'P', rest @ ..] => iso(rest).and_then(Interval::negated),
        _ => words(text),
    };
    match interval {
        Ok(interval) => put(interval, text, out),
        Err(Fault::Grammar) => {
            let problem =
                "expected an interval like P1Y2M3DT4H5M6.5S, or 1 year 2 mons 3 days 04:05:06.5";
            Err(refuse(Reason::InvalidText, text, problem))
        }
        Err(Fault::Overflow) => Err(too_large(text)),
    }
}

#[cold]
fn too_large(text: &[u8]) -> Rejection {
    let problem = "an interval holds 2^31 months, 2^31 days and 2^63 microseconds";
    refuse(Reason::OutOfRange, text, problem)
}

fn put(interval: Interval, text: &[u8], out: &mut Vec<u8>) -> Result<(), Rejection> {
    let (Ok(days), Ok(months)) = (i32::try_from(interval.days), i32::try_from(interval.months))
    else {
        return Err(too_large(text));
    };
    let mut field = [0; 16];
    let (us, rest) = field.split_at_mut(8);
    us.copy_from_slice(&interval.us.to_be_bytes());
    let (first, second) = rest.split_at_mut(4);
    first.copy_from_slice(&days.to_be_bytes());
    second.copy_from_slice(&months.to_be_bytes());
    put_fixed::<16, 20>(field, out);
    Ok(())
}

#[derive(Clone, Copy, Debug, Default)]
struct Interval {
    months: i64,
    days: i64,
    us: i64,
    /// Which units there were: each may come once.
    seen: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Grammar,
    Overflow,
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
}

/// The units in words, as Postgres knows them (`deltatktbl`).
const WORDS: [(Unit, &[&str]); 9] = [
    (Unit::Year, &["year", "years", "yr", "yrs", "y"]),
    (Unit::Month, &["mon", "mons", "month", "months"]),
    (Unit::Week, &["week", "weeks", "w"]),
    (Unit::Day, &["day", "days", "d"]),
    (Unit::Hour, &["hour", "hours", "hr", "hrs", "h"]),
    (Unit::Minute, &["minute", "minutes", "min", "mins", "m"]),
    (Unit::Second, &["second", "seconds", "sec", "secs", "s"]),
    (Unit::Millisecond, &["millisecond", "milliseconds", "msec", "msecs", "ms"]),
    (Unit::Microsecond, &["microsecond", "microseconds", "usec", "usecs", "us"]),
];

impl Interval {
    /// Adds so many of `unit`, once. `us` is a fraction, which only seconds have: of all others it is
    /// open what it means.
    fn add(&mut self, count: i64, us: Option<i64>, unit: Unit) -> Result<(), Fault> {
        let (place, factor) = match unit {
            Unit::Year => (&mut self.months, 12),
            Unit::Month => (&mut self.months, 1),
            Unit::Week => (&mut self.days, 7),
            Unit::Day => (&mut self.days, 1),
            Unit::Hour => (&mut self.us, HOUR_US),
            Unit::Minute => (&mut self.us, MINUTE_US),
            Unit::Second => (&mut self.us, 1_000_000),
            Unit::Millisecond => (&mut self.us, 1_000),
            Unit::Microsecond => (&mut self.us, 1),
        };
        let bit = 1 << unit as u16;
        if self.seen & bit != 0 || (us.is_some() && !matches!(unit, Unit::Second)) {
            return Err(Fault::Grammar);
        }
        self.seen |= bit;
        let added = count.checked_mul(factor).and_then(|value| value.checked_add(us.unwrap_or(0)));
        let sum = added.and_then(|added| place.checked_add(added));
        *place = sum.ok_or(Fault::Overflow)?;
        Ok(())
    }

    fn negated(self) -> Result<Self, Fault> {
        let negate = |value: i64| value.checked_neg().ok_or(Fault::Overflow);
        let Self { months, days, us, seen } = self;
        Ok(Self { months: negate(months)?, days: negate(days)?, us: negate(us)?, seen })
    }
}

/// A number: its value and that of its fraction in millionths, both signed, and what follows.
fn number(text: &[u8]) -> Result<(i64, Option<i64>, &[u8]), Fault> {
    let (sign, text) = signed(text);
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = text.split_at(digits);
    if whole.is_empty() {
        return Err(Fault::Grammar);
    }
    let mut value: i64 = 0;
    for digit in whole {
        let digit = i64::from(digit - b'0');
        value = value.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or(Fault::Overflow)?;
    }
    if !rest.starts_with(b".") {
        return Ok((sign * value, None, rest));
    }
    let (us, rest) = fraction(rest).map_err(|_| Fault::Grammar)?;
    Ok((sign * value, Some(sign * us), rest))
}

fn signed(text: &[u8]) -> (i64, &[u8]) {
    match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        _ => (1, text),
    }
}

/// Reads what follows the `P` of ISO 8601.
fn iso(mut rest: &[u8]) -> Result<Interval, Fault> {
    let mut interval = Interval::default();
    let mut in_time = false;
    while !rest.is_empty() {
        if let [b'T', number @ ..] = rest
            && !in_time
            && !number.is_empty()
        {
            in_time = true;
            rest = number;
        }
        let (count, us, after) = number(rest)?;
        let (unit, after) = match (after, in_time) {
            ([b'Y', after @ ..], false) => (Unit::Year, after),
            ([b'M', after @ ..], false) => (Unit::Month, after),
            ([b'W', after @ ..], false) => (Unit::Week, after),
            ([b'D', after @ ..], false) => (Unit::Day, after),
            ([b'H', after @ ..], true) => (Unit::Hour, after),
            ([b'M', after @ ..], true) => (Unit::Minute, after),
            ([b'S', after @ ..], true) => (Unit::Second, after),
            _ => return Err(Fault::Grammar),
        };
        interval.add(count, us, unit)?;
        rest = after;
    }
    if interval.seen == 0 { Err(Fault::Grammar) } else { Ok(interval) }
}

/// Reads what Postgres writes: `1 year 2 mons -3 days +04:05:06`, `@ 1 hour 5 mins ago`.
fn words(text: &[u8]) -> Result<Interval, Fault> {
    let mut interval = Interval::default();
    let mut rest = text.strip_prefix(b"@ ").unwrap_or(text);
    loop {
        rest = match clock(rest) {
            Some((us, after)) => {
                // Together they are the time of day: none may come beside them.
                for unit in [Unit::Hour, Unit::Minute] {
                    interval.add(0, None, unit)?;
                }
                interval.add(0, Some(us?), Unit::Second)?;
                after
            }
            None => {
                let (count, us, after) = number(rest)?;
                let after = after.strip_prefix(b" ").unwrap_or(after);
                let letters = after.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
                let (word, after) = after.split_at(letters);
                let unit = WORDS
                    .iter()
                    .find(|(_, words)| {
                        words.iter().any(|w| word.eq_ignore_ascii_case(w.as_bytes()))
                    })
                    .ok_or(Fault::Grammar)?;
                interval.add(count, us, unit.0)?;
                after
            }
        };
        rest = match rest {
            [] => return Ok(interval),
            [b' ', after @ ..] if after.eq_ignore_ascii_case(b"ago") => return interval.negated(),
            [b' ', after @ ..] => after,
            _ => rest,
        };
    }
}

/// Reads `[+-]hours:minutes[:seconds[.fraction]]`, in microseconds, if `text` begins so.
fn clock(text: &[u8]) -> Option<(Result<i64, Fault>, &[u8])> {
    let (sign, digits) = signed(text);
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    let (hours, None, [b':', rest @ ..]) = number(digits).ok()? else { return None };
    let &[m1, m2, ref rest @ ..] = rest else { return Some((Err(Fault::Grammar), rest)) };
    let two = |tens: u8, ones: u8| {
        let is_number = tens.is_ascii_digit() && ones.is_ascii_digit();
        is_number.then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
    };
    let (seconds, us, rest) = match rest {
        &[b':', s1, s2, ref rest @ ..] => match fraction(rest) {
            Ok((us, rest)) => (two(s1, s2), us, rest),
            Err(_) => (None, 0, rest),
        },
        _ => (Some(0), 0, rest),
    };
    let us = match (two(m1, m2), seconds) {
        // Second 60 is what follows, as in Postgres.
        (Some(minutes @ 0..60), Some(seconds @ 0..=60)) => hours
            .checked_mul(HOUR_US)
            .and_then(|value| value.checked_add(minutes * MINUTE_US + seconds * 1_000_000 + us))
            .map(|value| sign * value)
            .ok_or(Fault::Overflow),
        _ => Err(Fault::Grammar),
    };
    Some((us, rest))
}
