//! Why a record cannot become a row.

use std::fmt;

/// The class of a rejection: a metric label and the `reason` column of the dead-letter table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The payload is not what the format says (not JSON, not UTF-8, not an object...).
    Malformed,
    /// A tombstone where a row is wanted.
    Tombstone,
    /// The value has the wrong JSON type for its column.
    WrongType,
    /// The value does not fit in its column (range, length, precision).
    OutOfRange,
    /// A text that does not read as the column's type (uuid, date, timestamp, base64...).
    InvalidText,
    /// NULL, or nothing, for a column that must have a value.
    MissingValue,
    /// A character that Postgres cannot store: U+0000, or half a surrogate pair.
    InvalidCharacter,
    /// The record is larger than `max_record_bytes`.
    TooLarge,
    /// A record that is right, and yet cannot be a row: a truncation, a value that its source left out.
    Unsupported,
    /// The target's `where` has no answer for it.
    Filter,
    /// A field for which the target has no place.
    UnknownField,
    /// No partition of the table holds the row's time, and none is made for it.
    NoPartition,
    /// The detailed rows of the row's time are gone, and a summary of them is kept.
    TooLate,
    /// Postgres refused the row (a constraint, a trigger).
    Refused,
}

impl Reason {
    /// Every reason, for the metrics.
    pub const ALL: [Self; 14] = [
        Self::Malformed,
        Self::Tombstone,
        Self::WrongType,
        Self::OutOfRange,
        Self::InvalidText,
        Self::MissingValue,
        Self::InvalidCharacter,
        Self::TooLarge,
        Self::Unsupported,
        Self::Filter,
        Self::UnknownField,
        Self::NoPartition,
        Self::TooLate,
        Self::Refused,
    ];

    /// The name used in metrics and in the dead-letter table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Tombstone => "tombstone",
            Self::WrongType => "wrong_type",
            Self::OutOfRange => "out_of_range",
            Self::InvalidText => "invalid_text",
            Self::MissingValue => "missing_value",
            Self::InvalidCharacter => "invalid_character",
            Self::TooLarge => "too_large",
            Self::Unsupported => "unsupported",
            Self::Filter => "filter",
            Self::UnknownField => "unknown_field",
            Self::NoPartition => "no_partition",
            Self::TooLate => "too_late",
            Self::Refused => "refused",
        }
    }
}

/// A record's refusal: names the column, the value (shortened) and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The class.
    pub reason: Reason,
    /// The column that cannot take its value, if one can be named.
    pub column: Option<String>,
    /// For a person: what was found, what was expected.
    pub message: String,
}

impl Rejection {
    /// A rejection that no single column causes.
    pub fn record(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, column: None, message: message.into() }
    }

    /// The same, said of a part of the value.
    pub(crate) fn inside(mut self, part: impl fmt::Display) -> Self {
        self.message = format!("{part}: {}", self.message);
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Some(column) => write!(f, "column {column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}
