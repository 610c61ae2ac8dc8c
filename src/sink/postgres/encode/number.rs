//! `boolean`, `smallint`, `integer`, `bigint`, `real`, `double precision`.

use std::str::FromStr;

use super::{
    Literal,
    decimal::{Decimal, NotInteger},
    put_fixed, refuse, type_name,
};
use crate::{
    rejection::{Reason, Rejection},
    sink::postgres::column::ColumnType,
};

pub(super) fn put_bool(value: bool, out: &mut Vec<u8>) {
    put_fixed::<1, 5>([u8::from(value)], out);
}

pub(super) fn encode_bool(literal: Literal<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    match literal {
        Literal::Text(b"true" | b"t") => put_bool(true, out),
        Literal::Text(b"false" | b"f") => put_bool(false, out),
        Literal::Text(text) => {
            return Err(refuse(Reason::InvalidText, text, "expected \"true\" or \"false\""));
        }
        Literal::Number(text) => {
            return Err(refuse(Reason::WrongType, text, "expected true or false (boolean)"));
        }
    }
    Ok(())
}

#[inline(always)]
pub(super) fn encode_integer(
    column_type: &ColumnType,
    literal: Literal<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let (Literal::Number(text) | Literal::Text(text)) = literal;
    let value = match short_integer(text) {
        Some(value) => value,
        None => long_integer(column_type, literal)?,
    };
    put_integer(column_type, value, out)
}

/// Appends `value` as one of the integer types.
#[inline(always)]
pub(super) fn put_integer(
    column_type: &ColumnType,
    value: i64,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    match column_type {
        ColumnType::Int2 => match i16::try_from(value) {
            Ok(value) => put_fixed::<2, 6>(value.to_be_bytes(), out),
            Err(_) => return Err(out_of_range(column_type, value.to_string().as_bytes())),
        },
        ColumnType::Int4 => match i32::try_from(value) {
            Ok(value) => put_fixed::<4, 8>(value.to_be_bytes(), out),
            Err(_) => return Err(out_of_range(column_type, value.to_string().as_bytes())),
        },
        _ => put_fixed::<8, 12>(value.to_be_bytes(), out),
    }
    Ok(())
}

/// The value of up to 18 plain digits, which cannot overflow.
#[inline(always)]
fn short_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

/// An unsigned number of 32 bits.
pub(super) fn encode_oid(literal: Literal<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let (Literal::Number(text) | Literal::Text(text)) = literal;
    let value = match short_integer(text) {
        Some(value) => value,
        None => long_integer(&ColumnType::Oid, literal)?,
    };
    let Ok(value) = u32::try_from(value) else { return Err(out_of_range(&ColumnType::Oid, text)) };
    put_fixed::<4, 8>(value.to_be_bytes(), out);
    Ok(())
}

fn long_integer(column_type: &ColumnType, literal: Literal<'_>) -> Result<i64, Rejection> {
    let (Literal::Number(text) | Literal::Text(text)) = literal;
    let Some(decimal) = Decimal::parse(text) else {
        let problem = format!("does not read as an integer ({})", type_name(column_type));
        return Err(refuse(Reason::InvalidText, text, problem));
    };
    decimal.to_integer().map_err(|problem| match problem {
        NotInteger::Overflow => out_of_range(column_type, text),
        NotInteger::Fraction => {
            let problem = format!(
                "has a fraction, expected an integer ({}); numeric would hold it",
                type_name(column_type)
            );
            refuse(Reason::WrongType, text, problem)
        }
    })
}

#[cold]
fn out_of_range(column_type: &ColumnType, value: &[u8]) -> Rejection {
    let (min, max) = match column_type {
        ColumnType::Int2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        ColumnType::Int4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        ColumnType::Oid => (0, i64::from(u32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let problem = format!("expected {min} to {max} ({})", type_name(column_type));
    refuse(Reason::OutOfRange, value, problem)
}

pub(super) fn encode_float4(literal: Literal<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    // Not by way of f64: rounding twice is not rounding.
    let value: f32 =
        float(literal, "real", |value: f32| value.is_infinite(), |value| value == 0.0)?;
    put_fixed::<4, 8>(value.to_be_bytes(), out);
    Ok(())
}

/// A `double precision`.
#[inline]
pub(super) fn read_float8(literal: Literal<'_>) -> Result<f64, Rejection> {
    let infinite = |value: f64| value.is_infinite();
    float(literal, "double precision", infinite, |value| value == 0.0)
}

pub(super) fn encode_float8(literal: Literal<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let value = read_float8(literal)?;
    put_fixed::<8, 12>(value.to_be_bytes(), out);
    Ok(())
}

/// The nearest float. As in Postgres, what would become infinite is refused, and what would become
/// 0 without being it.
fn float<F: FromStr + Copy>(
    literal: Literal<'_>,
    type_name: &str,
    is_infinite: impl Fn(F) -> bool,
    is_zero: impl Fn(F) -> bool,
) -> Result<F, Rejection> {
    let (Literal::Number(text) | Literal::Text(text)) = literal;
    let unreadable = || {
        let problem = format!("does not read as a number ({type_name})");
        refuse(Reason::InvalidText, text, problem)
    };
    let parse = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<F>().ok();
    let value = match literal {
        Literal::Number(text) => parse(text),
        Literal::Text(text) => match Special::parse(text) {
            Some(special) => return parse(special.name()).ok_or_else(unreadable),
            // What Rust reads besides, Postgres does not.
            None => Decimal::parse(text).and_then(|_| parse(text)),
        },
    };
    let value = value.ok_or_else(unreadable)?;
    let vanished = || Decimal::parse(text).is_some_and(|decimal| !decimal.is_zero());
    if is_infinite(value) || (is_zero(value) && vanished()) {
        let problem = format!("is out of range ({type_name}); numeric would hold it");
        return Err(refuse(Reason::OutOfRange, text, problem));
    }
    Ok(value)
}

/// A word in the place of a number or a time; Postgres reads them in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    Nan,
    Infinity,
    MinusInfinity,
}

impl Special {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        [Self::Nan, Self::Infinity, Self::MinusInfinity]
            .into_iter()
            .find(|special| text.eq_ignore_ascii_case(special.name()))
    }

    fn name(self) -> &'static [u8] {
        match self {
            Self::Nan => b"nan",
            Self::Infinity => b"infinity",
            Self::MinusInfinity => b"-infinity",
        }
    }
}
