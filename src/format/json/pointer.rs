//! Values inside nested ones.

use super::{
    scanner::{Malformed, Scanner},
    unescape,
};
use crate::{
    row::{Kind, Span},
    selector::Pointer,
};

/// The way to a value inside a top-level field.
#[derive(Debug)]
pub(super) struct Path {
    /// The span that the value goes to.
    pub(super) place: usize,
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: Vec<u8>,
    /// The place that it names in an array, if it is a number.
    index: Option<usize>,
}

impl Path {
    /// The way that `pointer` takes once it is inside its top-level field.
    pub(super) fn new(place: usize, pointer: &Pointer) -> Self {
        let step = |token: &String| Step {
            name: token.clone().into_bytes(),
            // RFC 6901: no leading zeros. What is not a canonical number names no place.
            index: token.parse().ok().filter(|index: &usize| index.to_string() == *token),
        };
        Self { place, steps: pointer.tokens().iter().skip(1).map(step).collect() }
    }

    /// Follows the way from `value`, which is part of `text` and was read before; absent where it
    /// leads nowhere.
    pub(super) fn follow(
        &self,
        text: &[u8],
        mut value: Span,
        key: &mut Vec<u8>,
    ) -> Result<Span, Malformed> {
        for step in &self.steps {
            if value.kind != Kind::Nested {
                return Ok(Span::ABSENT);
            }
            let mut scanner = Scanner::new_at(text, value.start as usize);
            value = match (scanner.skip_byte(b'{'), step.index) {
                (true, _) => member(&mut scanner, &step.name, key)?,
                (false, Some(index)) => element(&mut scanner, index)?,
                (false, None) => Span::ABSENT,
            };
        }
        Ok(value)
    }
}

/// The value called `name` in the object whose bracket has been skipped; the last one, as for fields.
fn member(scanner: &mut Scanner<'_>, name: &[u8], key: &mut Vec<u8>) -> Result<Span, Malformed> {
    let mut found = Span::ABSENT;
    scanner.skip_space();
    if scanner.skip_byte(b'}') {
        return Ok(found);
    }
    loop {
        scanner.expect(b'"', "a field name in quotes")?;
        let span = scanner.string()?;
        scanner.expect(b':', "':' after the field name")?;
        scanner.skip_space();
        let value = scanner.value(0)?;
        let raw = scanner.text(span);
        let is_it = match span.kind {
            Kind::EscapedText => {
                key.clear();
                unescape(raw, key).is_ok() && key == name
            }
            _ => raw == name,
        };
        if is_it {
            found = value;
        }
        scanner.skip_space();
        if !scanner.skip_byte(b',') {
            return Ok(found);
        }
    }
}

/// Element `index` of the array that starts here.
fn element(scanner: &mut Scanner<'_>, index: usize) -> Result<Span, Malformed> {
    scanner.expect(b'[', "an array")?;
    scanner.skip_space();
    if scanner.skip_byte(b']') {
        return Ok(Span::ABSENT);
    }
    for place in 0.. {
        scanner.skip_space();
        let value = scanner.value(0)?;
        if place == index {
            return Ok(value);
        }
        scanner.skip_space();
        if !scanner.skip_byte(b',') {
            break;
        }
    }
    Ok(Span::ABSENT)
}
