//! A record: one message, still borrowed from the client's buffer.

use std::fmt;

/// The headers of a record, in the order in which they were sent.
///
/// A trait and not a list, because a list would have to be allocated for each record, and few
/// tables have a column for headers.
pub trait Headers {
    /// Calls `visit` with the name and the value of each header; a value may be null.
    fn for_each(&self, visit: &mut dyn FnMut(&str, Option<&[u8]>));
}

/// One message of a source. Nothing in it outlives the poll that gave it.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Kafka topic, or the name of the file.
    pub topic: &'a str,
    /// Kafka partition; 0 for a file.
    pub partition: i32,
    /// Kafka offset, or the number of the line, from 0.
    pub offset: i64,
    /// Milliseconds since the Unix epoch; `None` where the source has no time.
    pub timestamp_ms: Option<i64>,
    /// The message key, if any.
    pub key: Option<&'a [u8]>,
    /// The payload; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, if any.
    pub headers: Option<&'a dyn Headers>,
}

impl Record<'_> {
    /// Bytes of the key and the payload.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Payloads stay out of logs: they may hold personal data.
        write!(f, "{}[{}]@{}", self.topic, self.partition, self.offset)
    }
}
