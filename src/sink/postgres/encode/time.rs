//! `date`, `timestamp`, `timestamp with time zone`: days or microseconds since 2000-01-01; `time`,
//! `time with time zone`: microseconds since midnight.

mod parse;
mod zone;

use super::{Literal, decimal::Decimal, number::Special, put_fixed, refuse};
use crate::{
    rejection::{Reason, Rejection},
    sink::postgres::column::{EpochUnit, Reading},
};
use parse::{Fault, Moment};

pub(super) use parse::fraction;

const DAY_US: i64 = 86_400_000_000;

/// 1970-01-01 in Postgres' reckoning.
const UNIX_EPOCH_US: i64 = -10_957 * DAY_US;

/// 4714-11-24 BC up to 294277-01-01 (`MIN_TIMESTAMP`, `END_TIMESTAMP`).
const TIMESTAMPS_US: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// 4714-11-24 BC up to 5874898-01-01 (`IS_VALID_DATE`).
const DATES: std::ops::Range<i64> = -2_451_545..2_145_031_949;

pub(super) fn encode_date(
    literal: Literal<'_>,
    unit: Option<EpochUnit>,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let (Literal::Number(text) | Literal::Text(text)) = literal;
    if let Some(us) = epoch(literal, unit, "date")? {
        return put_date(us.div_euclid(DAY_US), text, out);
    }
    match parse::date(text) {
        Ok(days) => put_date(days, text, out),
        Err(fault) => match Special::parse(text) {
            Some(Special::Infinity) => {
                put_fixed::<4, 8>(i32::MAX.to_be_bytes(), out);
                Ok(())
            }
            Some(Special::MinusInfinity) => {
                put_fixed::<4, 8>(i32::MIN.to_be_bytes(), out);
                Ok(())
            }
            _ => Err(unreadable(text, fault, "date", "2026-01-31")),
        },
    }
}

#[inline]
pub(super) fn encode_timestamp(
    literal: Literal<'_>,
    reading: &Reading,
    zoned: bool,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let (Literal::Number(text) | Literal::Text(text)) = literal;
    let type_name = if zoned { "timestamp with time zone" } else { "timestamp" };
    if let Some(us) = epoch(literal, reading.epoch_unit, type_name)? {
        return put_timestamp(us, text, out);
    }
    match parse::moment(text) {
        Ok(Moment { days, us, zone_s: None }) if zoned => {
            put_timestamp(zone::instant(days, us, reading.zone.as_ref(), text)?, text, out)
        }
        Ok(Moment { days, us, zone_s }) => {
            // Years have few enough digits for this not to overflow an i128.
            let us = i128::from(days) * i128::from(DAY_US) + i128::from(us)
                - i128::from(zone_s.unwrap_or(0)) * 1_000_000;
            put_timestamp(i64::try_from(us).unwrap_or(i64::MAX), text, out)
        }
        Err(fault) => match Special::parse(text) {
            Some(Special::Infinity) => {
                put_fixed::<8, 12>(i64::MAX.to_be_bytes(), out);
                Ok(())
            }
            Some(Special::MinusInfinity) => {
                put_fixed::<8, 12>(i64::MIN.to_be_bytes(), out);
                Ok(())
            }
            _ => {
                let example = if zoned { "2026-01-31T12:00:00Z" } else { "2026-01-31T12:00:00" };
                Err(unreadable(text, fault, type_name, example))
            }
        },
    }
}

pub(super) fn encode_time(
    literal: Literal<'_>,
    unit: Option<EpochUnit>,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let (Literal::Number(text) | Literal::Text(text)) = literal;
    let us = match duration(literal, unit, "time")? {
        Some(us) => us,
        None => match parse::time(text) {
            Ok((us, None)) => us,
            Ok((_, Some(_))) => {
                let problem = "has a zone, which a time cannot hold; time with time zone would";
                return Err(refuse(Reason::InvalidText, text, problem));
            }
            Err(fault) => return Err(unreadable(text, fault, "time", "12:00:00")),
        },
    };
    if !(0..=DAY_US).contains(&us) {
        return Err(refuse(Reason::OutOfRange, text, "time holds 00:00:00 to 24:00:00"));
    }
    put_fixed::<8, 12>(us.to_be_bytes(), out);
    Ok(())
}

pub(super) fn encode_timetz(literal: Literal<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    const NAME: &str = "time with time zone";
    let text = match literal {
        Literal::Text(text) => text,
        Literal::Number(text) => {
            let problem = "is a number; expected a string like 12:00:00+02:00";
            return Err(refuse(Reason::WrongType, text, problem));
        }
    };
    match parse::time(text) {
        // `timetz_recv` takes less than 16 hours, and counts them to the west.
        Ok((us, Some(zone_s))) if zone_s.abs() < 16 * 3_600 => {
            let mut field = [0; 12];
            let (time, zone) = field.split_at_mut(8);
            time.copy_from_slice(&us.to_be_bytes());
            zone.copy_from_slice(&(-zone_s as i32).to_be_bytes());
            put_fixed::<12, 16>(field, out);
            Ok(())
        }
        Ok((_, Some(_))) => Err(unreadable(text, Fault::Zone, NAME, "")),
        Ok((_, None)) => {
            let problem = "has no time zone; expected Z or +hh:mm after it";
            Err(refuse(Reason::InvalidText, text, problem))
        }
        Err(fault) => Err(unreadable(text, fault, NAME, "12:00:00+02:00")),
    }
}

/// Appends the instant `ms` milliseconds after the Unix epoch.
pub(super) fn put_timestamp_ms(ms: i64, out: &mut Vec<u8>) -> Result<(), Rejection> {
    match us_of_ms(ms) {
        us if TIMESTAMPS_US.contains(&us) => put_timestamp(us, b"", out),
        _ => Err(beyond(ms)),
    }
}

/// Appends the day, in UTC, of the instant `ms` milliseconds after the Unix epoch.
pub(super) fn put_date_ms(ms: i64, out: &mut Vec<u8>) -> Result<(), Rejection> {
    match us_of_ms(ms) {
        us if TIMESTAMPS_US.contains(&us) => put_date(us.div_euclid(DAY_US), b"", out),
        _ => Err(beyond(ms)),
    }
}

/// Microseconds since 2000-01-01; a value out of every range if they do not fit.
fn us_of_ms(ms: i64) -> i64 {
    ms.checked_mul(1_000).and_then(|us| us.checked_add(UNIX_EPOCH_US)).unwrap_or(i64::MAX)
}

#[cold]
fn beyond(ms: i64) -> Rejection {
    let problem = "the record's timestamp is beyond 4713 BC to 294276 AD";
    refuse(Reason::OutOfRange, ms.to_string().as_bytes(), problem)
}

fn put_date(days: i64, text: &[u8], out: &mut Vec<u8>) -> Result<(), Rejection> {
    match i32::try_from(days) {
        Ok(days) if DATES.contains(&i64::from(days)) => {
            put_fixed::<4, 8>(days.to_be_bytes(), out);
            Ok(())
        }
        _ => Err(refuse(Reason::OutOfRange, text, "date holds 4713 BC to 5874897 AD")),
    }
}

#[inline]
fn put_timestamp(us: i64, text: &[u8], out: &mut Vec<u8>) -> Result<(), Rejection> {
    if !TIMESTAMPS_US.contains(&us) {
        return Err(refuse(Reason::OutOfRange, text, "timestamp holds 4713 BC to 294276 AD"));
    }
    put_fixed::<8, 12>(us.to_be_bytes(), out);
    Ok(())
}

/// What a number means in a column with an epoch, in microseconds since 2000-01-01; `None` for a
/// text that has to be read.
#[inline]
fn epoch(
    literal: Literal<'_>,
    unit: Option<EpochUnit>,
    type_name: &str,
) -> Result<Option<i64>, Rejection> {
    counted(literal, unit, type_name, UNIX_EPOCH_US)
}

/// What a number means as a length of time, in microseconds; `None` for a text that has to be read.
pub(super) fn duration(
    literal: Literal<'_>,
    unit: Option<EpochUnit>,
    type_name: &str,
) -> Result<Option<i64>, Rejection> {
    counted(literal, unit, type_name, 0)
}

/// Microseconds, where `unit` says what the number counts, from `start_us` on.
#[inline]
fn counted(
    literal: Literal<'_>,
    unit: Option<EpochUnit>,
    type_name: &str,
    start_us: i64,
) -> Result<Option<i64>, Rejection> {
    let (text, decimal) = match (literal, unit) {
        (Literal::Text(_), None) => return Ok(None),
        // 64-bit numbers often come as strings. Numbers have no hyphen inside, dates have.
        (Literal::Text(text), Some(_)) => match Decimal::parse(text) {
            Some(decimal) => (text, Some(decimal)),
            None => return Ok(None),
        },
        (Literal::Number(text), Some(_)) => (text, Decimal::parse(text)),
        (Literal::Number(text), None) => {
            let problem = format!(
                "is a number, and nothing says what it counts ({type_name}); \
                 declare epoch = \"ms\" (or s, us, ns), or send a string"
            );
            return Err(refuse(Reason::WrongType, text, problem));
        }
    };
    let shift = match unit {
        Some(EpochUnit::S) => 6,
        Some(EpochUnit::Ms) => 3,
        Some(EpochUnit::Us) | None => 0,
        Some(EpochUnit::Ns) => -3,
    };
    let us = decimal.and_then(|decimal| decimal.round(shift)?.checked_add(start_us));
    match us {
        Some(us) => Ok(Some(us)),
        None => {
            let problem = format!("is beyond every {type_name}; is the declared epoch right?");
            Err(refuse(Reason::OutOfRange, text, problem))
        }
    }
}

#[cold]
fn unreadable(text: &[u8], fault: Fault, type_name: &str, example: &str) -> Rejection {
    let problem = match fault {
        Fault::Grammar => format!("expected a {type_name} like {example}"),
        Fault::Month => "there is no such month".to_owned(),
        Fault::Day => "there is no such day in that month".to_owned(),
        Fault::Year => "there is no year 0".to_owned(),
        Fault::Time => "there is no such time of day".to_owned(),
        Fault::Zone => "there is no such time zone offset".to_owned(),
    };
    refuse(Reason::InvalidText, text, problem)
}
