//! The schemas that the records of one partition thread were written with.

use std::{collections::HashMap, sync::Arc};

use super::framed;
use crate::{
    record::Record,
    registry::{self, Away, Found, Registry},
    rejection::{Reason, Rejection},
};

/// A schema in the language of one format.
pub(super) trait Readable: Sized + Send {
    /// The registry's name for the language.
    const KIND: &'static str;

    /// Reads what the registry has.
    ///
    /// # Errors
    /// Why it cannot be used.
    fn parse(schema: &registry::Schema) -> Result<Self, String>;
}

/// Schemas by their number, each read once.
#[derive(Debug)]
pub(super) struct Schemas<S> {
    registry: Arc<Registry>,
    /// Schemas that were read, and what was wrong with those that cannot be.
    known: HashMap<u32, Result<S, Rejection>>,
    /// A number that the registry does not know now.
    unknown: Option<(u32, Rejection)>,
}

impl<S: Readable> Schemas<S> {
    pub(super) fn new(registry: &Arc<Registry>) -> Self {
        Self { registry: Arc::clone(registry), known: HashMap::new(), unknown: None }
    }

    /// Gets the schema of `record`, if it is not known.
    pub(super) fn prepare(&mut self, record: &Record<'_>) -> Result<(), Away> {
        let Some((id, _)) = framed::split(framed::part(record)) else { return Ok(()) };
        if self.known.contains_key(&id) {
            return Ok(());
        }
        match self.registry.find(id)? {
            Found::Schema(schema) => {
                let read = match schema.kind.as_str() {
                    kind if kind == S::KIND => {
                        S::parse(&schema).map_err(|fault| refusal(id, &fault))
                    }
                    other => {
                        Err(refusal(id, &format!("it is of type {other}, expected {}", S::KIND)))
                    }
                };
                self.known.insert(id, read);
            }
            Found::Nothing(message) => self.unknown = Some((id, refusal(id, &message))),
        }
        Ok(())
    }

    /// The schema of a payload that was prepared, its number, and what it describes.
    pub(super) fn find<'a>(&self, framed: &'a [u8]) -> Result<(&S, u32, &'a [u8]), Rejection> {
        let (id, bytes) = framed::require(framed)?;
        match (self.known.get(&id), &self.unknown) {
            (Some(Ok(schema)), _) => Ok((schema, id, bytes)),
            (Some(Err(rejection)), _) => Err(rejection.clone()),
            (None, Some((unknown, rejection))) if *unknown == id => Err(rejection.clone()),
            (None, _) => Err(refusal(id, "it was not asked for")),
        }
    }
}

fn refusal(id: u32, problem: &str) -> Rejection {
    let message = format!("the record's schema, {id}, cannot be used: {problem}");
    Rejection::record(Reason::Malformed, message)
}
