//! `uuid`.

use super::{Literal, put_fixed, refuse};
use crate::rejection::{Reason, Rejection};

/// Where a hyphenated uuid has its hyphens.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

pub(super) fn encode(literal: Literal<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    const EXPECTED: &str = "expected 32 hexadecimal digits, with 4 hyphens or without (uuid)";
    let text = match literal {
        Literal::Text(text) => text,
        Literal::Number(text) => return Err(refuse(Reason::WrongType, text, EXPECTED)),
    };
    let Some(uuid) = parse(text) else {
        return Err(refuse(Reason::InvalidText, text, EXPECTED));
    };
    put_fixed::<16, 20>(uuid, out);
    Ok(())
}

fn parse(text: &[u8]) -> Option<[u8; 16]> {
    let text = match text {
        [b'{', text @ .., b'}'] => text,
        _ => text,
    };
    let hyphenated = match text.len() {
        32 => false,
        36 => true,
        _ => return None,
    };
    let mut uuid = [0; 16];
    let mut at = 0;
    for byte in &mut uuid {
        if hyphenated && HYPHENS.contains(&at) {
            if *text.get(at)? != b'-' {
                return None;
            }
            at += 1;
        }
        *byte = hex_byte(*text.get(at)?, *text.get(at + 1)?)?;
        at += 2;
    }
    Some(uuid)
}

/// The byte that two hexadecimal digits stand for.
#[inline]
pub(super) fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    Some((high << 4 | low) as u8)
}
