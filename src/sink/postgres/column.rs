//! The columns of a table, as the catalog shows them.

use std::sync::Arc;

/// The Postgres types that have a binary encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`, with its precision and scale if declared (the scale may be negative).
    Numeric {
        /// `numeric(precision, scale)`
        limits: Option<(u16, i16)>,
    },
    /// `text`, and `varchar(n)` with `max_chars`.
    Text {
        /// Characters, not bytes.
        max_chars: Option<u32>,
    },
    /// `uuid`
    Uuid,
    /// `date`
    Date,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    Timestamptz,
    /// `json`
    Json,
    /// `jsonb`
    Jsonb,
    /// `bytea`
    Bytea,
}

/// What a number means in a date or time column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpochUnit {
    /// Seconds since the Unix epoch; may have a fraction.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

/// A fact about the record itself that a column may be fed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metadata {
    /// The topic's name.
    Topic,
    /// The partition's number.
    Partition,
    /// The record's offset.
    Offset,
    /// The record's timestamp.
    Timestamp,
    /// The message key.
    Key,
    /// The headers, as a JSON object of strings (base64 where a value is not UTF-8).
    Headers,
    /// The whole payload.
    Payload,
}

/// Where a column's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Nothing of the record: [`Column::fallback`] for every row.
    Constant,
    /// Field `index` of the row.
    Field(usize),
    /// A fact about the record.
    Metadata(Metadata),
}

/// One column of a table that a target writes, with what feeds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The column's name, unquoted.
    pub name: String,
    /// Its type; a domain counts as its base type.
    pub column_type: ColumnType,
    /// Whether NULL is refused (`NOT NULL`, or a domain's).
    pub not_null: bool,
    /// Whether it has a default (or an identity), which an absent field leaves to Postgres.
    pub has_default: bool,
    /// What a number means in a date or time column.
    pub epoch_unit: Option<EpochUnit>,
    /// Where the value comes from.
    pub feed: Feed,
    /// The encoded field, length included, that stands in where the record has no value.
    pub fallback: Option<Arc<[u8]>>,
}
