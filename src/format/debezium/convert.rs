//! Values of Debezium's semantic types, as the texts that columns take.

use std::io::Write as _;

use super::{
    base64, is_unavailable,
    schema::{Conversion, Row},
    slice,
};
use crate::{
    format::{
        calendar::{put_date, put_time, put_timestamp},
        decimal::put_decimal,
        json::{elements, members, put_characters, unescape, validate},
    },
    row::{Kind, Span},
};

/// Infinite days and moments, as the connector for Postgres counts them: the greatest and the least
/// day of Postgres, counted from 1970 with an overflow; and the driver's constants, whose unit is the
/// millisecond, for whatever the unit is.
const DAYS: [(i64, &str); 2] = [(-2_147_472_692, "infinity"), (-2_147_472_691, "-infinity")];
const MOMENTS: [(i64, &str); 2] =
    [(9_223_372_036_825_200_000, "infinity"), (-9_223_372_036_832_400_000, "-infinity")];

/// Appends the object `row` with the conversions that its schema asks for. What a conversion does not
/// fit stays as it is, for the column to judge.
///
/// A document that is `null` is a value, and the column's NULL is another: it has a space before it,
/// which nothing else has that is written here.
pub(super) fn put_row(row: &[u8], schema: &Row, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    let mut next = 0;
    out.push(b'{');
    for (index, (key, value)) in members(row).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(quoted(row, key));
        out.push(b':');
        match schema.find(slice(row, key), &mut next) {
            Some(conversion) => put(conversion, row, value, scratch, out),
            None => out.extend_from_slice(quoted(row, value)),
        }
    }
    out.push(b'}');
}

/// Marks the documents that are `null` among the values of a row that was written here.
pub(super) fn mark_documents(text: &[u8], spans: &mut [Span]) {
    for span in spans.iter_mut().filter(|span| span.kind == Kind::Null) {
        let before = (span.start as usize).checked_sub(1).and_then(|at| text.get(at));
        if before == Some(&b' ') {
            span.kind = Kind::Nested;
        }
    }
}

/// The text of a value, with the quotes that its span leaves out.
fn quoted(text: &[u8], span: Span) -> &[u8] {
    match span.kind {
        Kind::Text | Kind::EscapedText => {
            let (start, end) = (span.start as usize, span.end as usize);
            text.get(start.saturating_sub(1)..end + 1).unwrap_or_default()
        }
        _ => slice(text, span),
    }
}

fn put(
    conversion: &Conversion,
    text: &[u8],
    value: Span,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    if converted(conversion, text, value, scratch, out).is_none() {
        out.truncate(start);
        out.extend_from_slice(quoted(text, value));
    }
}

/// Appends the converted value; `None` if it is not what the conversion is for.
fn converted(
    conversion: &Conversion,
    text: &[u8],
    value: Span,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Option<()> {
    let raw = slice(text, value);
    scratch.clear();
    match (conversion, value.kind) {
        (Conversion::Decimal { scale }, Kind::Text) => {
            base64::decode(raw, scratch)?;
            put_decimal(scratch, *scale, out).then_some(())
        }
        (Conversion::VariableDecimal, Kind::Nested) => {
            base64::decode(slice(raw, member(raw, b"value", Kind::Text)?), scratch)?;
            let scale = integer(slice(raw, member(raw, b"scale", Kind::Number)?))?;
            put_decimal(scratch, scale, out).then_some(())
        }
        (Conversion::Json, Kind::Text | Kind::EscapedText) => {
            unescape(raw, scratch).ok()?;
            validate(scratch).ok()?;
            if scratch.trim_ascii() == b"null" {
                out.push(b' ');
            }
            out.extend_from_slice(scratch.trim_ascii());
            Some(())
        }
        (Conversion::Point, Kind::Nested) => {
            let x = slice(raw, member(raw, b"x", Kind::Number)?);
            let y = slice(raw, member(raw, b"y", Kind::Number)?);
            [b"\"(", x, b",", y, b")\""].iter().for_each(|part| out.extend_from_slice(part));
            Some(())
        }
        (Conversion::Bits { length }, Kind::Text) => {
            base64::decode(raw, scratch)?;
            put_bits(scratch, *length, out);
            Some(())
        }
        (Conversion::Iso, Kind::Text) => {
            out.push(b'"');
            put_iso(raw.strip_suffix(b"Z")?, out)?;
            out.push(b'"');
            Some(())
        }
        (Conversion::IsoMoment, Kind::Text)
            if matches!(raw, [b'-' | b'+', ..] | [b'0', b'0', b'0', b'0', ..]) =>
        {
            out.push(b'"');
            put_iso(raw, out)?;
            out.push(b'"');
            Some(())
        }
        (Conversion::Items(_), Kind::Nested) if is_unavailable(Kind::Nested, raw) => None,
        (Conversion::Items(inner), Kind::Nested) => {
            out.push(b'[');
            for (index, element) in elements(raw).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                put(inner, raw, element, scratch, out);
            }
            out.push(b']');
            Some(())
        }
        (_, Kind::Number) => {
            out.push(b'"');
            put_time_of(conversion, integer(raw)?, out)?;
            out.push(b'"');
            Some(())
        }
        _ => None,
    }
}

/// Appends a date, a time or a moment of ISO 8601, whose years before the year 0 have a minus, and those
/// of more than four digits a plus. Postgres counts them as people do, and has no year 0.
fn put_iso(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (digits, is_before) = match text {
        [b'-', rest @ ..] => (rest, true),
        [b'+', rest @ ..] => (rest, false),
        [b'0', b'0', b'0', b'0', b'-', ..] => (text, true),
        _ => {
            put_characters(text, out);
            return Some(());
        }
    };
    if !is_before {
        put_characters(digits, out);
        return Some(());
    }
    let end = digits.iter().position(|byte| *byte == b'-')?;
    let (year, rest) = digits.split_at(end);
    let _ = write!(out, "{:04}", integer(year)?.checked_add(1)?);
    put_characters(rest, out);
    out.extend_from_slice(b" BC");
    Some(())
}

/// Appends a counted day, moment or span of time.
fn put_time_of(conversion: &Conversion, units: i64, out: &mut Vec<u8>) -> Option<()> {
    match conversion {
        Conversion::Date => match DAYS.iter().find(|(days, _)| *days == units) {
            Some((_, word)) => out.extend_from_slice(word.as_bytes()),
            None => put_date(units, out),
        },
        Conversion::Timestamp { digits } => {
            let is_it = |moment: i64| match digits {
                3 => units == moment || units == moment / 1_000,
                _ => units == moment,
            };
            match MOMENTS.iter().find(|(moment, _)| is_it(*moment)) {
                Some((_, word)) => out.extend_from_slice(word.as_bytes()),
                // Debezium counts the moment of a column without a zone as if it were in UTC; a column
                // without a zone takes it so.
                None => put_timestamp(units, *digits, "Z", out),
            }
        }
        Conversion::Time { digits } => put_time(units, *digits, out),
        Conversion::Duration { digits } => put_duration(units, *digits, out),
        _ => return None,
    }
    Some(())
}

/// Appends a span of time as ISO 8601 has it.
fn put_duration(units: i64, digits: u32, out: &mut Vec<u8>) {
    let second = 10_u64.pow(digits);
    let (sign, units) = (if units < 0 { "-" } else { "" }, units.unsigned_abs());
    let (seconds, fraction) = (units / second, units % second);
    let _ = write!(out, "PT{sign}{seconds}.{fraction:0width$}S", width = digits as usize);
}

/// Appends so many bits, the highest first; of a length that nobody can mean, those that there are.
fn put_bits(bytes: &[u8], length: usize, out: &mut Vec<u8>) {
    let bits = bytes.len() * 8;
    let length = if length == 0 || length > bits.max(1 << 16) { bits } else { length };
    out.push(b'"');
    for place in (0..length).rev() {
        let byte = bytes.get(place / 8).copied().unwrap_or(0);
        out.push(b'0' + (byte >> (place % 8) & 1));
    }
    out.push(b'"');
}

fn member(object: &[u8], name: &[u8], kind: Kind) -> Option<Span> {
    let found = members(object).find(|(key, _)| slice(object, *key) == name)?.1;
    (found.kind == kind).then_some(found)
}

fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
