//! A row: a record decoded into the fields that the targets ask for.
//!
//! The values stay where they are, in the record's payload (or in the text that the format has made
//! of it): a row is a list of spans. So a record is decoded once, each target encodes from the same
//! spans, and nothing is allocated.

/// What a record does to the row that it is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// The row is as the record says.
    #[default]
    Put,
    /// The row is gone; of the fields there may be only those of its key.
    Delete,
    /// No row is concerned: the record is passed over.
    Nothing,
}

/// What a span holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The record has no such field.
    Absent,
    /// JSON `null`.
    Null,
    /// JSON `true`.
    True,
    /// JSON `false`.
    False,
    /// A JSON number; the span is its text.
    Number,
    /// A JSON string without escapes; the span is between the quotes.
    Text,
    /// A JSON string with at least one escape; the span is between the quotes.
    EscapedText,
    /// A JSON array or object; the span is its text, brackets included.
    Nested,
    /// A string as it is: valid UTF-8, not in the notation of JSON.
    Plain,
    /// As `Plain`, of a format without structures, where the text is a JSON array or object as well.
    Document,
    /// Bytes without a structure (format `raw`).
    Bytes,
}

/// Where a field's value stands in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// What it is.
    pub kind: Kind,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The span of a field that the record does not have.
    pub const ABSENT: Self = Self { kind: Kind::Absent, start: 0, end: 0 };

    /// The value that it marks in `text`.
    #[inline]
    pub fn value<'a>(&self, text: &'a [u8]) -> Value<'a> {
        let marked = || text.get(self.start as usize..self.end as usize).unwrap_or_default();
        match self.kind {
            Kind::Absent => Value::Absent,
            Kind::Null => Value::Null,
            Kind::True => Value::Bool(true),
            Kind::False => Value::Bool(false),
            Kind::Number => Value::Number(marked()),
            Kind::Text => Value::Text { raw: marked(), escaped: false },
            Kind::EscapedText => Value::Text { raw: marked(), escaped: true },
            Kind::Nested => Value::Nested(marked()),
            Kind::Plain => Value::Plain(marked()),
            Kind::Document => Value::Document(marked()),
            Kind::Bytes => Value::Bytes(marked()),
        }
    }
}

/// The value of one field, borrowed from the payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// The record has no such field.
    Absent,
    /// JSON `null`.
    Null,
    /// A JSON boolean.
    Bool(bool),
    /// The text of a JSON number.
    Number(&'a [u8]),
    /// The text between the quotes of a JSON string; `escaped` says that it holds a backslash.
    Text {
        /// The bytes between the quotes: valid UTF-8, escapes not yet resolved.
        raw: &'a [u8],
        /// Whether there is an escape to resolve.
        escaped: bool,
    },
    /// The text of a JSON array or object.
    Nested(&'a [u8]),
    /// A string as it is: valid UTF-8, not in the notation of JSON.
    Plain(&'a [u8]),
    /// As `Plain`, where the text is a JSON array or object as well: what it is, the column decides.
    Document(&'a [u8]),
    /// Bytes without a structure.
    Bytes(&'a [u8]),
}

/// The fields of one record, in the order that the route's format was given.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    text: &'a [u8],
    spans: &'a [Span],
    change: Change,
}

impl<'a> Row<'a> {
    /// A row over `text`; every span must lie inside it.
    pub fn new(text: &'a [u8], spans: &'a [Span], change: Change) -> Self {
        Self { text, spans, change }
    }

    /// What the record does to the row.
    pub fn change(&self) -> Change {
        self.change
    }

    /// What the spans point into.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The value of field `index`; `Absent` if there is no such field.
    #[inline]
    pub fn get(&self, index: usize) -> Value<'a> {
        self.spans.get(index).map_or(Value::Absent, |span| span.value(self.text))
    }
}
