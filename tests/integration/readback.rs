//! What is encoded here, and what Postgres itself makes of the same text.
//!
//! Values as producers write them, right and wrong, go through the real encoder and binary COPY into
//! a column; beside it, Postgres reads the value's text. Where both take it, both must show the
//! same. Where only one takes it, the table of types in docs/tables.md must say so.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{SinkExt as _, pin_mut};
use stack::Client;
use tidegate::{
    config,
    format::{Format, JsonFormat},
    record::Record,
    row::{Change, Row, Span},
    shutdown::Shutdown,
    sink::postgres::{
        PostgresSink,
        column::{Column, ColumnType, Feed, Metadata, Reading},
        encode::{HEADER, RowEncoder, TRAILER},
    },
};
use tokio_postgres::{NoTls, binary_copy::BinaryCopyInWriter, types::Type};

use self::cases::{CASES, Case};
use crate::support::postgres;

mod cases;
mod dice;
mod notations;
mod structures;
mod writing;

/// Rows that both take, in all columns together.
const ACCEPTED: usize = 100_000;

#[test]
fn a_hundred_thousand_rows_read_back_as_postgres_reads_their_texts() {
    let database = Database::new("readback");
    // A twentieth more, as some of what is taken here Postgres does not read.
    let cases: Vec<&Case> = CASES.iter().chain(&structures::CASES).collect();
    let quota = (ACCEPTED + ACCEPTED / 20).div_ceil(cases.len());
    let (mut accepted, mut faults, mut explained) = (0, Vec::new(), BTreeMap::new());
    for (index, case) in cases.into_iter().enumerate() {
        let values = Values::make(case, database.column_type(case), quota, index as u64);
        for outcome in database.compare(case, &values) {
            match outcome.judge(case) {
                Ok(None) => accepted += 1,
                Ok(Some(explanation)) => {
                    *explained.entry((case.name, explanation)).or_insert(0) += 1
                }
                Err(fault) => faults.push(fault),
            }
        }
    }
    println!("readback: accepted={accepted} faults={}", faults.len());
    for ((name, explanation), count) in explained {
        println!("readback: {name}: {explanation}: {count}");
    }
    // Some of each column: a fault seldom comes alone.
    let column = |fault: &String| fault.split(':').next().map(str::to_owned);
    let shown: Vec<&String> = faults
        .chunk_by(|a, b| column(a) == column(b))
        .flat_map(|some| some.iter().take(6))
        .collect();
    assert!(faults.is_empty(), "{} faults: {shown:#?}", faults.len());
    assert!(accepted >= ACCEPTED, "only {accepted} rows were taken by both");
}

/// The values of one column: as JSON, and the rows that those became which were taken.
struct Values {
    json: Vec<String>,
    taken: Vec<Result<(), String>>,
    encoded: Vec<u8>,
}

impl Values {
    /// Makes values until so many were taken.
    fn make(case: &Case, column_type: ColumnType, quota: usize, seed: u64) -> Self {
        let mut dice = dice::Dice::new(seed);
        let mut encoder = RowEncoder::new(vec![
            column("n", ColumnType::Int4, Feed::Metadata(Metadata::Offset)),
            Column {
                reading: Reading { epoch_unit: case.unit, ..Reading::default() },
                ..column("v", column_type, Feed::Field(0))
            },
        ])
        .unwrap();
        let mut format = JsonFormat::new(&["v".into()]);
        let mut values = Self { json: Vec::new(), taken: Vec::new(), encoded: HEADER.to_vec() };
        let mut accepted = 0;
        while accepted < quota {
            let json = if dice.once_in(50) { "null".to_owned() } else { (case.make)(&mut dice) };
            let payload = format!("{{\"v\":{json}}}");
            let record = record(values.json.len() as i64, payload.as_bytes());
            let mut spans = [Span::ABSENT];
            let decoded = format.decode(&record, &mut spans);
            let taken = decoded.and_then(|change| {
                let row = Row::new(payload.as_bytes(), &spans, change);
                encoder.encode(&record, &row, encoder.absent(&row), &mut values.encoded)
            });
            accepted += usize::from(taken.is_ok());
            values.taken.push(taken.map_err(|rejection| rejection.message));
            values.json.push(json);
        }
        values.encoded.extend_from_slice(&TRAILER);
        values
    }
}

fn column(name: &str, column_type: ColumnType, feed: Feed) -> Column {
    Column {
        name: name.to_owned(),
        column_type,
        not_null: false,
        has_default: false,
        reading: Reading::default(),
        feed,
        fallback: None,
    }
}

fn record(offset: i64, value: &[u8]) -> Record<'_> {
    Record {
        topic: "t",
        partition: 0,
        offset,
        timestamp_ms: None,
        key: None,
        value: Some(value),
        headers: None,
    }
}

/// What has become of one value.
struct Outcome {
    json: String,
    taken: Result<(), String>,
    /// What the column shows.
    ours: Option<String>,
    /// What Postgres shows of the value's text, if it took it.
    theirs: Option<String>,
}

impl Outcome {
    /// `None` if both take it and show the same, or why only one of them takes it.
    fn judge(&self, case: &Case) -> Result<Option<&'static str>, String> {
        let Self { json, taken, ours, theirs } = self;
        let explanation = match (taken, theirs) {
            (Ok(()), Some(_)) if ours == theirs => return Ok(None),
            (Ok(()), None) if ours.is_none() && json == "null" => return Ok(None),
            (Ok(()), Some(_)) => None,
            (Err(_), None) => Some("refused by both"),
            (Ok(()), None) => (case.only_ours)(&cases::text_of(json)),
            (Err(message), Some(_)) => (case.only_theirs)(&cases::text_of(json), message),
        };
        let name = case.name;
        explanation.map(Some).ok_or_else(|| {
            format!("{name}: {json}: taken {taken:?}, shows {ours:?}, Postgres shows {theirs:?}")
        })
    }
}

struct Database {
    sql: Client,
    url: String,
    runtime: tokio::runtime::Runtime,
    sink: PostgresSink,
}

impl Database {
    fn new(name: &str) -> Self {
        let url = postgres().create_database(name).unwrap();
        let sql = Client::connect(&url).unwrap();
        sql.execute("SET timezone = 'UTC'").unwrap();
        sql.execute(structures::TYPES).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let config =
            config::PostgresSink { url: config::Secret::new(&*url), writers: 1, ca_file: None };
        let (handle, patience) = (runtime.handle().clone(), Duration::ZERO);
        let sink = PostgresSink::new("s", &config, handle, Shutdown::default(), patience).unwrap();
        Self { sql, url, runtime, sink }
    }

    /// Makes the tables of the case; gives the column's type as the catalog tells it.
    fn column_type(&self, case: &Case) -> ColumnType {
        let Case { sql_type, reads, shown_type, .. } = case;
        // A variable and not a cast: it reads a text as INSERT does, with the type's modifier.
        self.sql
            .execute(&format!(
                "DROP TABLE IF EXISTS ours, texts; DROP FUNCTION IF EXISTS read_it(text); \
                 CREATE TABLE ours (n int, v {sql_type}); CREATE TABLE texts (n int, j text); \
                 CREATE FUNCTION read_it(j text) RETURNS text AS $$ \
                 DECLARE x {shown_type}; BEGIN {reads}; RETURN x::text; \
                 EXCEPTION WHEN others THEN RETURN NULL; END $$ LANGUAGE plpgsql"
            ))
            .unwrap();
        let name = config::TableName { schema: None, name: "ours".to_owned() };
        let table = self.sink.table(&name).unwrap().unwrap();
        let column_type = table.columns[1].column_type.clone();
        assert!(column_type.has_encoder(), "{sql_type}");
        column_type
    }

    fn compare(&self, case: &Case, values: &Values) -> Vec<Outcome> {
        let shows = case.shows;
        self.runtime.block_on(self.copy(case, values)).unwrap_or_else(|error| {
            panic!("{}: Postgres refuses what was taken: {error:?}", case.name)
        });
        let rows = self.sql.query_text(&format!(
            "SELECT n, ({shows})::text, read_it(j) FROM texts LEFT JOIN ours USING (n) ORDER BY n"
        ));
        let rows = rows.unwrap();
        assert_eq!(rows.len(), values.json.len());
        let outcomes = rows.into_iter().zip(&values.json).zip(&values.taken);
        outcomes
            .map(|((mut row, json), taken)| {
                let (theirs, ours) = (row.pop().flatten(), row.pop().flatten());
                Outcome { json: json.clone(), taken: taken.clone(), ours, theirs }
            })
            .collect()
    }

    async fn copy(&self, case: &Case, values: &Values) -> Result<(), tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        let connection = tokio::spawn(connection);
        let sink = client.copy_in("COPY ours (n, v) FROM STDIN (FORMAT binary)").await?;
        pin_mut!(sink);
        sink.send(bytes::Bytes::copy_from_slice(&values.encoded)).await?;
        sink.finish().await?;
        let sink = client.copy_in("COPY texts (n, j) FROM STDIN (FORMAT binary)").await?;
        let writer = BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT]);
        pin_mut!(writer);
        for (n, json) in values.json.iter().enumerate() {
            let text = if json == "null" {
                None
            } else if case.is_document() {
                Some(json.clone())
            } else {
                cases::storable(json)
            };
            writer.as_mut().write(&[&(n as i32), &text]).await?;
        }
        writer.finish().await?;
        drop(client);
        connection.await.unwrap()
    }
}

/// Columns that some of the rows leave to their defaults, and NULL wherever it is sent.
#[test]
fn defaults_and_nulls_are_where_insert_would_put_them() {
    const ROWS: usize = 5_000;
    const COLUMNS: [(&str, &str, ColumnType, Option<&str>, &str); 4] = [
        ("a", "int", ColumnType::Int4, Some("7"), "-12"),
        ("b", "text", ColumnType::Text { max_chars: None }, Some("'none'"), "\"\""),
        (
            "c",
            "timestamptz",
            ColumnType::Timestamptz,
            Some("'2026-01-01Z'"),
            "\"1999-12-31T00:00Z\"",
        ),
        ("d", "numeric(12,2)", ColumnType::Numeric { limits: Some((12, 2)) }, None, "0.005"),
    ];
    let database = Database::new("readback-defaults");
    let columns = COLUMNS.iter().enumerate().map(|(index, (name, _, column_type, default, _))| {
        let has_default = default.is_some();
        Column { has_default, ..column(name, column_type.clone(), Feed::Field(index)) }
    });
    let offset = column("n", ColumnType::Int4, Feed::Metadata(Metadata::Offset));
    let mut encoder = RowEncoder::new(columns.chain([offset]).collect()).unwrap();
    let mut format = JsonFormat::new(&COLUMNS.map(|(name, ..)| name.into()));
    let (mut batch, mut dice, mut payloads) =
        (tidegate::batch::Batch::new(0), dice::Dice::new(1), Vec::new());
    for n in 0..ROWS {
        let fields = COLUMNS.iter().filter_map(|(name, .., value)| match dice.below(3) {
            0 => None,
            1 => Some(format!("\"{name}\":null")),
            _ => Some(format!("\"{name}\":{value}")),
        });
        let payload = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
        let mut spans = [Span::ABSENT; COLUMNS.len()];
        let record = record(n as i64, payload.as_bytes());
        format.decode(&record, &mut spans).unwrap();
        let row = Row::new(payload.as_bytes(), &spans, Change::Put);
        let layout = encoder.absent(&row);
        encoder.encode(&record, &row, layout, &mut batch.segment(layout).bytes).unwrap();
        batch.segment(layout).rows += 1;
        payloads.push(payload);
    }
    let defined = COLUMNS.iter().map(|(name, sql_type, _, default, _)| {
        let default = default.map(|default| format!("DEFAULT {default}")).unwrap_or_default();
        format!("{name} {sql_type} {default}")
    });
    let defined = defined.collect::<Vec<_>>().join(", ");
    let create = format!("CREATE TABLE t (n int, {defined}); CREATE TABLE e (n int, j jsonb)");
    database.sql.execute(&create).unwrap();
    database.runtime.block_on(copy_segments(&database.url, &encoder, &batch)).unwrap();
    for (n, payload) in payloads.iter().enumerate() {
        database.sql.execute(&format!("INSERT INTO e VALUES ({n}, '{payload}')")).unwrap();
    }
    let expected = COLUMNS.iter().map(|(name, sql_type, _, default, _)| {
        let default = default.unwrap_or("NULL");
        format!("CASE WHEN j ? '{name}' THEN (j->>'{name}')::{sql_type} ELSE {default} END")
    });
    let expected = expected.collect::<Vec<_>>().join(", ");
    let difference =
        format!("SELECT count(*) FROM (TABLE t EXCEPT ALL SELECT n, {expected} FROM e) AS other");
    assert_eq!(database.sql.query_one_i64("SELECT count(*) FROM t").unwrap(), ROWS as i64);
    assert_eq!(database.sql.query_one_i64(&difference).unwrap(), 0);
    assert!(batch.segments.len() == 8, "every set of columns with a default");
}

async fn copy_segments(
    url: &str,
    encoder: &RowEncoder,
    batch: &tidegate::batch::Batch,
) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    for segment in &batch.segments {
        let names: Vec<&str> =
            encoder.columns_for(segment.layout).map(|column| column.name.as_str()).collect();
        let sql = format!("COPY t ({}) FROM STDIN (FORMAT binary)", names.join(", "));
        let sink = client.copy_in(&sql).await?;
        pin_mut!(sink);
        let bytes = [&HEADER[..], &segment.bytes, &TRAILER].concat();
        sink.send(bytes::Bytes::from(bytes)).await?;
        sink.finish().await?;
    }
    drop(client);
    connection.await.unwrap()
}
