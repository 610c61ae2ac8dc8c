//! What a target would write, without writing it: for `tidegate plan`.
//!
//! Postgres itself shows the rows: they are copied into a temporary table of the target's column types,
//! in a transaction that is rolled back.

use std::sync::Arc;

use bytes::Bytes;
use deadpool_postgres::Object;
use futures_util::SinkExt as _;

use super::{
    PostgresSink,
    catalog::{self, Table, quote_identifier},
    column::{Column, Feed},
    ddl,
    encode::{HEADER, TRAILER},
    growth::Lineage,
    look,
    sqlstate::PgError,
    table::PgTarget,
};
use crate::{
    batch::{Batch, Layout},
    config::{self, OnMissingTable, TableName},
    detect,
    error::Error,
    filter::Filter,
    intake::Intake,
    record::Record,
    rejection::{Reason, Rejection},
    row::Row,
    selector::Selector,
    sink::{Target as _, TargetId},
};

/// What a target would do.
pub(crate) struct Planned {
    /// What makes the missing table.
    pub(crate) ddl: Option<String>,
    /// Name, type and feed of each column.
    pub(crate) columns: Vec<[String; 3]>,
    /// Fields of the sample that feed nothing.
    pub(crate) unused: Vec<Selector>,
    /// Records, as `topic[partition]@offset`, and what becomes of them.
    pub(crate) rows: Vec<(String, Shown)>,
}

/// What becomes of a record.
pub(crate) enum Shown {
    /// The columns with their values.
    Row(Vec<(String, String)>),
    /// It deletes a row.
    Delete,
    /// It is passed over.
    Unwanted,
    /// It cannot become a row.
    DeadLetter(Rejection),
}

/// A record that was encoded, or not.
enum Encoded {
    Row(Layout, Vec<u8>),
    Other(Shown),
}

type Show<'a> = dyn FnMut(&Record<'_>, Result<Row<'_>, &Rejection>) + 'a;

impl PostgresSink {
    /// Plans the target: `decode` is given the selectors, and shows the records decoded.
    ///
    /// # Errors
    /// When the database cannot be asked or the table cannot be written.
    pub(crate) fn plan(
        &self,
        target: &config::Target,
        samples: &[Vec<u8>],
        mut decode: impl FnMut(&[Selector], &mut Show<'_>),
    ) -> Result<Planned, Error> {
        let Some(name) = &target.table else {
            return Err(Error::config("a postgres sink needs a table"));
        };
        let fields = detect::detect(samples);
        let ddl = match self.table(name)? {
            Some(_) => None,
            None if target.on_missing_table == OnMissingTable::Create => {
                Some(ddl::plan(target, samples)?.join("\n"))
            }
            None => return Err(self.missing(name)),
        };
        // The missing table is made as a temporary one.
        let (shown, create) = match &ddl {
            Some(_) => {
                let shown = TableName { schema: Some("pg_temp".to_owned()), ..name.clone() };
                let create = ddl::create_table(&shown, &fields, &target.columns, None)?;
                (shown, Some(create))
            }
            None => (name.clone(), None),
        };
        self.ask(async |client| {
            client.batch_execute("BEGIN").await.map_err(failed)?;
            if let Some(create) = &create {
                client.batch_execute(create).await.map_err(failed)?;
            }
            let planned = match catalog::read(client, &shown).await? {
                None => Err(self.missing(name)),
                Some(Err(error)) => Err(error),
                Some(Ok(table)) => self.show(client, &table, target, &mut decode).await?,
            };
            client.batch_execute("ROLLBACK").await.map_err(failed)?;
            Ok(planned)
        })?
        .map(|planned| {
            let is_unused = |name: &&str| {
                let selector = Selector::from(*name);
                !planned.asked.iter().any(|asked| asked.head() == selector.head())
            };
            let names = fields.iter().map(|field| field.name.as_str());
            let unused = names.filter(is_unused).map(Selector::from).collect();
            Planned { ddl, columns: planned.columns, unused, rows: planned.rows }
        })
    }

    async fn show(
        &self,
        client: &Object,
        table: &Table,
        target: &config::Target,
        decode: &mut impl FnMut(&[Selector], &mut Show<'_>),
    ) -> Result<Result<Rows, Error>, PgError> {
        let seen = look::see(client, table.clone(), target).await?;
        let lineage = Lineage::new(target, None, None);
        let open = |seen| PgTarget::new(TargetId(0), seen, &lineage, Arc::clone(&self.shared));
        let opened = match seen.and_then(open) {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let wanted = target.filter.iter().flat_map(Filter::selectors);
        let asked = Selector::distinct(opened.selectors().into_iter().chain(wanted));
        let mut intake = match Intake::new(&opened, target.filter.as_ref(), &asked) {
            Ok(intake) => intake,
            Err(error) => return Ok(Err(error)),
        };
        let mut encoded = Vec::new();
        decode(&asked, &mut |record, row| {
            let place = format!("{}[{}]@{}", record.topic, record.partition, record.offset);
            let mut batch = Batch::new(record.offset);
            intake.take(&mut batch, record, row);
            encoded.push((place, outcome(batch, opened.merge.is_some())));
        });
        let columns = describe(table, &opened);
        let rows = show_rows(client, table, &opened, encoded).await?;
        Ok(Ok(Rows { asked, columns, rows }))
    }
}

/// What became of the only record of a batch.
fn outcome(batch: Batch, is_merged: bool) -> Encoded {
    let Batch { segments, mut dead_letters, .. } = batch;
    if let Some(letter) = dead_letters.pop() {
        return Encoded::Other(Shown::DeadLetter(letter.rejection));
    }
    let segment = segments.into_iter().find(|segment| segment.rows > 0);
    match segment {
        None => Encoded::Other(Shown::Unwanted),
        Some(segment) if segment.layout == Layout::DELETE => Encoded::Other(Shown::Delete),
        Some(segment) if is_merged => Encoded::Row(segment.layout, without_order(segment.bytes)),
        Some(segment) => Encoded::Row(segment.layout, segment.bytes),
    }
}

struct Rows {
    asked: Vec<Selector>,
    columns: Vec<[String; 3]>,
    rows: Vec<(String, Shown)>,
}

/// A row for the staging table without the record's place, its last field.
fn without_order(mut row: Vec<u8>) -> Vec<u8> {
    row.truncate(row.len().saturating_sub(12));
    if let Some(count) = row.first_chunk_mut::<2>() {
        *count = u16::from_be_bytes(*count).saturating_sub(1).to_be_bytes();
    }
    row
}

/// Name, type and feed of each column of the table.
fn describe(table: &Table, opened: &PgTarget) -> Vec<[String; 3]> {
    let selectors = opened.selectors();
    let describe = |column: &catalog::CatalogColumn| {
        let fed = opened.columns().iter().find(|fed| fed.name == column.name);
        let fed = fed.map_or_else(|| "left to its default".to_owned(), |fed| feed(fed, &selectors));
        [column.name.clone(), column.type_name.clone(), fed]
    };
    table.columns.iter().map(describe).collect()
}

fn feed(column: &Column, selectors: &[Selector]) -> String {
    let mut text = match column.feed {
        Feed::Constant => return "a constant".to_owned(),
        Feed::Metadata(metadata) => format!("the record's {metadata:?}").to_lowercase(),
        Feed::Field(index) => match selectors.get(index) {
            Some(Selector::Field(name)) => format!("field {name}"),
            Some(Selector::Spelling(name)) => format!("field {name}, in any spelling"),
            Some(selector) => selector.to_string(),
            None => String::new(),
        },
    };
    if let Some(unit) = column.reading.epoch_unit {
        text.push_str(&format!(", epoch {unit:?}").to_lowercase());
    }
    if column.fallback.is_some() {
        text.push_str(", or a default of the configuration");
    } else if column.has_default {
        text.push_str(", or the column's default");
    }
    text
}

/// Lets Postgres read the rows, one by one, and show them.
async fn show_rows(
    client: &Object,
    table: &Table,
    opened: &PgTarget,
    encoded: Vec<(String, Encoded)>,
) -> Result<Vec<(String, Shown)>, PgError> {
    let type_of = |name: &str| {
        let column = table.columns.iter().find(|column| column.name == name);
        column.map_or("text", |column| column.type_name.as_str())
    };
    let mut rows = Vec::new();
    for (place, encoded) in encoded {
        let (layout, bytes) = match encoded {
            Encoded::Row(layout, bytes) => (layout, bytes),
            Encoded::Other(shown) => {
                rows.push((place, shown));
                continue;
            }
        };
        let names: Vec<&str> =
            opened.columns_for(layout).map(|column| column.name.as_str()).collect();
        let columns: Vec<String> = names
            .iter()
            .map(|name| format!("{} {}", quote_identifier(name), type_of(name)))
            .collect();
        let create = format!(
            "SAVEPOINT row; CREATE TEMP TABLE tidegate_plan ({}) ON COMMIT DROP",
            columns.join(", ")
        );
        client.batch_execute(&create).await.map_err(failed)?;
        let shown = match copy(client, bytes).await {
            Ok(()) => Shown::Row(read_back(client, &names).await?),
            Err(error) => Shown::DeadLetter(Rejection::record(Reason::Refused, error.message)),
        };
        client.batch_execute("ROLLBACK TO SAVEPOINT row").await.map_err(failed)?;
        rows.push((place, shown));
    }
    Ok(rows)
}

async fn copy(client: &Object, row: Vec<u8>) -> Result<(), PgError> {
    let sql = "COPY tidegate_plan FROM STDIN (FORMAT binary)";
    let sink = client.copy_in(sql).await.map_err(failed)?;
    let mut sink = std::pin::pin!(sink);
    for piece in [Bytes::from_static(&HEADER), row.into(), Bytes::from_static(&TRAILER)] {
        sink.feed(piece).await.map_err(failed)?;
    }
    sink.finish().await.map(drop).map_err(failed)
}

/// The values of the only row, as text.
async fn read_back(client: &Object, names: &[&str]) -> Result<Vec<(String, String)>, PgError> {
    let columns: Vec<String> =
        names.iter().map(|name| format!("{}::text", quote_identifier(name))).collect();
    let sql = format!("SELECT ARRAY[{}] FROM tidegate_plan", columns.join(", "));
    let row = client.query_one(&sql, &[]).await.map_err(failed)?;
    let values: Vec<Option<String>> = row.get(0);
    let shown = |value: Option<String>| value.unwrap_or_else(|| "NULL".to_owned());
    let names = names.iter().map(|&name| name.to_owned());
    Ok(names.zip(values.into_iter().map(shown)).collect())
}

fn failed(error: tokio_postgres::Error) -> PgError {
    PgError::from_driver(&error)
}
