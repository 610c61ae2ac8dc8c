//! Arrays: from JSON arrays, or from Postgres' own notation, as `array_recv` reads them.

use super::{
    Scratch,
    members::{Members, is_list},
    part,
    parts::{Written, trim, trim_start},
    put_with, refuse, show,
    type_name::wanted,
};
use crate::{
    rejection::{Reason, Rejection},
    row::Value,
    sink::postgres::column::{ArrayType, ColumnType, Reading},
};

/// The most that Postgres knows (`MAXDIM`).
const MAX_DIMENSIONS: usize = 6;

pub(super) fn encode(
    array: &ArrayType,
    reading: &Reading,
    value: Value<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let mut text = scratch.parts.take();
    let result = encode_written(array, reading, value, &mut text, scratch, out);
    scratch.parts.give(text);
    result
}

fn encode_written(
    array: &ArrayType,
    reading: &Reading,
    value: Value<'_>,
    text: &mut Vec<u8>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let level = match Written::of(value, false, text)? {
        Written::List(json) => Level::Json(json),
        Written::Text(text) => Level::Text(outermost(text)?),
        Written::Object(_) | Written::Single => {
            let wanted = wanted(&ColumnType::Array(array.clone().into()));
            return Err(refuse(Reason::WrongType, &show(value), wanted));
        }
    };
    let shape = Shape::of(array, level)?;
    put_with(out, |out| {
        let start = out.len();
        out.extend_from_slice(&(shape.dimensions as u32).to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&array.oid.to_be_bytes());
        for size in shape.sizes() {
            out.extend_from_slice(&(*size as u32).to_be_bytes());
            // The subscript of the first element.
            out.extend_from_slice(&1_u32.to_be_bytes());
        }
        let mut writer = Writer { array, reading, shape, scratch, count: 0, has_nulls: false };
        writer.level(level, 0, out)?;
        if writer.count == 0 {
            // An array without elements has no dimensions in Postgres.
            out.truncate(start + 12);
            set(out, start, 0);
        }
        set(out, start + 4, u32::from(writer.has_nulls));
        Ok(())
    })
}

fn set(out: &mut [u8], at: usize, value: u32) {
    if let Some(bytes) = out.get_mut(at..at + 4) {
        bytes.copy_from_slice(&value.to_be_bytes());
    }
}

/// The elements of one dimension, in brackets.
#[derive(Clone, Copy, Debug)]
enum Level<'a> {
    /// A JSON array.
    Json(&'a [u8]),
    /// The inside of braces, in Postgres' notation.
    Text(&'a [u8]),
}

/// What stands at one place of a level.
#[derive(Debug)]
enum Item<'a> {
    Level(Level<'a>),
    Value(Value<'a>),
    /// An element in Postgres' notation, in which backslashes may stand before characters.
    Raw(&'a [u8]),
}

/// The items of a level, from the left.
enum Items<'a> {
    Json { text: &'a [u8], members: Members<'a>, is_nested: bool },
    Text { rest: Option<&'a [u8]>, first: bool },
}

impl<'a> Items<'a> {
    /// The items of `level`, which lies inside `depth` others.
    fn of(array: &ArrayType, level: Level<'a>, depth: usize) -> Self {
        match level {
            Level::Json(text) => Self::Json {
                text,
                members: Members::of(text),
                is_nested: !array.element.takes_json_arrays() || depth + 1 < array.dimensions,
            },
            Level::Text(inside) => Self::Text { rest: Some(inside), first: true },
        }
    }

    fn next(&mut self) -> Option<Result<Item<'a>, Rejection>> {
        match self {
            Self::Json { text, members, is_nested } => {
                let (_, span) = members.next()?;
                Some(Ok(match span.value(text) {
                    Value::Nested(json) if *is_nested && is_list(span, text) => {
                        Item::Level(Level::Json(json))
                    }
                    value => Item::Value(value),
                }))
            }
            Self::Text { rest, first } => {
                let written = trim_start(rest.take()?);
                if std::mem::take(first) && written.is_empty() {
                    return None;
                }
                let read = item(written).and_then(|(item, after)| match trim_start(after) {
                    [] => Some((item, None)),
                    [b',', after @ ..] => Some((item, Some(after))),
                    _ => None,
                });
                let Some((item, after)) = read else { return Some(Err(unreadable(written))) };
                *rest = after;
                Some(Ok(item))
            }
        }
    }
}

/// Reads the item that `written` begins with; gives what follows it.
fn item(written: &[u8]) -> Option<(Item<'_>, &[u8])> {
    match written {
        [b'{', rest @ ..] => {
            let end = closing_brace(rest)?;
            Some((Item::Level(Level::Text(rest.get(..end)?)), rest.get(end + 1..)?))
        }
        [b'"', rest @ ..] => {
            let end = closing_quote(rest)?;
            Some((Item::Raw(rest.get(..end)?), rest.get(end + 1..)?))
        }
        _ => {
            let mut end = 0;
            loop {
                match written.get(end) {
                    Some(b',') | None => break,
                    Some(b'"' | b'{' | b'}') => return None,
                    Some(b'\\') => end += 2,
                    Some(_) => end += 1,
                }
            }
            let (token, rest) = written.split_at_checked(end)?;
            let token = trim_unescaped(token);
            if token.eq_ignore_ascii_case(b"NULL") {
                return Some((Item::Value(Value::Null), rest));
            }
            (!token.is_empty()).then_some((Item::Raw(token), rest))
        }
    }
}

/// As `trim`, but for a space at the end that a backslash makes a part of the element.
fn trim_unescaped(token: &[u8]) -> &[u8] {
    let (token, trimmed) = (trim_start(token), trim(token));
    let escapes = trimmed.iter().rev().take_while(|&&byte| byte == b'\\').count();
    token.get(..trimmed.len() + escapes % 2).unwrap_or(trimmed)
}

/// The inside of the outermost braces.
fn outermost(text: &[u8]) -> Result<&[u8], Rejection> {
    let inside = match trim(text) {
        [b'{', rest @ ..] => closing_brace(rest).filter(|end| end + 1 == rest.len()),
        _ => None,
    };
    let inside = inside.and_then(|end| trim(text).get(1..=end));
    inside.ok_or_else(|| unreadable(text))
}

/// The place of the brace that closes what is open at the beginning of `text`.
fn closing_brace(text: &[u8]) -> Option<usize> {
    let (mut at, mut open) = (0, 1);
    loop {
        match text.get(at)? {
            b'{' => open += 1,
            b'}' if open == 1 => return Some(at),
            b'}' => open -= 1,
            b'"' => at += 1 + closing_quote(text.get(at + 1..)?)?,
            b'\\' => at += 1,
            _ => {}
        }
        at += 1;
    }
}

fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// How many elements there are in each dimension, as the first ones show it.
#[derive(Clone, Copy, Debug)]
struct Shape {
    sizes: [usize; MAX_DIMENSIONS],
    dimensions: usize,
}

impl Shape {
    fn of(array: &ArrayType, outermost: Level<'_>) -> Result<Self, Rejection> {
        let mut shape = Self { sizes: [0; MAX_DIMENSIONS], dimensions: 0 };
        let mut level = outermost;
        loop {
            let mut items = Items::of(array, level, shape.dimensions);
            let first = items.next().transpose()?;
            let mut size = usize::from(first.is_some());
            while let Some(item) = items.next() {
                item?;
                size += 1;
            }
            let Some(place) = shape.sizes.get_mut(shape.dimensions) else {
                let (Level::Json(text) | Level::Text(text)) = level;
                let problem = format!("is an array of more than {MAX_DIMENSIONS} dimensions");
                return Err(refuse(Reason::OutOfRange, text, problem));
            };
            *place = size;
            shape.dimensions += 1;
            match first {
                Some(Item::Level(inner)) => level = inner,
                _ => return Ok(shape),
            }
        }
    }

    fn sizes(&self) -> &[usize] {
        self.sizes.get(..self.dimensions).unwrap_or_default()
    }
}

struct Writer<'w> {
    array: &'w ArrayType,
    reading: &'w Reading,
    shape: Shape,
    scratch: &'w mut Scratch,
    count: usize,
    has_nulls: bool,
}

impl Writer<'_> {
    /// Appends all elements of a level inside `depth` others, as deep as there are dimensions.
    fn level(
        &mut self,
        level: Level<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        let mut items = Items::of(self.array, level, depth);
        let is_innermost = depth + 1 == self.shape.dimensions;
        let mut size = 0;
        while let Some(item) = items.next().transpose()? {
            size += 1;
            match item {
                Item::Level(inner) if !is_innermost => self.level(inner, depth + 1, out)?,
                Item::Value(value) if is_innermost => self.element(value, out)?,
                Item::Raw(raw) if is_innermost => self.raw(raw, out)?,
                _ => return Err(ragged(level)),
            }
        }
        if self.shape.sizes().get(depth) == Some(&size) { Ok(()) } else { Err(ragged(level)) }
    }

    fn raw(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Rejection> {
        if !raw.contains(&b'\\') {
            return self.element(self.array.element.value_of(raw), out);
        }
        let mut text = self.scratch.parts.take();
        let mut bytes = raw.iter();
        while let Some(&byte) = bytes.next() {
            text.push(if byte == b'\\' { bytes.next().copied().unwrap_or(byte) } else { byte });
        }
        let result = self.element(self.array.element.value_of(&text), out);
        self.scratch.parts.give(text);
        result
    }

    fn element(&mut self, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
        self.count += 1;
        self.has_nulls |= value == Value::Null;
        part(&self.array.element, self.reading, value, self.scratch, out)
            .map_err(|rejection| rejection.inside(format_args!("element {}", self.count)))
    }
}

#[cold]
fn ragged(level: Level<'_>) -> Rejection {
    let (Level::Json(text) | Level::Text(text)) = level;
    let problem = "is not as long or not as deep as its neighbours: an array is a rectangle";
    refuse(Reason::WrongType, text, problem)
}

#[cold]
fn unreadable(text: &[u8]) -> Rejection {
    let problem = "does not read as an array; expected a JSON array, or a text like {1,2,NULL}";
    refuse(Reason::InvalidText, text, problem)
}
