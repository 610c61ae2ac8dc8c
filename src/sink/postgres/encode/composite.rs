//! Composite types: from JSON objects by attribute, from JSON arrays by position, or from Postgres'
//! own notation, as `record_recv` reads them.

use super::{
    Scratch, bad_escape,
    members::Members,
    part,
    parts::{Written, read_quoted, trim},
    put_with, refuse, show,
    type_name::wanted,
};
use crate::{
    format::json::unescape,
    rejection::{Reason, Rejection},
    row::{Span, Value},
    sink::postgres::{
        catalog::nearest,
        column::{ColumnType, CompositeType, Reading},
    },
};

pub(super) fn encode(
    composite: &CompositeType,
    reading: &Reading,
    value: Value<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let mut text = scratch.parts.take();
    let result = match Written::of(value, true, &mut text) {
        Err(rejection) => Err(rejection),
        Ok(Written::List(json) | Written::Object(json)) => {
            let base = scratch.parts.spans.len();
            let result = find(composite, json, scratch)
                .and_then(|()| put_json(composite, reading, json, base, scratch, out));
            scratch.parts.spans.truncate(base);
            result
        }
        Ok(Written::Text(text)) => put_text(composite, reading, text, scratch, out),
        Ok(Written::Single) => {
            let wanted = wanted(&ColumnType::Composite(composite.clone().into()));
            Err(refuse(Reason::WrongType, &show(value), wanted))
        }
    };
    scratch.parts.give(text);
    result
}

/// Finds the attributes in `json`; their spans come to stand at the end of the scratch's.
fn find(composite: &CompositeType, json: &[u8], scratch: &mut Scratch) -> Result<(), Rejection> {
    let base = scratch.parts.spans.len();
    let count = composite.attributes.len();
    scratch.parts.spans.resize(base + count, Span::ABSENT);
    let mut found = 0;
    for (key, value) in Members::of(json) {
        let place = match key.value(json) {
            Value::Absent => found,
            key => attribute(composite, key, found, scratch)?,
        };
        if let Some(span) = scratch.parts.spans.get_mut(base + place) {
            *span = value;
        }
        found = if key == Span::ABSENT { found + 1 } else { place + 1 };
    }
    if json.trim_ascii_start().starts_with(b"[") && found != count {
        return Err(wrong_count(composite, json, found));
    }
    Ok(())
}

/// The place of the attribute of that name; most often the one that is expected.
fn attribute(
    composite: &CompositeType,
    key: Value<'_>,
    expected: usize,
    scratch: &mut Scratch,
) -> Result<usize, Rejection> {
    let Value::Text { raw, escaped } = key else { return Ok(expected) };
    let mut name = raw;
    if escaped {
        scratch.text.clear();
        unescape(raw, &mut scratch.text).map_err(|bad| bad_escape(bad, raw))?;
        name = &scratch.text;
    }
    let is_named = |place: &usize| {
        composite.attributes.get(*place).is_some_and(|known| known.name.as_bytes() == name)
    };
    Some(expected)
        .filter(is_named)
        .or_else(|| (0..composite.attributes.len()).find(is_named))
        .ok_or_else(|| unknown(composite, name))
}

fn put_json(
    composite: &CompositeType,
    reading: &Reading,
    json: &[u8],
    base: usize,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    put_with(out, |out| {
        out.extend_from_slice(&(composite.attributes.len() as u32).to_be_bytes());
        for (place, attribute) in composite.attributes.iter().enumerate() {
            let span = scratch.parts.spans.get(base + place).copied().unwrap_or(Span::ABSENT);
            out.extend_from_slice(&attribute.oid.to_be_bytes());
            part(&attribute.column_type, reading, span.value(json), scratch, out)
                .map_err(|rejection| rejection.inside(&attribute.name))?;
        }
        Ok(())
    })
}

/// Reads `(1,"a b",)`: an attribute of no characters is NULL.
fn put_text(
    composite: &CompositeType,
    reading: &Reading,
    written: &[u8],
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let unreadable = || {
        let problem = format!(
            "does not read as {}; expected an object by attribute, or a text like (1,abc)",
            composite.name
        );
        refuse(Reason::InvalidText, written, problem)
    };
    let [b'(', inside @ ..] = trim(written) else { return Err(unreadable()) };
    let mut rest = inside;
    put_with(out, |out| {
        out.extend_from_slice(&(composite.attributes.len() as u32).to_be_bytes());
        for (place, attribute) in composite.attributes.iter().enumerate() {
            let mut text = scratch.parts.take();
            let read = read_quoted(rest, b",)", &mut text);
            let is_last = place + 1 == composite.attributes.len();
            let Some(((after, is_null), end)) = read.and_then(|read| Some((read, read.0.first()?)))
            else {
                return Err(unreadable());
            };
            if (*end == b')') != is_last {
                return Err(wrong_count(composite, written, place + 1 + usize::from(is_last)));
            }
            out.extend_from_slice(&attribute.oid.to_be_bytes());
            let value = if is_null { Value::Null } else { attribute.column_type.value_of(&text) };
            let result = part(&attribute.column_type, reading, value, scratch, out);
            scratch.parts.give(text);
            result.map_err(|rejection| rejection.inside(&attribute.name))?;
            rest = after.get(1..).unwrap_or_default();
        }
        if rest.is_empty() { Ok(()) } else { Err(unreadable()) }
    })
}

#[cold]
fn wrong_count(composite: &CompositeType, value: &[u8], found: usize) -> Rejection {
    let (name, count) = (&composite.name, composite.attributes.len());
    let problem = format!("{name} has {count} attributes, found {found} or more");
    let problem = if found < count {
        format!("{name} has {count} attributes, found {found}")
    } else {
        problem
    };
    refuse(Reason::WrongType, value, problem)
}

#[cold]
fn unknown(composite: &CompositeType, name: &[u8]) -> Rejection {
    let known: Vec<&str> = composite.attributes.iter().map(|known| known.name.as_str()).collect();
    let hint = nearest(&String::from_utf8_lossy(name), &known)
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let problem = format!("{} has no attribute of this name{hint}", composite.name);
    refuse(Reason::WrongType, name, problem)
}
