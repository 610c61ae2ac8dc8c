//! The fields that nobody asked for.

use crate::row::{Kind, Span};

/// Gathers the unknown fields of a record as one object.
#[derive(Debug)]
pub(super) struct Rest {
    /// The span that the object goes to.
    place: usize,
    /// Of the fields that the format looks for, those that are known here.
    known: Vec<bool>,
    /// The object, without its closing bracket; empty if there is no field.
    object: Vec<u8>,
}

impl Rest {
    pub(super) fn new(place: usize) -> Self {
        Self { place, known: Vec::new(), object: Vec::new() }
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// The format looks for one more field.
    pub(super) fn enter(&mut self, is_known: bool) {
        self.known.push(is_known);
    }

    /// The format looks for the first `fields` only.
    pub(super) fn truncate(&mut self, fields: usize) {
        self.known.truncate(fields);
    }

    pub(super) fn clear(&mut self) {
        self.object.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.object.is_empty()
    }

    /// Takes the text of one member, key and value, if it is unknown.
    pub(super) fn offer(&mut self, field: Option<usize>, member: &[u8]) {
        if field.and_then(|field| self.known.get(field)) == Some(&true) {
            return;
        }
        self.object.push(if self.object.is_empty() { b'{' } else { b',' });
        self.object.extend_from_slice(member);
    }

    /// Appends the object to `text`, and marks it.
    pub(super) fn finish(&self, text: &mut Vec<u8>, spans: &mut [Span]) {
        if self.object.is_empty() {
            return;
        }
        let start = text.len() as u32;
        text.extend_from_slice(&self.object);
        text.push(b'}');
        if let Some(span) = spans.get_mut(self.place) {
            *span = Span { kind: Kind::Nested, start, end: text.len() as u32 };
        }
    }
}
