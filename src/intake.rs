//! The step from a record to a batch: decode once, encode for a target, or put aside. Partition
//! threads and the replay of dead letters take the same one.

use std::time::Instant;

use crate::{
    batch::Batch,
    config::FormatKind,
    format::{Format, JsonFormat, RawFormat},
    metrics,
    record::Record,
    rejection::{Reason, Rejection},
    row::{Change, Row, Span},
    selector::Selector,
    sink::Encoder,
};

/// Decodes records for the targets of a route.
pub(crate) struct Decoder {
    format: Box<dyn Format>,
    spans: Vec<Span>,
    change: Change,
    max_record_bytes: usize,
}

impl Decoder {
    /// A decoder for rows of `selectors`; a record of more than `max_record_bytes` is not decoded. A new
    /// format is one line here.
    pub(crate) fn new(format: FormatKind, selectors: &[Selector], max_record_bytes: usize) -> Self {
        let format: Box<dyn Format> = match format {
            FormatKind::Json => Box::new(JsonFormat::new(selectors)),
            FormatKind::Raw => Box::new(RawFormat::new(selectors)),
        };
        let spans = vec![Span::ABSENT; selectors.len()];
        Self { format, spans, change: Change::Put, max_record_bytes }
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

    /// The row of `record`, which is the last one that was decoded.
    pub(crate) fn row<'a>(&'a self, record: &Record<'a>) -> Row<'a> {
        Row::new(self.format.text(record), &self.spans, self.change)
    }
}

/// Takes `record` into `batch`: as a row, as a dead letter, or as one that was passed over.
pub(crate) fn take(
    batch: &mut Batch,
    encoder: &mut dyn Encoder,
    keeps_originals: bool,
    record: &Record<'_>,
    decoded: Result<Row<'_>, &Rejection>,
) {
    let encoded = match decoded {
        Ok(row) if row.change() == Change::Nothing => {
            batch.filtered += 1;
            return batch.cover(record, Instant::now);
        }
        Ok(row) if row.change() == Change::Delete && !encoder.takes_deletes() => {
            let message = "the record is a tombstone (no payload)";
            Err(Rejection::record(Reason::Tombstone, message))
        }
        Ok(row) => {
            let layout = encoder.layout(&row);
            let segment = batch.segment(layout);
            let encoded = encoder.encode(record, &row, layout, &mut segment.bytes);
            encoded.map(|()| layout)
        }
        Err(rejection) => Err(rejection.clone()),
    };
    match encoded {
        Ok(layout) => {
            let origin = keeps_originals.then(|| batch.keep_original(record));
            let segment = batch.segment(layout);
            segment.rows += 1;
            segment.origins.extend(origin);
        }
        Err(rejection) => {
            metrics::dead_letter(rejection.reason);
            batch.reject(record, rejection);
        }
    }
    batch.cover(record, Instant::now);
}
