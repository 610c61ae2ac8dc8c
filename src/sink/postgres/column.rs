//! The columns of a table, as the catalog shows them.

use std::sync::Arc;

/// A Postgres type, with all that its encoder has to know of it. The trees of types are made at the
/// start and shared: nothing of them is copied for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// `text`, and `varchar(n)` and `char(n)` with `max_chars` (Postgres pads the latter itself).
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
    /// `oid`
    Oid,
    /// `money`, which counts a fraction of its unit that `lc_monetary` decides.
    Money {
        /// Digits after the decimal point.
        digits: u8,
    },
    /// `name`: a text of at most 63 bytes.
    Name,
    /// `"char"`: one byte.
    Char,
    /// `xml`
    Xml,
    /// `time without time zone`
    Time,
    /// `time with time zone`
    Timetz,
    /// `interval`
    Interval,
    /// `inet`
    Inet,
    /// `cidr`
    Cidr,
    /// `macaddr`
    Macaddr,
    /// `macaddr8`
    Macaddr8,
    /// `bit(n)`; all values have this length, if one is declared.
    Bit {
        /// The `n`.
        bits: Option<u32>,
    },
    /// `bit varying(n)`
    Varbit {
        /// The `n`.
        max_bits: Option<u32>,
    },
    /// `point`
    Point,
    /// An array, of any number of dimensions.
    Array(Arc<ArrayType>),
    /// An enum.
    Enum(Arc<EnumType>),
    /// A composite type (a row of its own).
    Composite(Arc<CompositeType>),
    /// A range of such bounds.
    Range(Arc<ColumnType>),
    /// A multirange: ranges of such bounds.
    Multirange(Arc<ColumnType>),
    /// A type without an encoder, by its name: the value goes to Postgres as text, which reads it.
    Unknown(Arc<str>),
}

impl ColumnType {
    /// Whether binary COPY into the column can carry its values. Where not, its rows are staged as
    /// text and cast by Postgres.
    pub fn has_encoder(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }

    /// Whether there are instants in it, which a clock may tell.
    pub(super) fn has_instants(&self) -> bool {
        match self {
            Self::Timestamptz => true,
            Self::Array(array) => array.element.has_instants(),
            Self::Range(bound) | Self::Multirange(bound) => bound.has_instants(),
            Self::Composite(composite) => {
                composite.attributes.iter().any(|attribute| attribute.column_type.has_instants())
            }
            _ => false,
        }
    }

    /// Whether a JSON array is one value of the type, and not a list of several.
    pub(super) fn takes_json_arrays(&self) -> bool {
        matches!(
            self,
            Self::Json
                | Self::Jsonb
                | Self::Array(_)
                | Self::Composite(_)
                | Self::Range(_)
                | Self::Multirange(_)
                | Self::Point
        )
    }
}

/// The elements of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayType {
    /// Their type.
    pub element: ColumnType,
    /// Its number in the catalog (of a domain its own one, not its base type's).
    pub oid: u32,
    /// How many dimensions are declared. Postgres does not mind them; they tell where the elements
    /// begin if those are JSON arrays themselves.
    pub dimensions: usize,
}

/// An enum's name and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumType {
    /// The type's name.
    pub name: String,
    /// Its labels, sorted by their bytes.
    pub labels: Vec<String>,
}

/// A composite type's name and attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompositeType {
    /// The type's name.
    pub name: String,
    /// Its attributes in order, dropped ones left out.
    pub attributes: Vec<Attribute>,
}

/// One attribute of a composite type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// The type's number in the catalog (of a domain its own one).
    pub oid: u32,
}

/// What a number means in a date or time column. In a `time` it counts from midnight, and in an
/// `interval` it is a duration.
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

/// What to do with U+0000, which Postgres' texts cannot hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNul {
    /// The record is refused.
    #[default]
    DeadLetter,
    /// The character is left out.
    Strip,
    /// U+FFFD takes its place.
    Replace,
}

/// How a column's values are read where they do not say it themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What a number means in a date or time column. Default: such numbers are refused.
    pub epoch_unit: Option<EpochUnit>,
    /// Where the clock hung that a `timestamptz` without a zone was read from. Default: such texts
    /// are refused.
    pub zone: Option<jiff::tz::TimeZone>,
    /// What becomes of U+0000.
    pub on_nul: OnNul,
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
    /// How its values are read where they do not say it themselves.
    pub reading: Reading,
    /// Where the value comes from.
    pub feed: Feed,
    /// The encoded field, length included, that stands in where the record has no value.
    pub fallback: Option<Arc<[u8]>>,
}
