//! The steps of a partition thread, each for all orders.

use std::{hint::black_box, sync::Arc, time::Instant};

use tidegate::{
    batch::{Batch, Layout},
    format::{Format as _, JsonFormat},
    row::{Change, Row, Span},
    selector::{Pointer, Selector},
    sink::postgres::encode::RowEncoder,
};

use crate::orders::{columns, orders, record};

/// Columns of the table.
const COLUMNS: usize = 9;

pub(crate) struct Steps {
    orders: Vec<String>,
    format: JsonFormat,
    mapped: JsonFormat,
    encoder: RowEncoder,
    decoded: Vec<[Span; COLUMNS]>,
    out: Vec<u8>,
    batch: Batch,
}

impl Steps {
    pub(crate) fn new() -> Self {
        let orders = orders();
        let columns = columns();
        let names: Vec<Selector> =
            columns.iter().map(|column| column.name.as_str().into()).collect();
        let mut format = JsonFormat::new(&names);
        let mut spans = [Span::ABSENT; COLUMNS];
        let decoded = orders
            .iter()
            .map(|order| {
                format.decode(&record(order), &mut spans).expect("an order is JSON");
                spans
            })
            .collect();
        Self {
            orders,
            format,
            mapped: JsonFormat::new(&mapping()),
            encoder: RowEncoder::new(columns).expect("the columns can be encoded"),
            decoded,
            out: Vec::new(),
            batch: Batch::new(0),
        }
    }

    /// Finds the fields.
    pub(crate) fn decode(&mut self) {
        let mut spans = [Span::ABSENT; COLUMNS];
        for order in &self.orders {
            self.format.decode(&record(order), &mut spans).expect("an order is JSON");
            black_box(&spans);
        }
    }

    /// Finds fields by pointers and in whatever spelling, and the rest.
    pub(crate) fn decode_mapped(&mut self) {
        let mut spans = [Span::ABSENT; 4];
        for order in &self.orders {
            self.mapped.decode(&record(order), &mut spans).expect("an order is JSON");
            black_box(&spans);
        }
    }

    /// Encodes the fields.
    pub(crate) fn encode(&mut self) {
        self.out.clear();
        for (order, spans) in self.orders.iter().zip(&self.decoded) {
            let row = Row::new(order.as_bytes(), spans, Change::Put);
            let absent = self.encoder.absent(&row);
            let encoded = self.encoder.encode(&record(order), &row, absent, &mut self.out);
            encoded.expect("an order fits");
        }
        black_box(&self.out);
    }

    /// Takes records into a batch, which keeps copies of them.
    pub(crate) fn batch(&mut self) {
        self.batch.reset(0);
        for (offset, order) in self.orders.iter().enumerate() {
            enter(&mut self.batch, offset, order, |_| {});
        }
        black_box(&self.batch);
    }

    /// All of it, as a partition thread does.
    pub(crate) fn all(&mut self) {
        self.batch.reset(0);
        let mut spans = [Span::ABSENT; COLUMNS];
        for (offset, order) in self.orders.iter().enumerate() {
            self.format.decode(&record(order), &mut spans).expect("an order is JSON");
            let row = Row::new(order.as_bytes(), &spans, Change::Put);
            let absent = self.encoder.absent(&row);
            enter(&mut self.batch, offset, order, |out| {
                let encoded = self.encoder.encode(&record(order), &row, absent, out);
                encoded.expect("an order fits");
            });
        }
        black_box(&self.batch);
    }
}

/// Takes a record into `batch`, as a row that `encode` appends.
fn enter(batch: &mut Batch, offset: usize, order: &str, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut record = record(order);
    record.offset = offset as i64;
    // Some thousand records a second: a run of the same time is some records long.
    record.timestamp_ms = Some(offset as i64 / 16);
    let origin = batch.keep_original(&record);
    let segment = batch.segment(Layout::default());
    encode(&mut segment.bytes);
    segment.rows += 1;
    segment.origins.push(origin);
    batch.cover(&record, Instant::now);
}

/// What a mapping may ask for.
fn mapping() -> Vec<Selector> {
    let names = ["order_id", "status", "amount"];
    vec![
        Selector::Field("order_id".to_owned()),
        Selector::Spelling("status".to_owned()),
        Selector::Pointer(Pointer::parse("/amount").expect("a pointer")),
        Selector::Rest { except: Arc::new(names.map(str::to_owned).into()) },
    ]
}
