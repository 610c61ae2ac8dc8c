//! `money`: a whole number of the smallest fraction that the database's `lc_monetary` has.

use super::{Literal, decimal::Decimal, put_fixed, refuse};
use crate::rejection::{Reason, Rejection};

pub(super) fn encode(literal: Literal<'_>, digits: u8, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let (Literal::Number(text) | Literal::Text(text)) = literal;
    let Some(mut magnitude) = Decimal::parse(text) else {
        let problem = "expected a number without a currency (money)";
        return Err(refuse(Reason::InvalidText, text, problem));
    };
    // Half away from zero, as Postgres rounds it (`cash_in`).
    let is_negative = std::mem::take(&mut magnitude.negative);
    let rounded = magnitude.round_wide(i64::from(digits));
    let signed = rounded.map(|value| if is_negative { -value } else { value });
    let Some(value) = signed.and_then(|value| i64::try_from(value).ok()) else {
        let problem = "is beyond what money holds; numeric would hold it";
        return Err(refuse(Reason::OutOfRange, text, problem));
    };
    put_fixed::<8, 12>(value.to_be_bytes(), out);
    Ok(())
}
