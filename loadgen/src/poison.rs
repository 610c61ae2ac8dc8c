//! Records that cannot become a row, one kind for each way a producer goes wrong.

/// What is wrong with a poison record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poison {
    /// Plain text.
    NotJson,
    /// `item_count` is a text.
    WrongType,
    /// `item_count` is beyond any integer column.
    OutOfRange,
    /// `note` has a NUL, which JSON allows and Postgres' text does not.
    Nul,
    /// The record breaks off.
    Truncated,
    /// `note` is not UTF-8.
    InvalidUtf8,
}

impl Poison {
    /// Every kind, in the order in which they take turns.
    pub const KINDS: [Poison; 6] = [
        Poison::NotJson,
        Poison::WrongType,
        Poison::OutOfRange,
        Poison::Nul,
        Poison::Truncated,
        Poison::InvalidUtf8,
    ];

    /// The kind's name in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Poison::NotJson => "not_json",
            Poison::WrongType => "wrong_type",
            Poison::OutOfRange => "out_of_range",
            Poison::Nul => "nul",
            Poison::Truncated => "truncated",
            Poison::InvalidUtf8 => "invalid_utf8",
        }
    }
}
