//! Proves that a table of orders holds exactly what the load generator's ledgers say.
//!
//! [`Checker`] asks Postgres for facts (rows, distinct order ids, sum of amounts, next offset,
//! dead letters), per partition where the table has the partition and offset of each row, and
//! compares them with the same facts of the [`Ledger`](loadgen::Ledger). The [`Proof`] prints as
//! a table and counts what was lost or doubled.

mod checker;
mod error;
mod facts;
mod proof;

pub use checker::Checker;
pub use error::Error;
pub use facts::Facts;
pub use proof::{Comparison, Proof};
