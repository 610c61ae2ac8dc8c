//! `numeric`: digits of base 10000, straight from the text.

use super::{Literal, decimal::Decimal, number::Special, refuse};
use crate::rejection::{Reason, Rejection};

/// Digits before and after the decimal point that Postgres can hold (`NUMERIC_WEIGHT_MAX`,
/// `NUMERIC_DSCALE_MAX`).
const MAX_INTEGER_DIGITS: i64 = 131_072;
const MAX_SCALE: i64 = 16_383;

/// Decimal digits in one digit of Postgres (`DEC_DIGITS`).
const GROUP: i64 = 4;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const MINUS_INFINITY: u16 = 0xf000;

pub(super) fn encode(
    literal: Literal<'_>,
    limits: Option<(u16, i16)>,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let (Literal::Number(text) | Literal::Text(text)) = literal;
    if let Some(number) = ShortNumber::parse(text).filter(|number| number.fits(limits)) {
        number.put(out);
        return Ok(());
    }
    if let Some(decimal) = Decimal::parse(text) {
        check(&decimal, limits, text)?;
        put(&decimal, out);
        return Ok(());
    }
    let sign = match (Special::parse(text), limits) {
        (Some(Special::Nan), _) => NAN,
        (Some(Special::Infinity), None) => INFINITY,
        (Some(Special::MinusInfinity), None) => MINUS_INFINITY,
        (Some(_), Some(limits)) => return Err(out_of_limits(text, limits)),
        (None, _) => {
            return Err(refuse(Reason::InvalidText, text, "does not read as a number (numeric)"));
        }
    };
    put_parts(0, 0, sign, 0, out);
    Ok(())
}

/// Appends a whole number.
pub(super) fn put_integer(
    value: i64,
    limits: Option<(u16, i16)>,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let number = ShortNumber { negative: value < 0, value: value.unsigned_abs(), scale: 0 };
    if number.fits(limits) {
        number.put(out);
        return Ok(());
    }
    encode(Literal::Number(value.to_string().as_bytes()), limits, out)
}

/// Whether Postgres can hold `decimal` in a `numeric` without limits.
pub(super) fn is_in_range(decimal: &Decimal<'_>) -> bool {
    decimal.scale <= MAX_SCALE && (decimal.is_zero() || decimal.point <= MAX_INTEGER_DIGITS)
}

fn check(decimal: &Decimal<'_>, limits: Option<(u16, i16)>, text: &[u8]) -> Result<(), Rejection> {
    if !is_in_range(decimal) {
        let problem = format!(
            "numeric has at most {MAX_INTEGER_DIGITS} digits before and {MAX_SCALE} after the point"
        );
        return Err(refuse(Reason::OutOfRange, text, problem));
    }
    match limits {
        Some(limits) if !fits(decimal, limits) => Err(out_of_limits(text, limits)),
        _ => Ok(()),
    }
}

/// Whether the value has at most `precision - scale` digits before the point once Postgres has
/// rounded it, half away from zero, to `scale`.
fn fits(decimal: &Decimal<'_>, (precision, scale): (u16, i16)) -> bool {
    let max_point = i64::from(precision) - i64::from(scale);
    if decimal.is_zero() || decimal.point < max_point {
        return true;
    }
    if decimal.point > max_point {
        return false;
    }
    // As many digits as there may be: only 9s followed by at least 5 would become one more.
    let precision = usize::from(precision);
    let mut digits = decimal.digits();
    let nines = digits.by_ref().take(precision).take_while(|&digit| digit == 9).count();
    nines < precision || decimal.digits().nth(precision).is_none_or(|digit| digit < 5)
}

#[cold]
fn out_of_limits(text: &[u8], (precision, scale): (u16, i16)) -> Rejection {
    let digits = i32::from(precision) - i32::from(scale);
    let problem =
        format!("does not fit in numeric({precision},{scale}), which holds less than 10^{digits}");
    refuse(Reason::OutOfRange, text, problem)
}

fn put(decimal: &Decimal<'_>, out: &mut Vec<u8>) {
    let scale = decimal.scale as u16;
    if decimal.is_zero() {
        put_parts(0, 0, 0, scale, out);
        return;
    }
    let weight = (decimal.point - 1).div_euclid(GROUP);
    let lowest = (decimal.point - decimal.len() as i64).div_euclid(GROUP);
    let groups = weight - lowest + 1;
    let sign = if decimal.negative { NEGATIVE } else { 0 };
    put_parts(groups as u16, weight as i16, sign, scale, out);

    let mut group = 0_u16;
    let mut missing = (decimal.point - 1).rem_euclid(GROUP) + 1;
    decimal.digits().for_each(|digit| {
        group = group * 10 + u16::from(digit);
        missing -= 1;
        if missing == 0 {
            out.extend_from_slice(&group.to_be_bytes());
            group = 0;
            missing = GROUP;
        }
    });
    if missing < GROUP {
        for _ in 0..missing {
            group *= 10;
        }
        out.extend_from_slice(&group.to_be_bytes());
    }
}

/// Appends a field up to its digits: what `numeric_recv` reads.
fn put_parts(groups: u16, weight: i16, sign: u16, scale: u16, out: &mut Vec<u8>) {
    let size = (8 + 2 * u32::from(groups)).to_be_bytes();
    let [g, w, s, d] =
        [groups.to_be_bytes(), weight.to_be_bytes(), sign.to_be_bytes(), scale.to_be_bytes()];
    out.extend_from_slice(&[
        size[0], size[1], size[2], size[3], g[0], g[1], w[0], w[1], s[0], s[1], d[0], d[1],
    ]);
}

/// A number of few digits without an exponent, such as money mostly is: it is worked out in a
/// register, in less time than digit by digit.
struct ShortNumber {
    negative: bool,
    /// All its digits, as if there were no decimal point. Less than `10^19`, and less than `10^16`
    /// if the scale is not 0: there is room for zeros up to a whole group.
    value: u64,
    scale: u16,
}

impl ShortNumber {
    #[inline(always)]
    fn parse(text: &[u8]) -> Option<Self> {
        let (negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            _ => (false, text),
        };
        let (Some(b'0'..=b'9'), Some(b'0'..=b'9')) = (digits.first(), digits.last()) else {
            return None;
        };
        if digits.len() > 16 {
            return None;
        }
        let mut value = 0;
        let mut point = None;
        for (at, byte) in digits.iter().enumerate() {
            let digit = byte.wrapping_sub(b'0');
            if digit <= 9 {
                value = value * 10 + u64::from(digit);
            } else if *byte == b'.' && point.is_none() {
                point = Some(at);
            } else {
                return None;
            }
        }
        let scale = point.map_or(0, |at| digits.len() - at - 1) as u16;
        Some(Self { negative, value, scale })
    }

    /// Whether it certainly fits without being rounded.
    #[inline(always)]
    fn fits(&self, limits: Option<(u16, i16)>) -> bool {
        let Some((precision, scale)) = limits else { return true };
        let spare = i32::from(scale) - i32::from(self.scale);
        let digits = i32::from(precision) - spare;
        // The value is less than 10^19, which still fits a u64.
        spare >= 0 && digits >= 0 && self.value < POWERS_OF_10[digits.min(19) as usize]
    }

    #[inline(always)]
    fn put(&self, out: &mut Vec<u8>) {
        let missing = usize::from(self.scale.wrapping_neg() % 4);
        let mut rest = self.value * POWERS_OF_10[missing];
        // The groups are found from the last one on, and written from the first one on.
        let mut groups = [0; 2 * 5];
        let mut start = groups.len();
        let mut weight = -1 - self.scale.div_ceil(4) as i16;
        while rest != 0 {
            let group = (rest % 10_000) as u16;
            rest /= 10_000;
            weight += 1;
            if group != 0 || start < groups.len() {
                start -= 2;
                groups[start..start + 2].copy_from_slice(&group.to_be_bytes());
            }
        }
        let groups = &groups[start..];
        let (sign, weight) = match (groups.is_empty(), self.negative) {
            (true, _) => (0, 0),
            (false, true) => (NEGATIVE, weight),
            (false, false) => (0, weight),
        };
        put_parts((groups.len() / 2) as u16, weight, sign, self.scale, out);
        out.extend_from_slice(groups);
    }
}

const POWERS_OF_10: [u64; 20] = {
    let mut powers = [1; 20];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};
