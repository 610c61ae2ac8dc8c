//! Encoded rows, found again one by one.

use std::ops::Range;

/// Where each row of `encoded` stands: rows as the encoder appends them, without header.
///
/// Ends at the trailer, and at a row that is not whole.
pub fn rows(encoded: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = row_end(encoded, start)?;
        let row = start..end;
        start = end;
        Some(row)
    })
}

fn row_end(encoded: &[u8], start: usize) -> Option<usize> {
    let (&count, mut rest) = encoded.get(start..)?.split_first_chunk::<2>()?;
    // Negative: the trailer.
    let count = u16::try_from(i16::from_be_bytes(count)).ok()?;
    for _ in 0..count {
        let (&length, after) = rest.split_first_chunk::<4>()?;
        let length = match i32::from_be_bytes(length) {
            -1 => 0,
            length => usize::try_from(length).ok()?,
        };
        rest = after.get(length..)?;
    }
    Some(encoded.len() - rest.len())
}

/// The bytes of one field of a row; nothing for NULL, or where the row has no such field.
pub fn cell(row: &[u8], place: usize) -> Option<&[u8]> {
    let (_, mut rest) = row.split_first_chunk::<2>()?;
    for _ in 0..place {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        rest = behind.get(usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0)..)?;
    }
    let (length, value) = rest.split_first_chunk::<4>()?;
    value.get(..usize::try_from(i32::from_be_bytes(*length)).ok()?)
}
