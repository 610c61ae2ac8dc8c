//! Protocol Buffers, in the frame of a schema registry.

mod schema;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use prost_reflect::DynamicMessage;

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
use value::put_message;

/// A format that reads messages with the schema that they were written with, as `registry` has it.
///
/// The fields have the names of the schema. One without presence (of proto3, not `optional`) has its
/// default where the message lacks it, which cannot be told from one that was sent; one with presence
/// is absent then. Fields that the schema does not have are left out.
pub(crate) fn format(registry: &Arc<Registry>, selectors: &[Selector]) -> Box<dyn Format> {
    Box::new(Transcoded::new(Protobuf { schemas: Schemas::new(registry) }, selectors))
}

#[derive(Debug)]
struct Protobuf {
    schemas: Schemas<Schema>,
}

impl Protobuf {
    fn read(&self, framed: &[u8], out: &mut Vec<u8>) -> Result<(), Rejection> {
        let (schema, id, bytes) = self.schemas.find(framed)?;
        put(schema, bytes, out).map_err(|fault| {
            let message = format!("not Protobuf of schema {id}: {fault}");
            Rejection::record(Reason::Malformed, message)
        })
    }
}

/// Appends the JSON text of what stands behind a frame: the way to the message in its file, then its
/// bytes.
///
/// # Errors
/// When they are none of the schema's messages; `out` is then unspecified.
pub fn put(schema: &Schema, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let (descriptor, bytes) = schema.message(bytes)?;
    // Fields may come in any order and more than once, so that none is known before the end.
    let message = DynamicMessage::decode(descriptor, bytes).map_err(|fault| fault.to_string())?;
    put_message(&message, 0, out).map_err(|fault| fault.to_string())
}

impl Readable for Schema {
    const KIND: &'static str = "PROTOBUF";

    fn parse(schema: &registry::Schema) -> Result<Self, String> {
        Self::parse(schema)
    }
}

impl Transcode for Protobuf {
    fn prepare(&mut self, record: &Record<'_>) -> Result<(), Away> {
        self.schemas.prepare(record)
    }

    fn transcode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<Change, Rejection> {
        let Some(payload) = record.value else {
            // A key that is no such message has no fields.
            if self.read(record.key.unwrap_or_default(), out).is_err() || !out.starts_with(b"{") {
                out.clear();
            }
            return Ok(Change::Delete);
        };
        self.read(payload, out)?;
        Ok(Change::Put)
    }
}
