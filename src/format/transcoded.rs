//! Formats that are made into JSON first, and then read as it.

use super::{Format, JsonFormat};
use crate::{
    record::Record,
    registry::Away,
    rejection::Rejection,
    row::{Change, Kind, Span},
    selector::Selector,
};

/// Makes JSON text of a record's payload, or of its key where a tombstone has nothing else.
pub(super) trait Transcode: Send {
    /// See [`Format::prepare`].
    ///
    /// # Errors
    /// As there.
    fn prepare(&mut self, _record: &Record<'_>) -> Result<(), Away> {
        Ok(())
    }

    /// Appends an object to `out`, which is empty, or nothing if there are no fields.
    ///
    /// # Errors
    /// When the record is not in this format.
    fn transcode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<Change, Rejection>;

    /// What an array or an object in that text is.
    fn nested(&self) -> Kind {
        Kind::Nested
    }
}

/// A format that finds its fields in the JSON text which `transcoder` makes: so pointers, spellings
/// and rests mean the same in all formats.
#[derive(Debug)]
pub(super) struct Transcoded<T> {
    transcoder: T,
    json: JsonFormat,
    text: Vec<u8>,
}

impl<T> Transcoded<T> {
    pub(super) fn new(transcoder: T, selectors: &[Selector]) -> Self {
        Self { transcoder, json: JsonFormat::new(selectors), text: Vec::new() }
    }
}

impl<T: Transcode> Format for Transcoded<T> {
    fn prepare(&mut self, record: &Record<'_>) -> Result<(), Away> {
        self.transcoder.prepare(record)
    }

    fn decode(&mut self, record: &Record<'_>, spans: &mut [Span]) -> Result<Change, Rejection> {
        self.text.clear();
        let change = self.transcoder.transcode(record, &mut self.text)?;
        if self.text.is_empty() {
            spans.fill(Span::ABSENT);
        } else {
            self.json.read(&self.text, spans)?;
            let nested = self.transcoder.nested();
            let is_nested = |span: &&mut Span| span.kind == Kind::Nested;
            spans.iter_mut().filter(is_nested).for_each(|span| span.kind = nested);
        }
        Ok(change)
    }

    fn text<'a>(&'a self, _record: &Record<'a>) -> &'a [u8] {
        self.json.text_of(&self.text)
    }
}
