//! Payloads without a structure.

use super::{Format, json::check_size};
use crate::{
    record::Record,
    rejection::Rejection,
    row::{Change, Kind, Span},
    selector::Selector,
};

/// Takes the payload as it is: a row with one field, [`RawFormat::FIELD`].
///
/// A tombstone is not refused: its value is NULL, as a topic of bytes has no other way to say so.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawFormat {
    place: Option<usize>,
}

impl RawFormat {
    /// The name of the only field.
    pub const FIELD: &'static str = "value";

    /// Gives the payload where `selectors` has [`RawFormat::FIELD`]; everything else is absent.
    pub fn new(selectors: &[Selector]) -> Self {
        Self { place: selectors.iter().position(|s| s.field() == Some(Self::FIELD)) }
    }
}

impl Format for RawFormat {
    fn decode(&mut self, record: &Record<'_>, spans: &mut [Span]) -> Result<Change, Rejection> {
        spans.fill(Span::ABSENT);
        let Some(span) = self.place.and_then(|place| spans.get_mut(place)) else {
            return Ok(Change::Put);
        };
        let Some(payload) = record.value else {
            span.kind = Kind::Null;
            return Ok(Change::Put);
        };
        check_size(payload)?;
        *span = Span { kind: Kind::Bytes, start: 0, end: payload.len() as u32 };
        Ok(Change::Put)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Row, Value};

    fn record(value: Option<&[u8]>) -> Record<'_> {
        Record {
            topic: "t",
            partition: 0,
            offset: 0,
            timestamp_ms: None,
            key: None,
            value,
            headers: None,
        }
    }

    #[test]
    fn the_payload_is_the_only_field() {
        let mut spans = [Span::ABSENT; 2];
        let mut format = RawFormat::new(&["value".into(), "other".into()]);
        format.decode(&record(Some(b"\xff\0")), &mut spans).unwrap();
        let row = Row::new(b"\xff\0", &spans, Change::Put);
        assert_eq!(row.get(0), Value::Bytes(b"\xff\0"));
        assert_eq!(row.get(1), Value::Absent);
    }

    #[test]
    fn a_tombstone_is_null() {
        let mut spans = [Span::ABSENT];
        RawFormat::new(&["value".into()]).decode(&record(None), &mut spans).unwrap();
        assert_eq!(Row::new(b"", &spans, Change::Put).get(0), Value::Null);
    }
}
