//! `bit(n)` and `bit varying(n)`: their length in bits, then the bits, as `bit_recv` reads them.

use super::{Literal, put_with, refuse};
use crate::rejection::{Reason, Rejection};

/// Appends a boolean as the one bit of a `bit(1)`, as change data capture sends it.
pub(super) fn encode_bool(
    value: bool,
    bits: Option<u32>,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    encode_bit(Literal::Text(if value { b"1" } else { b"0" }), bits, out)
}

pub(super) fn encode_bit(
    literal: Literal<'_>,
    bits: Option<u32>,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let text = text(literal)?;
    let count = size(text);
    match bits {
        // Postgres would not fill a string that is too short.
        Some(bits) if count != bits as usize => {
            Err(refuse(Reason::OutOfRange, text, format_args!("has {count} bits, not {bits}")))
        }
        _ => put_bits(text, count, out),
    }
}

pub(super) fn encode_varbit(
    literal: Literal<'_>,
    max_bits: Option<u32>,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let text = text(literal)?;
    let count = size(text);
    match max_bits {
        Some(most) if count > most as usize => {
            let problem = format_args!("has {count} bits, bit varying({most}) holds {most}");
            Err(refuse(Reason::OutOfRange, text, problem))
        }
        _ => put_bits(text, count, out),
    }
}

fn text(literal: Literal<'_>) -> Result<&[u8], Rejection> {
    match literal {
        Literal::Text(text) => Ok(text),
        // 101 is not five and not a hundred and one.
        Literal::Number(text) => {
            Err(refuse(Reason::WrongType, text, "expected a string of 0 and 1 (bit)"))
        }
    }
}

/// How many bits `text` stands for, if it is well formed.
fn size(text: &[u8]) -> usize {
    match text {
        [b'x' | b'X', digits @ ..] => 4 * digits.len(),
        [b'b' | b'B', digits @ ..] => digits.len(),
        _ => text.len(),
    }
}

fn put_bits(text: &[u8], count: usize, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let (digits, width) = match text {
        [b'x' | b'X', digits @ ..] => (digits, 4),
        [b'b' | b'B', digits @ ..] => (digits, 1),
        _ => (text, 1),
    };
    put_with(out, |out| {
        out.extend_from_slice(&(count as u32).to_be_bytes());
        for chunk in digits.chunks(8 / width as usize) {
            let mut byte = 0;
            for (place, digit) in (1..).zip(chunk) {
                let value = char::from(*digit).to_digit(1 << width).ok_or_else(|| {
                    let problem = "expected 0 and 1, or x and hexadecimal digits (bit)";
                    refuse(Reason::InvalidText, text, problem)
                })?;
                byte |= value << (8 - place * width);
            }
            out.push(byte as u8);
        }
        Ok(())
    })
}
