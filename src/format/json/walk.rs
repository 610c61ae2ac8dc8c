//! The members of an object and the elements of an array, one by one.

use super::scanner::Scanner;
use crate::row::Span;

/// The members of the object that `text` is, each with the spans of its key and its value. The text
/// has been checked before: the walk ends where it is not JSON.
pub(crate) fn members(text: &[u8]) -> impl Iterator<Item = (Span, Span)> {
    let mut scanner = Scanner::new(text);
    let mut open = b'{';
    std::iter::from_fn(move || {
        enter(&mut scanner, &mut open, b',')?;
        scanner.expect(b'"', "a field name").ok()?;
        let key = scanner.string().ok()?;
        scanner.expect(b':', "a colon").ok()?;
        scanner.skip_space();
        Some((key, scanner.value(0).ok()?))
    })
}

/// The elements of the array that `text` is.
pub(crate) fn elements(text: &[u8]) -> impl Iterator<Item = Span> {
    let mut scanner = Scanner::new(text);
    let mut open = b'[';
    std::iter::from_fn(move || {
        enter(&mut scanner, &mut open, b',')?;
        scanner.skip_space();
        scanner.value(0).ok()
    })
}

/// Skips what stands before an item: the bracket, or a comma.
fn enter(scanner: &mut Scanner<'_>, open: &mut u8, comma: u8) -> Option<()> {
    scanner.expect(*open, "a bracket or a comma").ok()?;
    *open = comma;
    Some(())
}
