//! JSON objects.

use super::Format;
use crate::{record::Record, rejection::Rejection, row::Span};

/// Reads the top-level fields of a JSON object.
#[derive(Debug)]
pub struct JsonFormat;

impl Format for JsonFormat {
    fn decode(&mut self, _record: &Record<'_>, _spans: &mut [Span]) -> Result<(), Rejection> {
        Ok(())
    }
}
