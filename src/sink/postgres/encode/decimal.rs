//! Decimal numbers as they are written, of any length, without computing their value.

/// A number: `0.d1d2d3... * 10^point`, where `d1` and the last digit are not 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal<'a> {
    pub(super) negative: bool,
    /// The significant digits, in ASCII: those before the point, then those after it.
    parts: [&'a [u8]; 2],
    /// Digits before the decimal point; negative when zeros follow it first.
    pub(super) point: i64,
    /// Digits that are written after the decimal point, trailing zeros included.
    pub(super) scale: i64,
}

/// A decimal is not a whole number that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotInteger {
    Fraction,
    Overflow,
}

impl<'a> Decimal<'a> {
    /// Reads the whole of `text`: `[+-] digits [. digits] [e [+-] digits]`, with at least one digit
    /// before or after the point.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let (negative, rest) = sign(text);
        let (mut integer, rest) = digits(rest);
        let (mut fraction, rest) = match rest {
            [b'.', rest @ ..] => digits(rest),
            _ => (&rest[..0], rest),
        };
        if integer.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => exponent(rest)?,
            _ => return None,
        };
        let scale = (fraction.len() as i64 - exponent).max(0);
        integer = trim_start(integer);
        let mut point = integer.len() as i64 + exponent;
        if integer.is_empty() {
            let written = fraction.len();
            fraction = trim_start(fraction);
            point -= (written - fraction.len()) as i64;
        }
        fraction = trim_end(fraction);
        if fraction.is_empty() {
            integer = trim_end(integer);
        }
        Some(Self { negative, parts: [integer, fraction], point, scale })
    }

    pub(super) fn is_zero(&self) -> bool {
        self.len() == 0
    }

    /// How many significant digits there are.
    pub(super) fn len(&self) -> usize {
        self.parts[0].len() + self.parts[1].len()
    }

    /// The significant digits, as numbers.
    pub(super) fn digits(&self) -> impl Iterator<Item = u8> + use<'a> {
        let [integer, fraction] = self.parts;
        integer.iter().chain(fraction).map(|digit| digit - b'0')
    }

    /// The value, if it is a whole number.
    pub(super) fn to_integer(self) -> Result<i64, NotInteger> {
        if self.is_zero() {
            return Ok(0);
        }
        if self.point < self.len() as i64 {
            return Err(NotInteger::Fraction);
        }
        self.round(0).ok_or(NotInteger::Overflow)
    }

    /// The value times `10^shift`, rounded half up; `None` if it does not fit.
    pub(super) fn round(self, shift: i64) -> Option<i64> {
        i64::try_from(self.round_wide(shift)?).ok()
    }

    /// As [`Self::round`], of up to 19 digits.
    pub(super) fn round_wide(self, shift: i64) -> Option<i128> {
        let point = self.point + shift;
        if self.is_zero() || point < 0 {
            return Some(0);
        }
        // i64::MAX has 19 digits; that many fit an i128 with room to spare.
        let point = usize::try_from(point).ok().filter(|&point| point <= 19)?;
        let mut digits = self.digits();
        let mut value: i128 = 0;
        for _ in 0..point {
            value = value * 10 + i128::from(digits.next().unwrap_or(0));
        }
        let up = match digits.next() {
            Some(digit) if digit > 5 => true,
            // Half up means that -0.5 becomes 0.
            Some(5) => !self.negative || digits.next().is_some(),
            _ => false,
        };
        value += i128::from(up);
        Some(if self.negative { -value } else { value })
    }
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len()))
}

/// An exponent; a huge one stops growing far beyond every limit, and far from overflow.
fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, text) = sign(text);
    let (digits, rest) = digits(text);
    if digits.is_empty() || !rest.is_empty() {
        return None;
    }
    let value = digits
        .iter()
        .fold(0_i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(1_000_000_000_000));
    Some(if negative { -value } else { value })
}

fn trim_start(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    &digits[zeros..]
}

fn trim_end(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().rev().take_while(|&&digit| digit == b'0').count();
    &digits[..digits.len() - zeros]
}
