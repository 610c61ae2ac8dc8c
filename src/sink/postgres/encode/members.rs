//! The members of a JSON array or object that has been checked.

use crate::{
    format::json::Scanner,
    row::{Kind, Span},
};

/// Where the members stand, one after the other: the key, which is absent in an array, and the value.
/// Ends at what is no JSON.
#[derive(Debug)]
pub(super) struct Members<'a> {
    scanner: Scanner<'a>,
    begun: bool,
    is_object: bool,
}

impl<'a> Members<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        let mut scanner = Scanner::new(text);
        scanner.skip_space();
        let is_object = scanner.peek() == b'{';
        Self { scanner, begun: false, is_object }
    }
}

impl Iterator for Members<'_> {
    type Item = (Span, Span);

    fn next(&mut self) -> Option<Self::Item> {
        let scanner = &mut self.scanner;
        let (open, close) = if self.is_object { (b'{', b'}') } else { (b'[', b']') };
        let first = !self.begun;
        self.begun = true;
        scanner.skip_space();
        if !scanner.skip_byte(if first { open } else { b',' }) {
            return None;
        }
        scanner.skip_space();
        if first && scanner.skip_byte(close) {
            return None;
        }
        let mut key = Span::ABSENT;
        if self.is_object {
            scanner.expect(b'"', "a key").ok()?;
            key = scanner.string().ok()?;
            scanner.expect(b':', "a colon").ok()?;
            scanner.skip_space();
        }
        Some((key, scanner.value(0).ok()?))
    }
}

/// Whether the value is a JSON array.
pub(super) fn is_list(span: Span, text: &[u8]) -> bool {
    span.kind == Kind::Nested && text.get(span.start as usize) == Some(&b'[')
}
