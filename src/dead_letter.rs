//! A record that could not become a row.

use crate::{
    headers::{self, KeptHeaders},
    original::Original,
    record::Record,
    rejection::Rejection,
};

/// A record that could not become a row, with its bytes and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its payload.
    pub value: Option<Vec<u8>>,
    /// Its headers, as [`headers::keep`] writes them.
    pub headers: Vec<u8>,
    /// Why.
    pub rejection: Rejection,
    /// What Postgres said, if it was Postgres.
    pub sqlstate: Option<String>,
    /// Where it is already.
    pub place: Place,
}

/// Where a dead letter is while its batch is not durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Nowhere but here.
    #[default]
    Memory,
    /// In the dead-letter topic, which has acknowledged it: it is not sent again when the
    /// transaction is.
    Topic,
    /// Nowhere but here, and the topic does not take a record like this one: it goes to the table.
    RefusedByTopic,
}

impl DeadLetter {
    /// A record that was not encoded.
    pub fn of_record(record: &Record<'_>, rejection: Rejection) -> Self {
        let mut kept = Vec::new();
        if let Some(headers) = record.headers {
            headers::keep(headers, &mut kept);
        }
        Self {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: kept,
            rejection,
            sqlstate: None,
            place: Place::Memory,
        }
    }

    /// A record whose row the sink refused.
    pub fn of_original(original: &Original<'_>, rejection: Rejection, sqlstate: &str) -> Self {
        Self {
            offset: original.offset,
            timestamp_ms: original.timestamp_ms,
            key: original.key.map(<[u8]>::to_vec),
            value: original.value.map(<[u8]>::to_vec),
            headers: original.headers.as_bytes().to_vec(),
            rejection,
            sqlstate: Some(sqlstate.to_owned()),
            place: Place::Memory,
        }
    }

    /// The record as it came.
    pub fn original(&self) -> Original<'_> {
        Original {
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: KeptHeaders::new(&self.headers),
        }
    }

    /// Bytes held against the memory budget.
    pub fn held_bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        std::mem::size_of::<Self>() + length(&self.key) + length(&self.value) + self.headers.len()
    }
}
