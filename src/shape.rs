//! What the records of a route look like, for a table that is to be made for them.

use crate::{
    config::{FormatKind, Route},
    detect::{self, DetectedField, Sample},
    error::Error,
    intake::Decoder,
    record::Record,
    registry::Away,
    row::Value,
    selector::Selector,
};

/// The fields of records, judged by a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The fields, in the order in which they are first seen.
    pub fields: Vec<DetectedField>,
    /// The type of a column that takes whole payloads.
    pub payload: &'static str,
}

impl Shape {
    /// What payloads in JSON show.
    pub fn of_json(samples: &[Sample]) -> Self {
        let fields = detect::detect(samples);
        let payload = if fields.is_empty() { "bytea" } else { "jsonb" };
        Self { fields, payload }
    }

    /// What payloads of `route` show. Those that its format refuses show nothing.
    ///
    /// # Errors
    /// When a registry does not give the schema that they cannot be read without.
    pub(crate) fn of(route: &Route, samples: &[Sample]) -> Result<Self, Error> {
        let payload = match &route.format {
            FormatKind::Json => return Ok(Self::of_json(samples)),
            FormatKind::Debezium => "jsonb",
            FormatKind::Csv(_) => "text",
            FormatKind::Avro(_) | FormatKind::Protobuf(_) => "bytea",
            FormatKind::Raw => {
                // Bytes show nothing, but there is one field.
                let field = DetectedField { name: "value".to_owned(), sql_type: "bytea" };
                return Ok(Self { fields: vec![field], payload: "bytea" });
            }
        };
        let objects = objects(route, samples)?;
        let fields = match &route.format {
            FormatKind::Csv(_) => detect::detect_cells(&objects),
            _ => detect::detect(&objects),
        };
        Ok(Self { fields, payload })
    }
}

/// The fields of each payload as an object in JSON, as its format gives them to a row.
fn objects(route: &Route, samples: &[Sample]) -> Result<Vec<Sample>, Error> {
    let all = Selector::Rest { except: Default::default() };
    let mut decoder = Decoder::new(&route.format, &[all], route.max_record_bytes);
    let mut objects = Vec::new();
    for payload in samples {
        let record = Record {
            topic: "",
            partition: 0,
            offset: 0,
            timestamp_ms: None,
            key: None,
            value: Some(payload),
            headers: None,
        };
        decoder.prepare(&record).map_err(|Away(message)| Error::unavailable(message))?;
        if decoder.decode(&record).is_ok()
            && let Value::Nested(object) | Value::Document(object) = decoder.row(&record).get(0)
        {
            objects.push(object.to_vec());
        }
    }
    Ok(objects)
}
