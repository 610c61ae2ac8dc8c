//! What a target would write, without writing it: for `tidegate plan`.
//!
//! Postgres itself shows the rows: they are copied into a temporary table of the target's column types,
//! in a transaction that is rolled back. A table that would change while it is written does so as a copy
//! without rows, in that transaction.

mod changes;

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
    error::Error,
    filter::Filter,
    intake::Intake,
    record::Record,
    rejection::{Reason, Rejection},
    row::Row,
    selector::Selector,
    shape::Shape,
    sink::{Target as _, TargetId},
};

/// What a target would do.
pub(crate) struct Planned {
    /// What makes the missing table.
    pub(crate) ddl: Option<String>,
    /// What changes it for the sample, and the record that each change is for.
    pub(crate) changes: Vec<(String, String)>,
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

/// Takes a record that was decoded; says whether to go on.
type Show<'a> = dyn FnMut(&Record<'_>, Result<Row<'_>, &Rejection>) -> bool + 'a;

impl PostgresSink {
    /// Plans the target, and shows the first `rows` records: `decode` is given the selectors, and shows
    /// the records decoded.
    ///
    /// # Errors
    /// When the database cannot be asked or the table cannot be written.
    pub(crate) fn plan(
        &self,
        target: &config::Target,
        shape: &Shape,
        rows: usize,
        mut decode: impl FnMut(&[Selector], &mut Show<'_>),
    ) -> Result<Planned, Error> {
        let Some(name) = &target.table else {
            return Err(Error::config("a postgres sink needs a table"));
        };
        let ddl = match self.table(name)? {
            Some(_) => None,
            None if target.on_missing_table == OnMissingTable::Create => {
                Some(ddl::plan(target, shape)?.join("\n"))
            }
            None => return Err(self.missing(name)),
        };
        // The missing table is made as a temporary one.
        let (shown, create) = match &ddl {
            Some(_) => {
                let shown = TableName { schema: Some("pg_temp".to_owned()), ..name.clone() };
                let table = Some(shown.clone());
                let made = config::Target { table, partitions: None, ..target.clone() };
                (shown, Some(ddl::plan(&made, shape)?.join("\n")))
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
                Some(Ok(table)) => {
                    let table = changes::under_its_name(table, name);
                    self.show(client, table, target, rows, &mut decode).await?
                }
            };
            client.batch_execute("ROLLBACK").await.map_err(failed)?;
            Ok(planned)
        })?
        .map(|planned| {
            let is_unused = |name: &&str| {
                let selector = Selector::from(*name);
                !planned.asked.iter().any(|asked| asked.head() == selector.head())
            };
            let names = shape.fields.iter().map(|field| field.name.as_str());
            let unused = names.filter(is_unused).map(Selector::from).collect();
            let Rows { changes, columns, rows, .. } = planned;
            Planned { ddl, changes, columns, unused, rows }
        })
    }

    async fn show(
        &self,
        client: &Object,
        table: Table,
        target: &config::Target,
        rows: usize,
        decode: &mut impl FnMut(&[Selector], &mut Show<'_>),
    ) -> Result<Result<Rows, Error>, PgError> {
        let lineage = Lineage::new(target, None, None);
        let mut opened = match self.open_seen(client, table, &lineage).await? {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let mut changes = Vec::new();
        if target.growth.alters() {
            match self.grow(client, opened, decode).await? {
                Ok(grown) => (opened, changes) = grown,
                Err(error) => return Ok(Err(error)),
            }
        }
        let asked = asked(&opened);
        let mut intake = match Intake::new(&opened, target.filter.as_ref(), &asked) {
            Ok(intake) => intake,
            Err(error) => return Ok(Err(error)),
        };
        let mut encoded = Vec::new();
        decode(&asked, &mut |record, row| {
            if encoded.len() < rows {
                let mut batch = Batch::new(record.offset);
                if let Some(wish) = intake.offer(&mut batch, record, row) {
                    let why = opened.object(&wish).unwrap_or_default();
                    intake.take_refused(&mut batch, record, row, &why);
                }
                encoded.push((place(record), outcome(batch, opened.merge.is_some())));
            }
            encoded.len() < rows
        });
        let columns = describe(&opened);
        let rows = show_rows(client, &opened, encoded).await?;
        Ok(Ok(Rows { asked, changes, columns, rows }))
    }

    /// The target for `table` as it is in this transaction.
    async fn open_seen(
        &self,
        client: &Object,
        table: Table,
        lineage: &Arc<Lineage>,
    ) -> Result<Result<PgTarget, Error>, PgError> {
        let seen = look::see(client, table, &lineage.target).await?;
        let open = |seen| PgTarget::new(TargetId(0), seen, lineage, Arc::clone(&self.shared));
        Ok(seen.and_then(open))
    }
}

/// What a target and its filter ask of a record.
fn asked(opened: &PgTarget) -> Vec<Selector> {
    let filter = opened.lineage.target.filter.iter();
    Selector::distinct(opened.selectors().into_iter().chain(filter.flat_map(Filter::selectors)))
}

fn place(record: &Record<'_>) -> String {
    format!("{}[{}]@{}", record.topic, record.partition, record.offset)
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
    changes: Vec<(String, String)>,
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
fn describe(opened: &PgTarget) -> Vec<[String; 3]> {
    let selectors = opened.selectors();
    let describe = |column: &catalog::CatalogColumn| {
        let fed = opened.columns().iter().find(|fed| fed.name == column.name);
        let fed = fed.map_or_else(|| "left to its default".to_owned(), |fed| feed(fed, &selectors));
        [column.name.clone(), column.type_name.clone(), fed]
    };
    opened.table.columns.iter().map(describe).collect()
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

/// The conditions of a table's rows that concern these columns alone.
const CHECKS_SQL: &str = "\
    SELECT conname::text, pg_get_expr(conbin, conrelid) FROM pg_constraint \
    WHERE conrelid = $1 AND contype = 'c' AND $2::text[] @> (SELECT array_agg(attname::text) \
        FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY(conkey))";

/// Lets Postgres read the rows, one by one, and show them.
async fn show_rows(
    client: &Object,
    opened: &PgTarget,
    encoded: Vec<(String, Encoded)>,
) -> Result<Vec<(String, Shown)>, PgError> {
    let type_of = |name: &str| {
        let column = opened.table.columns.iter().find(|column| column.name == name);
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
        let mut columns: Vec<String> = names
            .iter()
            .map(|name| format!("{} {}", quote_identifier(name), type_of(name)))
            .collect();
        let checks = client.query(CHECKS_SQL, &[&opened.table.oid, &names]).await;
        columns.extend(checks.map_err(failed)?.iter().map(|row| {
            let (name, condition): (&str, &str) = (row.get(0), row.get(1));
            format!("CONSTRAINT {} CHECK ({condition})", quote_identifier(name))
        }));
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
