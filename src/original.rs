//! Copies of records, one behind the other in one buffer: what a batch keeps of the records behind
//! its rows, so that a row which the sink refuses can be dead-lettered with its bytes.

use crate::{
    headers::{self, KeptHeaders},
    record::{Headers, Record},
};

/// A record that a batch has kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original<'a> {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its payload.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: KeptHeaders<'a>,
}

impl<'a> Original<'a> {
    /// Appends a copy of `record` to `out`.
    pub fn keep(record: &Record<'_>, out: &mut Vec<u8>) {
        let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |b| b.len() as i32);
        out.extend_from_slice(&record.offset.to_le_bytes());
        out.extend_from_slice(&record.timestamp_ms.unwrap_or(i64::MIN).to_le_bytes());
        out.extend_from_slice(&length(record.key).to_le_bytes());
        out.extend_from_slice(&length(record.value).to_le_bytes());
        let place = out.len();
        out.extend_from_slice(&[0; 4]);
        if let Some(headers) = record.headers {
            headers::keep(headers, out);
            let length = (out.len() - place - 4) as u32;
            if let Some(place) = out.get_mut(place..place + 4) {
                place.copy_from_slice(&length.to_le_bytes());
            }
        }
        out.extend_from_slice(record.key.unwrap_or_default());
        out.extend_from_slice(record.value.unwrap_or_default());
    }

    /// Reads what [`Original::keep`] wrote, and gives what stands behind it.
    pub fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (offset, rest) = bytes.split_first_chunk()?;
        let (timestamp, rest) = rest.split_first_chunk()?;
        let (key_length, rest) = rest.split_first_chunk()?;
        let (value_length, rest) = rest.split_first_chunk()?;
        let (headers_length, rest) = rest.split_first_chunk()?;
        let length = |bytes: &[u8; 4]| usize::try_from(i32::from_le_bytes(*bytes)).ok();
        let (key_length, value_length) = (length(key_length), length(value_length));
        let headers_length = u32::from_le_bytes(*headers_length) as usize;
        let (headers, rest) = rest.split_at_checked(headers_length)?;
        let (key, rest) = rest.split_at_checked(key_length.unwrap_or(0))?;
        let (value, rest) = rest.split_at_checked(value_length.unwrap_or(0))?;
        let original = Self {
            offset: i64::from_le_bytes(*offset),
            timestamp_ms: Some(i64::from_le_bytes(*timestamp)).filter(|ms| *ms != i64::MIN),
            key: key_length.map(|_| key),
            value: value_length.map(|_| value),
            headers: KeptHeaders::new(headers),
        };
        Some((original, rest))
    }

    /// The record, as it was before it was kept.
    pub fn record(&'a self, topic: &'a str, partition: i32) -> Record<'a> {
        let Self { offset, timestamp_ms, key, value, headers } = self;
        Record {
            topic,
            partition,
            offset: *offset,
            timestamp_ms: *timestamp_ms,
            key: *key,
            value: *value,
            headers: Some(headers as &dyn Headers),
        }
    }
}
