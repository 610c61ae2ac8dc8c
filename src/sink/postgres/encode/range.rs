//! Ranges and multiranges, as `range_recv` and `multirange_recv` read them.

use super::{
    Scratch,
    members::Members,
    part,
    parts::{Written, read_quoted, trim, trim_start},
    put_with, refuse, show,
    type_name::wanted,
};
use crate::{
    rejection::{Reason, Rejection},
    row::{Span, Value},
    sink::postgres::column::{ColumnType, Reading},
};

/// `rangetypes.h`.
const EMPTY: u8 = 0x01;
const LOWER_INCLUSIVE: u8 = 0x02;
const UPPER_INCLUSIVE: u8 = 0x04;
const LOWER_INFINITE: u8 = 0x08;
const UPPER_INFINITE: u8 = 0x10;

const LIKE: &str = "expected a text like [1,5), or empty";

/// The names that an object may have, and where their values are kept.
const NAMES: [&[u8]; 4] = [b"lower", b"upper", b"bounds", b"empty"];

pub(super) fn encode(
    bound: &ColumnType,
    reading: &Reading,
    value: Value<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let mut text = scratch.parts.take();
    let mut writer = Writer { bound, reading, scratch };
    let result = match Written::of(value, true, &mut text) {
        Err(rejection) => Err(rejection),
        // Postgres' own notation may look like JSON: [1,5] includes its end.
        Ok(Written::List(json)) if !matches!(value, Value::Nested(_)) => {
            writer.whole_text(json, out)
        }
        Ok(Written::List(json)) => writer.list(json, out),
        Ok(Written::Object(json)) => writer.object(json, out),
        Ok(Written::Text(text)) => writer.whole_text(text, out),
        Ok(Written::Single) => {
            let wanted = wanted(&ColumnType::Range(bound.clone().into()));
            Err(refuse(Reason::WrongType, &show(value), wanted))
        }
    };
    scratch.parts.give(text);
    result
}

pub(super) fn encode_multi(
    bound: &ColumnType,
    reading: &Reading,
    value: Value<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let mut text = scratch.parts.take();
    let result = match Written::of(value, false, &mut text) {
        Err(rejection) => Err(rejection),
        Ok(Written::List(json)) => put_counted(out, |out| {
            let mut count = 0;
            for (_, span) in Members::of(json) {
                count += 1;
                if span.value(json) == Value::Null {
                    return Err(refuse(Reason::WrongType, json, "a multirange holds no null"));
                }
                encode(bound, reading, span.value(json), scratch, out)
                    .map_err(|rejection| rejection.inside(format_args!("range {count}")))?;
            }
            Ok(count)
        }),
        Ok(Written::Text(text)) => {
            put_counted(out, |out| Writer { bound, reading, scratch }.ranges(text, out))
        }
        Ok(Written::Object(_) | Written::Single) => {
            let wanted = wanted(&ColumnType::Multirange(bound.clone().into()));
            Err(refuse(Reason::WrongType, &show(value), wanted))
        }
    };
    scratch.parts.give(text);
    result
}

/// Appends a field that begins with the number of its parts.
fn put_counted(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<u32, Rejection>,
) -> Result<(), Rejection> {
    put_with(out, |out| {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        let count = write(out)?;
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&count.to_be_bytes());
        }
        Ok(())
    })
}

struct Writer<'w> {
    bound: &'w ColumnType,
    reading: &'w Reading,
    scratch: &'w mut Scratch,
}

impl Writer<'_> {
    /// `[lower, upper]`: the upper bound is not included, and null is no bound.
    fn list(&mut self, json: &[u8], out: &mut Vec<u8>) -> Result<(), Rejection> {
        let mut members = Members::of(json).map(|(_, span)| span.value(json));
        match (members.next(), members.next(), members.next()) {
            (Some(lower), Some(upper), None) => {
                self.put(LOWER_INCLUSIVE, [lower, upper], json, out)
            }
            _ => {
                let problem = "expected two bounds, null for none; the upper one is not included";
                Err(refuse(Reason::WrongType, json, problem))
            }
        }
    }

    /// `{"lower": 1, "upper": 5, "bounds": "[)"}` or `{"empty": true}`.
    fn object(&mut self, json: &[u8], out: &mut Vec<u8>) -> Result<(), Rejection> {
        let mut found = [Span::ABSENT; NAMES.len()];
        for (key, span) in Members::of(json) {
            let name = json.get(key.start as usize..key.end as usize).unwrap_or_default();
            let place = NAMES.iter().position(|known| *known == name);
            match place.and_then(|place| found.get_mut(place)) {
                Some(place) => *place = span,
                None => {
                    let problem = "a range has only lower, upper, bounds and empty";
                    return Err(refuse(Reason::WrongType, name, problem));
                }
            }
        }
        let [lower, upper, bounds, empty] = found.map(|span| span.value(json));
        match empty {
            Value::Bool(true) => return put_empty(out),
            Value::Absent | Value::Null | Value::Bool(false) => {}
            _ => return Err(refuse(Reason::WrongType, json, "`empty` is true or false")),
        }
        let flags = match bounds {
            Value::Absent | Value::Null => LOWER_INCLUSIVE,
            Value::Text { raw: b"[)", .. } => LOWER_INCLUSIVE,
            Value::Text { raw: b"[]", .. } => LOWER_INCLUSIVE | UPPER_INCLUSIVE,
            Value::Text { raw: b"()", .. } => 0,
            Value::Text { raw: b"(]", .. } => UPPER_INCLUSIVE,
            _ => {
                let problem = "expected `bounds` to be \"[)\", \"[]\", \"(]\" or \"()\"";
                return Err(refuse(Reason::InvalidText, json, problem));
            }
        };
        self.put(flags, [lower, upper], json, out)
    }

    fn whole_text(&mut self, written: &[u8], out: &mut Vec<u8>) -> Result<(), Rejection> {
        let rest = self.text(trim(written), out)?;
        if rest.is_empty() { Ok(()) } else { Err(refuse(Reason::InvalidText, written, LIKE)) }
    }

    /// `{[1,5),[7,9)}`: gives the number of ranges.
    fn ranges(&mut self, written: &[u8], out: &mut Vec<u8>) -> Result<u32, Rejection> {
        let unreadable = || {
            let problem = "does not read as a multirange; expected a text like {[1,5),[7,9)}";
            refuse(Reason::InvalidText, written, problem)
        };
        let [b'{', inside @ .., b'}'] = trim(written) else { return Err(unreadable()) };
        let mut rest = trim_start(inside);
        let mut count = 0;
        while !rest.is_empty() {
            count += 1;
            rest = match trim_start(self.text(rest, out)?) {
                [] => break,
                [b',', rest @ ..] if !trim_start(rest).is_empty() => trim_start(rest),
                _ => return Err(unreadable()),
            };
        }
        Ok(count)
    }

    /// Reads the range that `written` begins with; gives what follows it.
    fn text<'t>(&mut self, written: &'t [u8], out: &mut Vec<u8>) -> Result<&'t [u8], Rejection> {
        let unreadable = || refuse(Reason::InvalidText, written, LIKE);
        if let Some((word, rest)) = written.split_at_checked(5)
            && word.eq_ignore_ascii_case(b"empty")
        {
            put_empty(out)?;
            return Ok(rest);
        }
        let mut flags = match written.first() {
            Some(b'[') => LOWER_INCLUSIVE,
            Some(b'(') => 0,
            _ => return Err(unreadable()),
        };
        let (mut lower, mut upper) = (self.scratch.parts.take(), self.scratch.parts.take());
        let rest = written.get(1..).unwrap_or_default();
        let read = read_quoted(rest, b",)]", &mut lower).and_then(|(rest, no_lower)| {
            let rest = rest.strip_prefix(b",")?;
            let (rest, no_upper) = read_quoted(rest, b",)]", &mut upper)?;
            let (end, rest) = rest.split_first()?;
            (*end != b',').then_some((*end, rest, no_lower, no_upper))
        });
        let (end, rest, no_lower, no_upper) = read.ok_or_else(unreadable)?;
        if end == b']' {
            flags |= UPPER_INCLUSIVE;
        }
        let value = |text, is_infinite| if is_infinite { Value::Null } else { self.bound_of(text) };
        let bounds = [value(&lower, no_lower), value(&upper, no_upper)];
        let shown = written.get(..written.len() - rest.len()).unwrap_or_default();
        let result = self.put(flags, bounds, shown, out);
        self.scratch.parts.give(lower);
        self.scratch.parts.give(upper);
        result.map(|()| rest)
    }

    /// A bound in Postgres' notation: it reads most types with spaces around.
    fn bound_of<'t>(&self, text: &'t [u8]) -> Value<'t> {
        let is_text = matches!(self.bound, ColumnType::Text { .. });
        self.bound.value_of(if is_text { text } else { trim(text) })
    }

    fn put(
        &mut self,
        mut flags: u8,
        [lower, upper]: [Value<'_>; 2],
        shown: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        let is_infinite = |value| matches!(value, Value::Absent | Value::Null);
        if is_infinite(lower) {
            flags = flags & !LOWER_INCLUSIVE | LOWER_INFINITE;
        }
        if is_infinite(upper) {
            flags = flags & !UPPER_INCLUSIVE | UPPER_INFINITE;
        }
        put_with(out, |out| {
            out.push(flags);
            let start = out.len();
            for (name, value) in [("lower bound", lower), ("upper bound", upper)] {
                if !is_infinite(value) {
                    part(self.bound, self.reading, value, self.scratch, out)
                        .map_err(|rejection| rejection.inside(name))?;
                }
            }
            if flags & (LOWER_INFINITE | UPPER_INFINITE) == 0 {
                self.check_order(out.get(start..).unwrap_or_default(), shown)?;
            }
            Ok(())
        })
    }

    /// Refuses what Postgres would refuse for the whole batch, where the bytes tell it: these are all
    /// whole numbers of the same size.
    fn check_order(&self, bounds: &[u8], shown: &[u8]) -> Result<(), Rejection> {
        use ColumnType::{Date, Int4, Int8, Timestamp, Timestamptz};
        let (lower, upper) = bounds.split_at(bounds.len() / 2);
        let order = match self.bound {
            Int4 | Date => number::<4>(lower).cmp(&number::<4>(upper)),
            Int8 | Timestamp | Timestamptz => number::<8>(lower).cmp(&number::<8>(upper)),
            _ => return Ok(()),
        };
        if order.is_gt() {
            let problem = "the lower bound is above the upper bound";
            return Err(refuse(Reason::OutOfRange, shown, problem));
        }
        Ok(())
    }
}

fn put_empty(out: &mut Vec<u8>) -> Result<(), Rejection> {
    super::put(&[EMPTY], out)
}

/// The number in a field of `N` bytes.
fn number<const N: usize>(field: &[u8]) -> i64 {
    let bytes = field.get(4..4 + N).unwrap_or_default();
    let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(sign, |value, byte| value << 8 | i64::from(*byte))
}
