//! `bytea`: hexadecimal after `\x`, otherwise base64.

use super::{Literal, put_with, refuse, uuid::hex_byte};
use crate::rejection::{Reason, Rejection};

pub(super) fn encode(literal: Literal<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let text = match literal {
        Literal::Text(text) => text,
        Literal::Number(text) => {
            return Err(refuse(Reason::WrongType, text, "expected a string (bytea)"));
        }
    };
    put_with(out, |out| match text.strip_prefix(br"\x") {
        Some(digits) => hexadecimal(digits, out).ok_or_else(|| {
            refuse(Reason::InvalidText, text, "expected pairs of hexadecimal digits (bytea)")
        }),
        None => base64(text, out).ok_or_else(|| {
            let expected = "expected base64, or \\x and hexadecimal digits (bytea)";
            refuse(Reason::InvalidText, text, expected)
        }),
    })
}

fn hexadecimal(digits: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    for &[high, low] in pairs {
        out.push(hex_byte(high, low)?);
    }
    Some(())
}

/// RFC 4648, either alphabet, with or without padding; bits that are left over must be 0, so that
/// no two texts mean the same bytes.
fn base64(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let text = match text {
        [text @ .., b'=', b'='] if text.len() % 4 == 2 => text,
        [text @ .., b'='] if text.len() % 4 == 3 => text,
        _ => text,
    };
    let (quads, rest) = text.as_chunks::<4>();
    for quad in quads {
        let [_, bytes @ ..] = bits(quad)?.to_be_bytes();
        out.extend_from_slice(&bytes);
    }
    let bits = bits(rest)?;
    match rest.len() {
        0 => {}
        2 if bits.trailing_zeros() >= 4 => out.push((bits >> 4) as u8),
        3 if bits.trailing_zeros() >= 2 => {
            out.extend_from_slice(&((bits >> 2) as u16).to_be_bytes());
        }
        _ => return None,
    }
    Some(())
}

#[inline]
fn bits(letters: &[u8]) -> Option<u32> {
    letters.iter().try_fold(0, |bits, &letter| {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        Some(bits << 6 | u32::from(value))
    })
}
