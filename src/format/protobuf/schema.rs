//! Files of Protocol Buffers as the registry has them, and the message that a payload is.

use prost_reflect::{FileDescriptor, MessageDescriptor};
use protox::{
    Compiler, Error,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver},
};

use crate::registry;

/// The name that a schema has among the files that it imports.
const MAIN: &str = "tidegate-schema.proto";

/// A compiled file.
#[derive(Debug)]
pub struct Schema {
    file: FileDescriptor,
}

/// The files that the registry gave.
#[derive(Debug)]
struct Files(Vec<(String, String)>);

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        match self.0.iter().find(|(known, _)| known == name) {
            Some((_, text)) => File::from_source(name, text),
            None => Err(Error::file_not_found(name)),
        }
    }
}

impl Schema {
    /// Compiles what the registry has.
    ///
    /// # Errors
    /// Why it is no file of Protocol Buffers.
    pub fn parse(schema: &registry::Schema) -> Result<Self, String> {
        let references = schema.references.iter().map(|r| (r.name.clone(), r.text.clone()));
        let main = (MAIN.to_owned(), schema.text.clone());
        let mut resolver = ChainFileResolver::new();
        resolver.add(Files(references.chain([main]).collect()));
        resolver.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(resolver);
        compiler.include_imports(true);
        compiler.open_file(MAIN).map_err(|error| error.to_string())?;
        let file = compiler.descriptor_pool().get_file_by_name(MAIN);
        Ok(Self { file: file.ok_or("the compiler lost it")? })
    }

    /// Reads which message of the file stands behind the frame: the way to it, as the places of
    /// messages inside messages, a single 0 being short for the first one.
    pub(super) fn message<'a>(
        &self,
        bytes: &'a [u8],
    ) -> Result<(MessageDescriptor, &'a [u8]), String> {
        let end = || "the bytes end before the message".to_owned();
        let (count, mut rest) = number(bytes).ok_or_else(end)?;
        if count == 0 {
            let first = self.file.messages().next();
            return Ok((first.ok_or("the schema has no message")?, rest));
        }
        let mut message: Option<MessageDescriptor> = None;
        for _ in 0..count {
            let (place, after) = number(rest).ok_or_else(end)?;
            rest = after;
            let place = usize::try_from(place).map_err(|_| end())?;
            message = match message {
                None => self.file.messages().nth(place),
                Some(outer) => outer.child_messages().nth(place),
            };
            if message.is_none() {
                return Err(format!("the schema has no message {place} there"));
            }
        }
        Ok((message.ok_or_else(end)?, rest))
    }
}

/// A number in zigzag, as Confluent's serializers write the places.
fn number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let number = (value >> 1) as i64 ^ -((value & 1) as i64);
            return (number >= 0).then_some((number, bytes.get(place + 1..)?));
        }
    }
    None
}
