//! The step from a record to a batch: decode once, encode for a target, or put aside. Partition
//! threads and the replay of dead letters take the same one.

use std::time::Instant;

use crate::{
    batch::{Batch, Layout},
    config::FormatKind,
    error::Error,
    filter::Filter,
    format::{DebeziumFormat, Format, JsonFormat, RawFormat, avro, csv, protobuf},
    metrics,
    record::Record,
    registry::Away,
    rejection::{Reason, Rejection},
    row::{Change, Row, Span},
    selector::Selector,
    sink::{Encoder, OnDelete, Target, Wish},
};

/// Decodes records for the targets of a route.
pub(crate) struct Decoder {
    format: Box<dyn Format>,
    spans: Vec<Span>,
    change: Change,
    kind: FormatKind,
    max_record_bytes: usize,
}

impl Decoder {
    /// A decoder for rows of `selectors`; a record of more than `max_record_bytes` is not decoded. A new
    /// format is one line here.
    pub(crate) fn new(kind: &FormatKind, selectors: &[Selector], max_record_bytes: usize) -> Self {
        let format: Box<dyn Format> = match kind {
            FormatKind::Json => Box::new(JsonFormat::new(selectors)),
            FormatKind::Debezium => Box::new(DebeziumFormat::new(selectors)),
            FormatKind::Avro(registry) => avro::format(registry, selectors),
            FormatKind::Protobuf(registry) => protobuf::format(registry, selectors),
            FormatKind::Csv(options) => csv(options, selectors),
            FormatKind::Raw => Box::new(RawFormat::new(selectors)),
        };
        let spans = vec![Span::ABSENT; selectors.len()];
        Self { format, spans, change: Change::Put, kind: kind.clone(), max_record_bytes }
    }

    /// A decoder for rows of other selectors.
    pub(crate) fn over(&self, selectors: &[Selector]) -> Self {
        Self::new(&self.kind, selectors, self.max_record_bytes)
    }

    /// Gets what `record` cannot be read without; see [`Format::prepare`].
    ///
    /// # Errors
    /// When it is not to be had now.
    pub(crate) fn prepare(&mut self, record: &Record<'_>) -> Result<(), Away> {
        self.format.prepare(record)
    }

    /// Finds the fields of `record`, for [`Decoder::row`].
    ///
    /// # Errors
    /// When the record as a whole is not what it should be; the row is then unspecified.
    pub(crate) fn decode(&mut self, record: &Record<'_>) -> Result<(), Rejection> {
        let size = record.value.map_or(0, <[u8]>::len);
        if size > self.max_record_bytes {
            let bound = self.max_record_bytes;
            let message = format!("the payload has {size} bytes; max_record_bytes is {bound}");
            return Err(Rejection::record(Reason::TooLarge, message));
        }
        self.change = self.format.decode(record, &mut self.spans)?;
        Ok(())
    }

    /// As `decode`, for a record that another decoder was prepared for: the registry keeps the schemas
    /// that it has found, so there is nothing to wait for. Of any other the rejection says so.
    pub(crate) fn decode_again(&mut self, record: &Record<'_>) -> Result<(), Rejection> {
        let _known = self.prepare(record);
        self.decode(record)
    }

    /// The row of `record`, which is the last one that was decoded.
    pub(crate) fn row<'a>(&'a self, record: &Record<'a>) -> Row<'a> {
        Row::new(self.format.text(record), &self.spans, self.change)
    }
}

/// The way of records into the batches of one lane.
pub(crate) struct Intake {
    pub(crate) encoder: Box<dyn Encoder>,
    pub(crate) filter: Option<Filter>,
    /// Whether a batch keeps the records behind its rows.
    pub(crate) keeps_originals: bool,
}

impl Intake {
    /// The way to `target`, for rows of `selectors` that `filter` wants.
    ///
    /// # Errors
    /// When the target gives no encoder.
    pub(crate) fn new(
        target: &dyn Target,
        filter: Option<&Filter>,
        selectors: &[Selector],
    ) -> Result<Self, Error> {
        Ok(Self {
            encoder: target.encoder(selectors)?,
            filter: filter.map(|filter| filter.over(selectors)),
            keeps_originals: target.may_refuse(),
        })
    }

    /// Takes `record` into `batch`: as a row, as a dead letter, or as one that was passed over.
    pub(crate) fn take(
        &mut self,
        batch: &mut Batch,
        record: &Record<'_>,
        decoded: Result<Row<'_>, &Rejection>,
    ) {
        let encoded = match decoded {
            Ok(row) => self.encode(batch, record, &row),
            Err(rejection) => Err(rejection.clone()),
        };
        self.enter(batch, record, encoded);
    }

    /// As `take`; but where the target might become what takes the row, gives that, and `batch` is as
    /// it was.
    #[inline]
    pub(crate) fn offer(
        &mut self,
        batch: &mut Batch,
        record: &Record<'_>,
        decoded: Result<Row<'_>, &Rejection>,
    ) -> Option<Wish> {
        let encoded = match decoded {
            Ok(row) => match self.encode(batch, record, &row) {
                Err(rejection) => match self.encoder.wish(&row, &rejection) {
                    Some(wish) => return Some(wish),
                    None => Err(rejection),
                },
                encoded => encoded,
            },
            Err(rejection) => Err(rejection.clone()),
        };
        self.enter(batch, record, encoded);
        None
    }

    /// As `take`, where the target was asked to become what takes the row, and refused.
    pub(crate) fn take_refused(
        &mut self,
        batch: &mut Batch,
        record: &Record<'_>,
        decoded: Result<Row<'_>, &Rejection>,
        why: &str,
    ) {
        let encoded = match decoded {
            Ok(row) => self.encode(batch, record, &row),
            Err(rejection) => Err(rejection.clone()),
        };
        let encoded = encoded.map_err(|mut rejection| {
            rejection.message = format!("{}; {why}", rejection.message);
            rejection
        });
        self.enter(batch, record, encoded);
    }

    /// Encodes the records behind the rows of `batch` once more, for a target that has changed. What
    /// is no row stays as it is, and a row that does not fit any more becomes a dead letter.
    pub(crate) fn take_again(
        &mut self,
        batch: &mut Batch,
        decoder: &mut Decoder,
        topic: &str,
        partition: i32,
    ) {
        for original in batch.take_back().originals() {
            let record = original.record(topic, partition);
            let decoded = decoder.decode_again(&record);
            let encoded = match decoded {
                Ok(()) => self.encode(batch, &record, &decoder.row(&record)),
                Err(rejection) => Err(rejection),
            };
            self.count(batch, &record, encoded);
        }
    }

    #[inline]
    fn enter(
        &mut self,
        batch: &mut Batch,
        record: &Record<'_>,
        encoded: Result<Option<Layout>, Rejection>,
    ) {
        self.count(batch, record, encoded);
        batch.cover(record, Instant::now);
    }

    #[inline]
    fn count(
        &mut self,
        batch: &mut Batch,
        record: &Record<'_>,
        encoded: Result<Option<Layout>, Rejection>,
    ) {
        match encoded {
            Ok(Some(layout)) => {
                let origin = self.keeps_originals.then(|| batch.keep_original(record));
                let segment = batch.segment(layout);
                segment.rows += 1;
                segment.origins.extend(origin);
            }
            Ok(None) => batch.filtered += 1,
            Err(rejection) => {
                metrics::dead_letter(rejection.reason);
                batch.reject(record, rejection);
            }
        }
    }

    /// Appends the row; `None` if none is wanted.
    #[inline]
    fn encode(
        &mut self,
        batch: &mut Batch,
        record: &Record<'_>,
        row: &Row<'_>,
    ) -> Result<Option<Layout>, Rejection> {
        let on_delete = match row.change() {
            Change::Put => None,
            Change::Delete => Some(self.encoder.on_delete()),
            Change::Nothing => return Ok(None),
        };
        // A row that was wanted once is to be deleted, whatever the tombstone lacks.
        if on_delete != Some(OnDelete::Take)
            && let Some(filter) = &self.filter
            && !filter.wants(record, row)?
        {
            return Ok(None);
        }
        match on_delete {
            None | Some(OnDelete::Take) => {}
            Some(OnDelete::Ignore) => return Ok(None),
            Some(OnDelete::DeadLetter) => {
                let message = "the record is a tombstone (no payload)";
                return Err(Rejection::record(Reason::Tombstone, message));
            }
        }
        let layout = self.encoder.layout(row);
        let segment = batch.segment(layout);
        self.encoder.encode(record, row, layout, &mut segment.bytes)?;
        Ok(Some(layout))
    }
}
