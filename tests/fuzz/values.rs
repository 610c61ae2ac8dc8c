//! The encoders of the columns.

use tidegate::{
    format::{Format, JsonFormat},
    record::{Headers, Record},
    rejection::Rejection,
    row::{Change, Row, Span},
    sink::postgres::{
        column::{Column, ColumnType, EpochUnit, Feed, Metadata, Reading},
        encode::{RowEncoder, rows},
    },
};

use crate::{Try, payloads::record, types, well_formed::assert_well_formed};

const MOST_CHECKED_BYTES: usize = 1 << 15;

/// The longest message for a person.
const MOST_MESSAGE_BYTES: usize = 500;

/// One column, and what it must keep to.
pub(crate) struct Encoding {
    pub(crate) column_type: ColumnType,
    encoder: RowEncoder,
    out: Vec<u8>,
}

impl Encoding {
    /// A column that is fed from field `index`.
    pub(crate) fn new(column_type: ColumnType, unit: Option<EpochUnit>, index: usize) -> Self {
        Self::of(column_type, unit, Feed::Field(index)).expect("any type takes a field")
    }

    fn of(column_type: ColumnType, unit: Option<EpochUnit>, feed: Feed) -> Option<Self> {
        let column = Column {
            name: "c".to_owned(),
            column_type: column_type.clone(),
            not_null: false,
            has_default: false,
            reading: Reading { epoch_unit: unit, ..Reading::default() },
            feed,
            fallback: None,
        };
        let encoder = RowEncoder::new(vec![column]).ok()?;
        Some(Self { column_type, encoder, out: Vec::new() })
    }

    /// The field that the row becomes, if it is taken; `None` for NULL, too.
    pub(crate) fn encode(&mut self, record: &Record<'_>, row: &Row<'_>) -> Option<Vec<u8>> {
        self.try_encode(record, row).ok().flatten()
    }

    pub(crate) fn try_encode(
        &mut self,
        record: &Record<'_>,
        row: &Row<'_>,
    ) -> Result<Option<Vec<u8>>, Rejection> {
        self.out.clear();
        self.out.extend_from_slice(b"before");
        let absent = self.encoder.absent(row);
        let encoded = self.encoder.encode(record, row, absent, &mut self.out);
        let row = self.out.strip_prefix(b"before").expect("what stood before it");
        if let Err(rejection) = encoded {
            assert!(row.is_empty(), "a refused row left something behind");
            assert_eq!(rejection.column.as_deref(), Some("c"));
            assert_shown(&rejection);
            return Err(rejection);
        }
        let mut rows = rows(row);
        assert_eq!((rows.next(), rows.next()), (Some(0..row.len()), None), "not one whole row");
        let field = match row.strip_prefix(b"\0\x01").expect("one column") {
            [0xff, 0xff, 0xff, 0xff] => return Ok(None),
            field => field.get(4..).expect("a length"),
        };
        assert_well_formed(&self.column_type, field);
        Ok(Some(field.to_vec()))
    }
}

/// A message that fits on a line of a log.
pub(crate) fn assert_shown(rejection: &Rejection) {
    let message = &rejection.message;
    assert!(!message.is_empty() && message.len() <= MOST_MESSAGE_BYTES, "{message}");
    assert!(!message.contains(char::is_control), "{message:?}");
}

/// All encodings of `types`; times with every epoch as well.
pub(crate) fn all(types: &[ColumnType]) -> Vec<Encoding> {
    let units = [EpochUnit::S, EpochUnit::Ms, EpochUnit::Us, EpochUnit::Ns];
    let mut encodings = Vec::new();
    for column_type in types {
        encodings.push(Encoding::new(column_type.clone(), None, 0));
        if types::times().contains(column_type) {
            encodings.extend(units.map(|unit| Encoding::new(column_type.clone(), Some(unit), 0)));
        }
    }
    encodings
}

/// The input as a JSON value, or else as a string, in columns of `types`.
fn values(types: Vec<ColumnType>) -> Try {
    let mut format = JsonFormat::new(&["v".into()]);
    let mut encodings = all(&types);
    Box::new(move |input| {
        let mut spans = [Span::ABSENT];
        let mut payload = [b"{\"v\":", input, b"}"].concat();
        if format.decode(&record(&payload), &mut spans).is_err() {
            let text = serde_json::to_vec(&String::from_utf8_lossy(input)).unwrap();
            payload = [b"{\"v\":", &text[..], b"}"].concat();
            format.decode(&record(&payload), &mut spans).expect("a string is a value");
        }
        let row = Row::new(&payload, &spans, Change::Put);
        for encoding in &mut encodings {
            encoding.encode(&record(&payload), &row);
        }
    })
}

pub(crate) fn number() -> Try {
    values(types::numbers())
}

pub(crate) fn time() -> Try {
    values(types::times())
}

pub(crate) fn interval() -> Try {
    values(vec![ColumnType::Interval, ColumnType::Time, ColumnType::Timetz])
}

pub(crate) fn address() -> Try {
    values(types::addresses())
}

pub(crate) fn text() -> Try {
    values(types::texts())
}

pub(crate) fn document() -> Try {
    values(types::documents())
}

pub(crate) fn structure() -> Try {
    values(types::structures())
}

/// Names and values, from the lines of the input.
struct Lines<'a>(&'a [u8]);

impl Lines<'_> {
    fn pairs(&self) -> impl Iterator<Item = (String, Option<&[u8]>)> {
        let mut lines = self.0.split(|byte| *byte == b'\n');
        std::iter::from_fn(move || {
            let name = String::from_utf8_lossy(lines.next()?).into_owned();
            Some((name, lines.next()))
        })
    }
}

impl Headers for Lines<'_> {
    fn for_each(&self, visit: &mut dyn FnMut(&str, Option<&[u8]>)) {
        self.pairs().for_each(|(name, value)| visit(&name, value));
    }
}

/// The record's own facts, in every type that takes them.
pub(crate) fn metadata() -> Try {
    use Metadata::{Headers, Key, Offset, Partition, Payload, Timestamp, Topic};
    let mut encodings: Vec<(Metadata, Encoding)> = Vec::new();
    for metadata in [Topic, Partition, Offset, Timestamp, Key, Headers, Payload] {
        for column_type in types::all() {
            let units = [None, Some(EpochUnit::S), Some(EpochUnit::Ns)];
            for unit in &units[..if metadata == Timestamp { 3 } else { 1 }] {
                let encoding = Encoding::of(column_type.clone(), *unit, Feed::Metadata(metadata));
                encodings.extend(encoding.map(|encoding| (metadata, encoding)));
            }
        }
    }
    Box::new(move |input| {
        let topic = String::from_utf8_lossy(input).replace('\0', "");
        let headers = Lines(input);
        let number = |from: usize| {
            let bytes = input.get(from..).and_then(|rest| rest.first_chunk::<8>());
            bytes.map_or(i64::MIN + from as i64, |bytes| i64::from_be_bytes(*bytes))
        };
        let record = Record {
            topic: &topic,
            partition: number(1) as i32,
            offset: number(0),
            timestamp_ms: Some(number(2)),
            key: Some(input),
            value: Some(input),
            headers: Some(&headers),
        };
        for (metadata, encoding) in &mut encodings {
            let field = encoding.encode(&record, &Row::new(input, &[], Change::Put));
            if let (Headers, ColumnType::Json, Some(object)) =
                (*metadata, &encoding.column_type, field)
            {
                assert_headers(&headers, &object);
            }
        }
    })
}

/// Every header is in the object, under its name and in its order. (Not for the large inputs: this
/// looks at all headers for each of them.)
fn assert_headers(headers: &Lines<'_>, object: &[u8]) {
    if object.len() > MOST_CHECKED_BYTES {
        return;
    }
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(object).expect("an object");
    for (name, _) in headers.pairs() {
        let values: Vec<Option<&[u8]>> =
            headers.pairs().filter(|(other, _)| *other == name).map(|(_, value)| value).collect();
        let found = match &object[&name] {
            serde_json::Value::Array(found) => found.clone(),
            found => vec![found.clone()],
        };
        assert_eq!(found.len(), values.len(), "{name}");
        for (found, value) in found.iter().zip(values) {
            let text =
                value.and_then(|v| std::str::from_utf8(v).ok()).filter(|t| !t.contains('\0'));
            match (value, text) {
                (None, _) => assert!(found.is_null()),
                (Some(_), Some(text)) => assert_eq!(found.as_str(), Some(text)),
                (Some(bytes), None) => {
                    let length = bytes.len().div_ceil(3) * 4;
                    assert_eq!(found.as_str().map(str::len), Some(length), "base64");
                }
            }
        }
    }
}
