//! The orders that the benches of the codec read, and the table that they go into.

use tidegate::{
    record::Record,
    sink::postgres::column::{Column, ColumnType, Feed, Reading},
};

/// As many orders as a batch may have; more than the branch predictor learns by heart.
pub(crate) const ORDERS: usize = 10_000;

/// The columns of the table, each of the field of its name.
pub(crate) fn columns() -> Vec<Column> {
    [
        ("order_id", ColumnType::Int8),
        ("customer_id", ColumnType::Int8),
        ("status", ColumnType::Text { max_chars: None }),
        ("amount", ColumnType::Numeric { limits: Some((12, 2)) }),
        ("currency", ColumnType::Text { max_chars: None }),
        ("item_count", ColumnType::Int4),
        ("express", ColumnType::Bool),
        ("created_at", ColumnType::Timestamptz),
        ("note", ColumnType::Text { max_chars: None }),
    ]
    .into_iter()
    .enumerate()
    .map(|(index, (name, column_type))| Column {
        name: name.to_owned(),
        column_type,
        not_null: name != "note",
        has_default: false,
        reading: Reading::default(),
        feed: Feed::Field(index),
        fallback: None,
    })
    .collect()
}

/// Orders that differ in every field, the same ones in every run.
pub(crate) fn orders() -> Vec<String> {
    let statuses = ["created", "paid", "shipped", "delivered", "removed"];
    let currencies = ["USD", "EUR", "VND", "JPY"];
    let notes = [
        r#""leave at the door""#,
        r#""""#,
        r#""gift ✨ wrap""#,
        r#""call \\ \"first\"""#,
        r#""réception""#,
        r#""line1\nline2""#,
        "null",
    ];
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    (0..ORDERS)
        .map(|i| {
            format!(
                concat!(
                    r#"{{"order_id":{},"customer_id":{},"status":"{}","amount":{}.{:02},"#,
                    r#""currency":"{}","item_count":{},"express":{},"#,
                    r#""created_at":"2026-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z","note":{}}}"#
                ),
                1_000_000 + i,
                random(200_000),
                statuses[random(statuses.len())],
                random(900) + 1,
                random(100),
                currencies[random(currencies.len())],
                random(9) + 1,
                random(5) == 0,
                random(12) + 1,
                random(28) + 1,
                random(24),
                random(60),
                random(60),
                random(1_000),
                notes[random(notes.len())],
            )
        })
        .collect()
}

/// The record whose payload is `payload`.
pub(crate) fn record(payload: &str) -> Record<'_> {
    Record {
        topic: "orders",
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        value: Some(payload.as_bytes()),
        headers: None,
    }
}
