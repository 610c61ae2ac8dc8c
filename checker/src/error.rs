//! Why nothing could be proved.

/// Why nothing could be proved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no ledger to compare table {table} with")]
    NoLedger { table: String },
    #[error("the ledger of topic {topic} is not complete: its run failed or was stopped early")]
    Incomplete { topic: String },
    #[error("the ledgers are of different topics, {first} and {other}; check one topic at a time")]
    Topics { first: String, other: String },
    #[error("`{sql}` gave {got} where {expected} was expected")]
    Answer { sql: String, got: String, expected: &'static str },
    #[error(transparent)]
    Stack(#[from] stack::Error),
}
