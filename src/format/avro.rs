//! Avro, in the frame of a schema registry.

mod schema;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use super::{
    Format,
    schemas::{Readable, Schemas},
    transcoded::{Transcode, Transcoded},
};
use crate::{
    record::Record,
    registry::{self, Away, Registry},
    rejection::{Reason, Rejection},
    row::Change,
    selector::Selector,
};

pub use schema::Schema;
pub use value::{Fault, put};

/// A format that reads records with the schema that they were written with, as `registry` has it.
///
/// Evolution needs nothing more: the fields of each record are those of its own schema, and a field
/// that it lacks is absent, so that the column's default stands in.
pub(crate) fn format(registry: &Arc<Registry>, selectors: &[Selector]) -> Box<dyn Format> {
    Box::new(Transcoded::new(Avro { schemas: Schemas::new(registry) }, selectors))
}

#[derive(Debug)]
struct Avro {
    schemas: Schemas<Schema>,
}

impl Readable for Schema {
    const KIND: &'static str = "AVRO";

    fn parse(schema: &registry::Schema) -> Result<Self, String> {
        Self::parse(schema)
    }
}

impl Avro {
    fn read(&self, framed: &[u8], out: &mut Vec<u8>) -> Result<(), Rejection> {
        let (schema, id, bytes) = self.schemas.find(framed)?;
        put(schema, bytes, out).map_err(|fault| {
            let message = format!("not Avro of schema {id}: {fault}");
            Rejection::record(Reason::Malformed, message)
        })
    }
}

impl Transcode for Avro {
    fn prepare(&mut self, record: &Record<'_>) -> Result<(), Away> {
        self.schemas.prepare(record)
    }

    fn transcode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<Change, Rejection> {
        let Some(payload) = record.value else {
            // A key that is no record of Avro has no fields.
            if self.read(record.key.unwrap_or_default(), out).is_err() || !out.starts_with(b"{") {
                out.clear();
            }
            return Ok(Change::Delete);
        };
        self.read(payload, out)?;
        Ok(Change::Put)
    }
}
