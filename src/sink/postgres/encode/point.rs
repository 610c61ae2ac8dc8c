//! `point`: two floats, as `point_recv` reads them.

use super::{
    Literal, Scratch, literal,
    members::Members,
    number::read_float8,
    parts::{Written, trim},
    put_fixed, refuse, show,
    type_name::wanted,
};
use crate::{
    rejection::{Reason, Rejection},
    row::{Span, Value},
    sink::postgres::column::ColumnType,
};

pub(super) fn encode(
    value: Value<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let mut text = scratch.parts.take();
    let result = read(value, &mut text, scratch);
    scratch.parts.give(text);
    let [x, y] = result?.map(f64::to_be_bytes);
    let mut field = [0; 16];
    let (first, second) = field.split_at_mut(8);
    first.copy_from_slice(&x);
    second.copy_from_slice(&y);
    put_fixed::<16, 20>(field, out);
    Ok(())
}

fn read(
    value: Value<'_>,
    text: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<[f64; 2], Rejection> {
    let (json, found) = match Written::of(value, true, text)? {
        Written::List(json) => {
            let mut members = Members::of(json).map(|(_, span)| span);
            match (members.next(), members.next(), members.next()) {
                (Some(x), Some(y), None) => (json, [x, y]),
                _ => return Err(refuse(Reason::WrongType, json, wanted(&ColumnType::Point))),
            }
        }
        Written::Object(json) => (json, by_name(json)?),
        Written::Text(text) => return notation(text),
        Written::Single => {
            return Err(refuse(Reason::WrongType, &show(value), wanted(&ColumnType::Point)));
        }
    };
    let mut coordinate = |span: Span| match span.value(json) {
        Value::Absent | Value::Null => {
            Err(refuse(Reason::WrongType, json, wanted(&ColumnType::Point)))
        }
        value => read_float8(literal(&ColumnType::Float8, value, &mut scratch.text)?),
    };
    let [x, y] = found;
    Ok([coordinate(x)?, coordinate(y)?])
}

/// `x` and `y`; what Debezium adds (`wkb`, `srid`) tells nothing more.
fn by_name(json: &[u8]) -> Result<[Span; 2], Rejection> {
    let mut found = [Span::ABSENT; 2];
    for (key, value) in Members::of(json) {
        match json.get(key.start as usize..key.end as usize).unwrap_or_default() {
            b"x" => found[0] = value,
            b"y" => found[1] = value,
            b"wkb" | b"srid" => {}
            name => return Err(refuse(Reason::WrongType, name, "a point has only x and y")),
        }
    }
    Ok(found)
}

/// Reads `(1.5,2)`, with the parentheses or without.
fn notation(text: &[u8]) -> Result<[f64; 2], Rejection> {
    let inside = match trim(text) {
        [b'(', inside @ .., b')'] => inside,
        inside => inside,
    };
    let mut coordinates = inside.split(|byte| *byte == b',').map(trim);
    match (coordinates.next(), coordinates.next(), coordinates.next()) {
        (Some(x), Some(y), None) => {
            Ok([read_float8(Literal::Text(x))?, read_float8(Literal::Text(y))?])
        }
        _ => Err(refuse(Reason::InvalidText, text, "expected a point like (1.5,2)")),
    }
}
