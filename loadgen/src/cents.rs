//! Money as whole cents: sums never round.

use std::fmt;
use std::ops::{AddAssign, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount in cents; in text a decimal with two digits, as `numeric(…, 2)` prints it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cents(pub i128);

/// A text that is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount: write a decimal with two digits, such as 12.50")]
pub struct NotCents(String);

impl AddAssign for Cents {
    fn add_assign(&mut self, other: Cents) {
        self.0 += other.0;
    }
}

impl SubAssign for Cents {
    fn sub_assign(&mut self, other: Cents) {
        self.0 -= other.0;
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", cents / 100, cents % 100)
    }
}

impl FromStr for Cents {
    type Err = NotCents;

    fn from_str(text: &str) -> Result<Self, NotCents> {
        let error = || NotCents(text.to_owned());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, decimals) = digits.split_once('.').ok_or_else(error)?;
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if decimals.len() != 2 || !all_digits(whole) || !all_digits(decimals) {
            return Err(error());
        }
        let cents: i128 = format!("{whole}{decimals}").parse().map_err(|_| error())?;
        Ok(Cents(if negative { -cents } else { cents }))
    }
}

impl From<Cents> for String {
    fn from(cents: Cents) -> String {
        cents.to_string()
    }
}

impl TryFrom<String> for Cents {
    type Error = NotCents;

    fn try_from(text: String) -> Result<Self, NotCents> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_back_as_they_print() {
        for cents in [0, 1, 99, 100, -1, -12_345, 98_765_432_109_876_543_210] {
            assert_eq!(Cents(cents).to_string().parse(), Ok(Cents(cents)));
        }
        assert_eq!(Cents(-5).to_string(), "-0.05");
    }

    #[test]
    fn a_text_without_two_decimals_is_refused() {
        for text in ["", "1", "1.5", "1.555", ".50", "1.-5", "--1.00", "a.bc", "1,00"] {
            assert!(text.parse::<Cents>().is_err(), "{text}");
        }
    }
}
