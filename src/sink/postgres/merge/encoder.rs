//! Rows for a staging table: the row as it is, and behind it the record's place in its partition.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Deletes, Merge};
use crate::{
    batch::Layout,
    record::Record,
    rejection::{Reason, Rejection},
    row::{Change, Row, Value},
    sink::{
        Encoder, OnDelete,
        postgres::{
            column::{Column, Feed},
            encode::{self, EncoderError, RowEncoder},
            table::AppendEncoder,
        },
    },
};

/// Encodes rows for the staging table of a target.
pub(crate) struct MergeEncoder {
    rows: AppendEncoder,
    /// Key and version of a row to be deleted.
    deletes: RowEncoder,
    /// The only column of the key, where a record's own key may stand for it.
    single: Option<Column>,
    key: Vec<String>,
    has_version: bool,
    deletion: Deletes,
}

impl MergeEncoder {
    /// An encoder for `columns`, those of the key first, which `rows` encodes.
    ///
    /// # Errors
    /// As [`RowEncoder::new`].
    pub(crate) fn new(
        merge: &Merge,
        columns: &[Column],
        rows: AppendEncoder,
    ) -> Result<Self, EncoderError> {
        let key_columns = columns.iter().take(merge.key.len());
        let version = columns.iter().find(|column| Some(&column.name) == merge.version.as_ref());
        let version = version.cloned().map(|column| Column {
            not_null: false,
            has_default: false,
            fallback: None,
            ..column
        });
        let single = match columns.first() {
            Some(column) if merge.key.len() == 1 && matches!(column.feed, Feed::Field(_)) => {
                Some(column.clone())
            }
            _ => None,
        };
        Ok(Self {
            deletes: RowEncoder::new(key_columns.cloned().chain(version).collect())?,
            single,
            key: merge.key.clone(),
            has_version: merge.version.is_some(),
            deletion: merge.deletes.clone(),
            rows,
        })
    }

    fn encode_delete(
        &mut self,
        record: &Record<'_>,
        row: &Row<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        let encoded = match self.key_of_record(record, row) {
            Some((column, key)) => {
                let start = out.len();
                out.extend_from_slice(&(1 + u16::from(self.has_version)).to_be_bytes());
                let encoded = encode::constant(column, key, out);
                if encoded.is_err() {
                    out.truncate(start);
                } else if self.has_version {
                    out.extend_from_slice(&(-1_i32).to_be_bytes());
                }
                encoded.map_err(|rejection| Rejection {
                    column: Some(column.name.clone()),
                    message: format!("the record's key: {}", rejection.message),
                    ..rejection
                })
            }
            None => self.deletes.encode(record, row, Layout::default(), out),
        };
        encoded.map_err(|rejection| match rejection.reason {
            Reason::MissingValue => Rejection {
                message: "the record deletes, and neither its fields nor its key say which row"
                    .to_owned(),
                ..rejection
            },
            _ => rejection,
        })
    }

    /// The record's key, where that is the key of the row as a text: a tombstone has no fields.
    fn key_of_record<'a>(
        &self,
        record: &Record<'a>,
        row: &Row<'_>,
    ) -> Option<(&Column, Value<'a>)> {
        let column = self.single.as_ref()?;
        let Feed::Field(index) = column.feed else { return None };
        let key = record.key.filter(|_| row.get(index) == Value::Absent)?;
        // An object would have had the field.
        (!is_object(key)).then(|| (column, text_of(key)))
    }

    /// What marks a row as deleted.
    fn mark(&self, record: &Record<'_>, out: &mut Vec<u8>) -> u16 {
        match self.deletion {
            Deletes::No | Deletes::Remove => return 0,
            Deletes::Mark { is_flag: true, .. } => put(&[1], out),
            Deletes::Mark { is_flag: false, .. } => {
                // A source without timestamps deletes now.
                let ms = record.timestamp_ms.unwrap_or_else(now_ms);
                let us = (ms - POSTGRES_EPOCH_MS).saturating_mul(1000);
                put(&us.clamp(TIMESTAMP_US_MIN, TIMESTAMP_US_MAX).to_be_bytes(), out);
            }
        }
        1
    }
}

/// 2000-01-01 in milliseconds since the Unix epoch.
const POSTGRES_EPOCH_MS: i64 = 946_684_800_000;
/// The years -4712 to 9999: beyond it no record was deleted, whatever its producer says.
const TIMESTAMP_US_MIN: i64 = -211_813_488_000_000_000;
const TIMESTAMP_US_MAX: i64 = 252_455_615_999_999_999;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as i64)
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<&serde_json::value::RawValue>(text).is_ok()
}

fn is_object(key: &[u8]) -> bool {
    key.trim_ascii_start().starts_with(b"{") && is_json(key)
}

/// A key is a text as it is, or a string of JSON.
fn text_of(key: &[u8]) -> Value<'_> {
    match key {
        [b'"', raw @ .., b'"'] if is_json(key) => {
            Value::Text { raw, escaped: raw.contains(&b'\\') }
        }
        _ => Value::Bytes(key),
    }
}

fn put(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

impl Encoder for MergeEncoder {
    fn on_delete(&self) -> OnDelete {
        match &self.deletion {
            Deletes::No => self.rows.on_delete(),
            Deletes::Remove | Deletes::Mark { .. } => OnDelete::Take,
        }
    }

    fn layout(&self, row: &Row<'_>) -> Layout {
        match row.change() {
            Change::Delete => Layout::DELETE,
            Change::Put | Change::Nothing => self.rows.layout(row),
        }
    }

    fn encode(
        &mut self,
        record: &Record<'_>,
        row: &Row<'_>,
        layout: Layout,
        out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        let start = out.len();
        let mut more = 1;
        if layout == Layout::DELETE {
            self.encode_delete(record, row, out)?;
            more += self.mark(record, out) + 1;
            put(&[1], out);
        } else {
            self.rows.encode(record, row, layout, out).map_err(|rejection| {
                match &rejection.column {
                    Some(column)
                        if rejection.reason == Reason::MissingValue
                            && self.key.contains(column) =>
                    {
                        let message = "the record has no value for this column of the key";
                        Rejection { message: message.to_owned(), ..rejection }
                    }
                    _ => rejection,
                }
            })?;
        }
        put(&record.offset.to_be_bytes(), out);
        // The row began with the number of its fields.
        if let Some(count) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<2>) {
            *count = (u16::from_be_bytes(*count) + more).to_be_bytes();
        }
        Ok(())
    }
}

/// The place of an encoded row in the order of its partition: the record's offset.
pub(crate) fn order(row: &[u8]) -> i64 {
    row.last_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_text_or_a_string_of_json() {
        assert_eq!(text_of(b"abc"), Value::Bytes(b"abc"));
        assert_eq!(text_of(b"\"abc\""), Value::Text { raw: b"abc", escaped: false });
        let escaped = Value::Text { raw: br#"a\"c"#, escaped: true };
        assert_eq!(text_of(br#""a\"c""#), escaped);
        for no_json in [&b"\""[..], b"\"\"\"", b"\"a\\\"", b""] {
            assert_eq!(text_of(no_json), Value::Bytes(no_json));
        }
        assert!(is_object(br#" {"id":1}"#));
        assert!(!is_object(b"{not json}") && !is_object(b"7"));
    }
}
