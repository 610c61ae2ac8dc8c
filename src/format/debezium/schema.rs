//! The schemas that Kafka Connect puts into each record: what their semantic types mean.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Schemas that are remembered. A topic has as many at a time as its table has versions, mostly one.
const REMEMBERED: usize = 8;

/// What must be done with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Conversion {
    /// An unscaled integer in base64.
    Decimal { scale: i64 },
    /// The same, as an object with its scale.
    VariableDecimal,
    /// Days since 1970-01-01.
    Date,
    /// Units since midnight, 10 to the power of so many in a second.
    Time { digits: u32 },
    /// Units since 1970-01-01T00:00:00.
    Timestamp { digits: u32 },
    /// Units of time.
    Duration { digits: u32 },
    /// A date or a time with a Z behind it.
    Iso,
    /// A moment with its zone.
    IsoMoment,
    /// A document in a string.
    Json,
    /// Bits in base64, the lowest byte first.
    Bits { length: usize },
    /// An object with x and y.
    Point,
    /// An array whose elements need one.
    Items(Box<Conversion>),
}

impl Conversion {
    fn of(schema: &Schema) -> Option<Self> {
        let parameter = |name: &str| schema.parameters.get(name).and_then(|text| text.parse().ok());
        Some(match schema.name.as_deref() {
            Some("org.apache.kafka.connect.data.Decimal") => {
                Self::Decimal { scale: parameter("scale").unwrap_or(0) }
            }
            Some("io.debezium.data.VariableScaleDecimal") => Self::VariableDecimal,
            Some("io.debezium.time.Date" | "org.apache.kafka.connect.data.Date") => Self::Date,
            Some("io.debezium.time.Time" | "org.apache.kafka.connect.data.Time") => {
                Self::Time { digits: 3 }
            }
            Some("io.debezium.time.MicroTime") => Self::Time { digits: 6 },
            Some("io.debezium.time.NanoTime") => Self::Time { digits: 9 },
            Some("io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp") => {
                Self::Timestamp { digits: 3 }
            }
            Some("io.debezium.time.MicroTimestamp") => Self::Timestamp { digits: 6 },
            Some("io.debezium.time.NanoTimestamp") => Self::Timestamp { digits: 9 },
            Some("io.debezium.time.MicroDuration") => Self::Duration { digits: 6 },
            Some("io.debezium.time.NanoDuration") => Self::Duration { digits: 9 },
            Some("io.debezium.time.IsoDate" | "io.debezium.time.IsoTime") => Self::Iso,
            Some("io.debezium.time.IsoTimestamp" | "io.debezium.time.ZonedTimestamp") => {
                Self::IsoMoment
            }
            Some("io.debezium.data.Json") => Self::Json,
            Some("io.debezium.data.Bits") => {
                Self::Bits { length: parameter("length").unwrap_or(0).try_into().unwrap_or(0) }
            }
            Some("io.debezium.data.geometry.Point") => Self::Point,
            _ => Self::Items(Box::new(Self::of(schema.items.as_deref()?)?)),
        })
    }
}

/// The fields of a row that need a conversion.
#[derive(Debug, Default)]
pub(super) struct Row(Vec<(Vec<u8>, Conversion)>);

impl Row {
    fn new(schema: &Schema) -> Self {
        let conversion =
            |field: &Schema| Some((field.field.clone()?.into_bytes(), Conversion::of(field)?));
        Self(schema.fields.iter().filter_map(conversion).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What must be done with the field called `name`. Fields come in the order of the schema: the
    /// one after `last` is tried first.
    pub(super) fn find(&self, name: &[u8], last: &mut usize) -> Option<&Conversion> {
        let is_it = |at: usize| self.0.get(at).filter(|(known, _)| known == name);
        let at = match is_it(*last) {
            Some(_) => *last,
            None => self.0.iter().position(|(known, _)| known == name)?,
        };
        *last = at + 1;
        is_it(at).map(|(_, conversion)| conversion)
    }
}

/// A schema, as far as it matters here.
#[derive(Debug, Default)]
pub(super) struct Meaning {
    /// Of the rows in the envelope that it describes.
    pub(super) row: Row,
    /// Of what it describes itself: a record's key.
    pub(super) key: Row,
}

/// Schemas by their text, the latest first: it stands in every record.
#[derive(Debug, Default)]
pub(super) struct Schemas(Vec<(Vec<u8>, Meaning)>);

impl Schemas {
    /// The meaning of a schema; `None` if it is none of Kafka Connect's.
    pub(super) fn find(&mut self, text: &[u8]) -> Option<&Meaning> {
        let known = self.0.iter().position(|(known, _)| known == text);
        match known {
            Some(0) => {}
            Some(at) => self.0.swap(0, at),
            None => {
                let schema: Schema = serde_json::from_slice(text).ok()?;
                let part = |name| schema.fields.iter().find(|f| f.field.as_deref() == Some(name));
                let rows = part("after").or_else(|| part("before"));
                let meaning =
                    Meaning { row: rows.map(Row::new).unwrap_or_default(), key: Row::new(&schema) };
                self.0.truncate(REMEMBERED - 1);
                self.0.insert(0, (text.to_vec(), meaning));
            }
        }
        self.0.first().map(|(_, meaning)| meaning)
    }
}

/// A schema of Kafka Connect in JSON.
#[derive(Debug, Deserialize)]
struct Schema {
    name: Option<String>,
    field: Option<String>,
    #[serde(default)]
    fields: Vec<Schema>,
    items: Option<Box<Schema>>,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
}
