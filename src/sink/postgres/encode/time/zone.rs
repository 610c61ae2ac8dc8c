//! Times without a zone, read from a clock whose place is known.

use jiff::{
    Timestamp,
    tz::{AmbiguousOffset, Offset, TimeZone},
};

use super::{super::refuse, DAY_US, UNIX_EPOCH_US};
use crate::rejection::{Reason, Rejection};

/// The instant, in microseconds since 2000-01-01, at which the clock of `zone` shows that day and time.
pub(super) fn instant(
    days: i64,
    us: i64,
    zone: Option<&TimeZone>,
    text: &[u8],
) -> Result<i64, Rejection> {
    let Some(zone) = zone else {
        let problem = "has no time zone; expected Z or +hh:mm after it, or declare zone = \"...\"";
        return Err(refuse(Reason::InvalidText, text, problem));
    };
    // The clock as if it were that of UTC.
    let local_us = days.saturating_mul(DAY_US).saturating_add(us);
    let local = Timestamp::from_microsecond(local_us.saturating_sub(UNIX_EPOCH_US));
    let Ok(local) = local else {
        let problem = "clocks are only known for the years up to 9999; send a zone with it";
        return Err(refuse(Reason::OutOfRange, text, problem));
    };
    let local = Offset::UTC.to_datetime(local);
    let offset = match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset,
        AmbiguousOffset::Gap { .. } => {
            let problem = "the clock never showed that: it was put forward; send a zone with it";
            return Err(refuse(Reason::InvalidText, text, problem));
        }
        AmbiguousOffset::Fold { .. } => {
            let problem = "the clock showed that twice: it was put back; send a zone with it";
            return Err(refuse(Reason::InvalidText, text, problem));
        }
    };
    Ok(local_us - i64::from(offset.seconds()) * 1_000_000)
}
