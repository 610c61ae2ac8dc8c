//! Formats: bytes to a row.

pub mod avro;
mod calendar;
mod csv;
mod debezium;
mod decimal;
mod framed;
pub(crate) mod json;
mod number;
pub mod protobuf;
mod raw;
mod schemas;
mod transcoded;

pub use csv::csv;
pub use debezium::DebeziumFormat;
pub use json::JsonFormat;
pub use raw::RawFormat;

use crate::{
    record::Record,
    registry::Away,
    rejection::Rejection,
    row::{Change, Span},
};

/// Decodes the payload of a record into the fields that the targets of its route ask for.
///
/// One value serves one partition thread, so it may learn from what it has seen (the order of the
/// fields, say).
pub trait Format: Send {
    /// Gets what the record cannot be read without: its schema, from a registry. May block for some
    /// seconds, but not for ever.
    ///
    /// # Errors
    /// When it is not to be had now: the record has to wait.
    fn prepare(&mut self, _record: &Record<'_>) -> Result<(), Away> {
        Ok(())
    }

    /// Finds the fields of `record` and what it does; writes one span for each field that was asked
    /// for, in that order, and overwrites the whole of `spans`.
    ///
    /// # Errors
    /// When the payload as a whole is not in this format. `spans` is then unspecified.
    fn decode(&mut self, record: &Record<'_>, spans: &mut [Span]) -> Result<Change, Rejection>;

    /// What the spans of the last record point into: its payload, where a format has not made
    /// another text of it.
    fn text<'a>(&'a self, record: &Record<'a>) -> &'a [u8] {
        record.value.unwrap_or_default()
    }
}
