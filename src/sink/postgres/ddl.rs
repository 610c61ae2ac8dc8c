//! The tables that tidegate makes: its own, and missing targets.

use std::collections::BTreeMap;

use super::{
    catalog::{Table, nearest, quote_identifier, quoted_name},
    column::{EpochUnit, Metadata},
};
use crate::{
    config::{ColumnFeed, Constant, Matching, Partitions, TableName, Target, Write, WriteMode},
    detect::DetectedField,
    error::Error,
    selector::{Selector, spell},
    shape::Shape,
};

/// One DDL at a time in a database, whoever runs it; the number is "tidegate" in ASCII.
pub const LOCK_SQL: &str = "SELECT pg_advisory_xact_lock(8388361682055525477)";

/// The bookkeeping. The checkpoints are updated in place all the time and never grow: a low fill
/// factor keeps the updates on their page (HOT).
pub const SCHEMA_SQL: &str = r#"
CREATE SCHEMA IF NOT EXISTS tidegate;
CREATE TABLE IF NOT EXISTS tidegate.checkpoints (
    checkpoint_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer_group text NOT NULL,
    cluster_id     text NOT NULL,
    topic          text NOT NULL,
    partition      integer NOT NULL,
    target         text NOT NULL,
    next_offset    bigint NOT NULL CHECK (next_offset >= 0),
    epoch          bigint NOT NULL,
    generation     integer,
    topic_id       text,
    mapping        text,
    replaced       text,
    owner          text NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (consumer_group, cluster_id, topic, partition, target)
) WITH (fillfactor = 50);
-- Earlier builds did not know of these.
ALTER TABLE tidegate.checkpoints ADD COLUMN IF NOT EXISTS generation integer;
ALTER TABLE tidegate.checkpoints ADD COLUMN IF NOT EXISTS topic_id text;
ALTER TABLE tidegate.checkpoints ADD COLUMN IF NOT EXISTS mapping text;
ALTER TABLE tidegate.checkpoints ADD COLUMN IF NOT EXISTS replaced text;
CREATE TABLE IF NOT EXISTS tidegate.dead_letters (
    consumer_group   text NOT NULL,
    cluster_id       text NOT NULL,
    topic            text NOT NULL,
    partition        integer NOT NULL,
    "offset"         bigint NOT NULL,
    target           text NOT NULL,
    record_timestamp timestamptz,
    key              bytea,
    value            bytea,
    reason           text NOT NULL,
    column_name      text,
    message          text NOT NULL,
    sqlstate         text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    headers          jsonb,
    PRIMARY KEY (consumer_group, cluster_id, topic, partition, "offset", target)
);
CREATE TABLE IF NOT EXISTS tidegate.rollups (
    name            text PRIMARY KEY,
    source_table    regclass NOT NULL,
    batch_table     regclass NOT NULL,
    view            regclass NOT NULL,
    time_column     text NOT NULL,
    bucket          text NOT NULL,
    time_zone       text NOT NULL,
    watches_inserts boolean NOT NULL,
    boundary        timestamptz NOT NULL DEFAULT '-infinity',
    closing         timestamptz NOT NULL DEFAULT '-infinity' CHECK (closing < 'infinity'),
    details_from    timestamptz NOT NULL DEFAULT '-infinity',
    refreshed_at    timestamptz,
    definition      text NOT NULL,
    late_sql        text,
    CHECK (details_from <= boundary AND boundary <= closing)
);
ALTER TABLE tidegate.rollups ADD COLUMN IF NOT EXISTS late_sql text;
CREATE TABLE IF NOT EXISTS tidegate.rollup_touched (
    rollup text NOT NULL,
    bucket timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS rollup_touched_bucket ON tidegate.rollup_touched (rollup, bucket);
COMMENT ON TABLE tidegate.rollups IS 'Summaries by time, and up to where each is finished';
COMMENT ON TABLE tidegate.rollup_touched IS 'Finished buckets whose rows were changed since, a row a change';
COMMENT ON TABLE tidegate.checkpoints IS 'Next offset of each lane; moved in the transaction of the rows';
COMMENT ON TABLE tidegate.dead_letters IS 'Records that could not become rows, with their bytes and the reason';
"#;

/// The columns that earlier builds did not know of, each with its table.
pub fn added_columns() -> impl Iterator<Item = (&'static str, &'static str)> {
    let altered = SCHEMA_SQL.lines().filter_map(|line| line.strip_prefix("ALTER TABLE "));
    altered.filter_map(|line| {
        let (table, column) = line.split_once(" ADD COLUMN IF NOT EXISTS ")?;
        Some((table, column.split_once(' ')?.0))
    })
}

/// The statements that make the missing table of a target, by what its records look like.
///
/// # Errors
/// When they do not show enough.
pub fn plan(target: &Target, shape: &Shape) -> Result<Vec<String>, Error> {
    let Some(table) = &target.table else { return Ok(Vec::new()) };
    let sql = create_table(table, shape, &target.columns, target.partitions.as_ref())?;
    Ok(std::iter::once(sql).chain(key_index(table, &target.write)?).collect())
}

/// The unique index that a merge into a table that is made needs.
fn key_index(table: &TableName, write: &Write) -> Result<Option<String>, Error> {
    if write.mode == WriteMode::Append {
        return Ok(None);
    }
    let key: Vec<String> = write.key.iter().map(|name| quote_identifier(name)).collect();
    if key.is_empty() {
        return Err(Error::config(format!(
            "the table {} is missing and will have no primary key; name the columns that tell its \
             rows apart, as in key = [\"id\"]",
            quoted_name(table)
        )));
    }
    // Another instance may be making the same table.
    let index = quote_identifier(&format!("{}_key", table.name));
    let (table, key) = (quoted_name(table), key.join(", "));
    Ok(Some(format!("CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {table} ({key});")))
}

/// The table that fits records of this shape, with the columns that are configured: metadata have a
/// type of their own, and a column that is fed from a field of another name takes that field's
/// place and type.
///
/// # Errors
/// When the sample does not show what a configured column is.
pub fn create_table(
    table: &TableName,
    shape: &Shape,
    configured: &BTreeMap<String, ColumnFeed>,
    partitions: Option<&Partitions>,
) -> Result<String, Error> {
    let columns = columns(shape, configured)?;
    let partitioning = match partitions {
        Some(partitions) => partitioning(partitions, &columns)?,
        None => String::new(),
    };
    let columns: Vec<String> = columns
        .iter()
        .map(|(name, sql_type)| format!("    {} {sql_type}", quote_identifier(name)))
        .collect();
    let table = quoted_name(table);
    if columns.is_empty() {
        return Err(Error::config(format!(
            "table {table} is missing and the sampled records show no fields (are they of \
             the route's format?); create it by hand"
        )));
    }
    Ok(format!("CREATE TABLE IF NOT EXISTS {table} (\n{}\n){partitioning};", columns.join(",\n")))
}

/// How a missing table is partitioned.
fn partitioning(
    partitions: &Partitions,
    columns: &[(&str, &'static str)],
) -> Result<String, Error> {
    let Some(name) = &partitions.column else {
        return Err(Error::config(
            "the table is missing, and `partitions` does not tell its column; add `column`",
        ));
    };
    let column = columns.iter().find(|(column, _)| column == name);
    match column {
        Some((_, "timestamptz" | "timestamp" | "date")) => {
            Ok(format!(" PARTITION BY RANGE ({})", quote_identifier(name)))
        }
        Some((_, sql_type)) => Err(Error::config(format!(
            "partitions.column: {name} would be {sql_type} by what the records show; expected a \
             timestamptz, timestamp or date (a number needs an `epoch` under `columns`)"
        ))),
        None => Err(Error::config(format!(
            "partitions.column: no sampled record shows a field for the column {name}"
        ))),
    }
}

/// Columns for fields that a table does not have yet.
pub fn add_columns(table: &Table, columns: &[(String, &'static str)]) -> String {
    let added: Vec<String> = columns
        .iter()
        .map(|(name, sql_type)| {
            format!("ADD COLUMN IF NOT EXISTS {} {sql_type}", quote_identifier(name))
        })
        .collect();
    format!("ALTER TABLE {} {}", table.quoted(), added.join(", "))
}

/// Another type for a column.
pub fn widen(table: &Table, column: &str, sql_type: &str) -> String {
    let (table, column) = (table.quoted(), quote_identifier(column));
    format!("ALTER TABLE {table} ALTER COLUMN {column} TYPE {sql_type}")
}

/// Names that every table has taken (pg_attribute.attnum < 0).
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "cmax", "xmax", "cmin", "xmin", "ctid"];

/// Why no column of `table` can have the name of this field, if none can.
pub fn objection(table: &Table, target: &Target, field: &str) -> Option<String> {
    if field.is_empty() || field.contains('\0') {
        return Some("Postgres has no column of such a name".to_owned());
    }
    if field.len() > 63 {
        // It would cut the name, and fields that begin alike would share a column.
        return Some("the name has more than 63 bytes, which Postgres would cut off".to_owned());
    }
    if SYSTEM_COLUMNS.contains(&field) {
        return Some("every table has a system column of this name".to_owned());
    }
    if let Some(declared) = table.generated.get(field) {
        return Some(format!(
            "Postgres alone fills the column of this name, which is {declared}; say columns.{field} = \
             {{ skip = true }} to leave the field out"
        ));
    }
    let names = table.columns.iter().map(|column| &column.name).chain(table.generated.keys());
    let name = names.map(String::as_str).find(|name| is_alike(target, name, field))?;
    Some(if name == field {
        format!("the column {field} is fed from something else")
    } else if target.matching == Matching::Loose {
        format!("it is another spelling of the column {name}; say under `columns` what feeds that")
    } else {
        format!(
            "it differs from the column {name} only by case; say under `columns` what feeds it, or set \
             match = \"loose\""
        )
    })
}

/// Whether a field had better have no column of its own beside the column `name`: people take names for
/// the same that differ by case, and so does a target that matches them loosely, whatever their spelling.
pub fn is_alike(target: &Target, name: &str, field: &str) -> bool {
    let is_spelt_alike = || {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        spell(name.as_bytes(), &mut one);
        spell(field.as_bytes(), &mut other);
        one == other && !target.columns.contains_key(name)
    };
    name.to_lowercase() == field.to_lowercase()
        || (target.matching == Matching::Loose && is_spelt_alike())
}

/// Names and types.
fn columns<'a>(
    shape: &'a Shape,
    configured: &'a BTreeMap<String, ColumnFeed>,
) -> Result<Vec<(&'a str, &'static str)>, Error> {
    let fields = &shape.fields;
    let mut columns = Vec::new();
    for field in fields {
        let fed = configured.iter().filter_map(|(column, feed)| match feed {
            ColumnFeed::Value { selector: Selector::Field(name), epoch, .. }
                if *name == field.name =>
            {
                Some((column.as_str(), type_of(field, *epoch)))
            }
            _ => None,
        });
        let before = columns.len();
        columns.extend(fed);
        let is_own = match configured.get(&field.name) {
            None => columns.len() == before,
            Some(ColumnFeed::Skip) => true,
            Some(_) => false,
        };
        if is_own {
            columns.push((&field.name, field.sql_type));
        }
    }
    for (column, feed) in configured {
        match feed {
            ColumnFeed::Metadata(metadata) => {
                columns.push((column, type_of_metadata(*metadata, shape.payload)));
            }
            ColumnFeed::Value { selector, epoch, .. }
                if fields.iter().all(|f| selector.field() != Some(&f.name)) =>
            {
                if epoch.is_none() {
                    return Err(unseen(column, selector, fields));
                }
                columns.push((column, "timestamptz"));
            }
            ColumnFeed::Constant(constant) => columns.push((column, type_of_constant(constant))),
            ColumnFeed::Rest => columns.push((column, "jsonb")),
            ColumnFeed::Value { .. } | ColumnFeed::Skip => {}
        }
    }
    Ok(columns)
}

fn type_of(field: &DetectedField, epoch: Option<EpochUnit>) -> &'static str {
    match (field.sql_type, epoch) {
        ("bigint" | "numeric", Some(_)) => "timestamptz",
        (sql_type, _) => sql_type,
    }
}

fn type_of_constant(constant: &Constant) -> &'static str {
    match constant {
        Constant::Text(_) => "text",
        Constant::Number(text) if text.parse::<i64>().is_ok() => "bigint",
        Constant::Number(_) => "numeric",
        Constant::Boolean(_) => "boolean",
    }
}

fn type_of_metadata(metadata: Metadata, payload: &'static str) -> &'static str {
    match metadata {
        Metadata::Topic => "text",
        Metadata::Partition => "integer",
        Metadata::Offset => "bigint",
        Metadata::Timestamp => "timestamptz",
        // Nothing says what its bytes mean.
        Metadata::Key => "bytea",
        Metadata::Headers => "jsonb",
        Metadata::Payload => payload,
    }
}

fn unseen(column: &str, selector: &Selector, fields: &[DetectedField]) -> Error {
    let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    let near = selector.field().and_then(|field| nearest(field, &known));
    let hint = near.map_or_else(
        || "create the table by hand, which tells its type".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    Error::config(format!(
        "columns.{column}: no sampled record shows the type of `{selector}`, so the missing table cannot \
         be made; {hint}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::postgres::{catalog::CatalogColumn, column::ColumnType};

    fn field(name: &str, sql_type: &'static str) -> DetectedField {
        DetectedField { name: name.to_owned(), sql_type }
    }

    fn feed(name: &str, epoch: Option<EpochUnit>) -> ColumnFeed {
        ColumnFeed::Value { selector: name.into(), epoch, zone: None, default: None }
    }

    fn create(
        fields: &[DetectedField],
        configured: &[(&str, ColumnFeed)],
    ) -> Result<String, Error> {
        let table = TableName { schema: Some("shop".to_owned()), name: "orders".to_owned() };
        let configured = configured.iter().map(|(c, feed)| ((*c).to_owned(), feed.clone()));
        let payload = if fields.is_empty() { "bytea" } else { "jsonb" };
        let shape = Shape { fields: fields.to_vec(), payload };
        create_table(&table, &shape, &configured.collect(), None)
    }

    #[test]
    fn a_name_that_no_column_can_have_or_that_one_nearly_has_is_told() {
        let column = |name: &str| CatalogColumn {
            name: name.to_owned(),
            type_name: "text".to_owned(),
            column_type: ColumnType::Text { max_chars: None },
            not_null: false,
            has_default: false,
        };
        let table = Table {
            oid: 0,
            schema: "s".to_owned(),
            name: "t".to_owned(),
            columns: vec![column("total"), column("\u{e9}t\u{e9}")],
            generated: BTreeMap::from([("seq".to_owned(), "GENERATED ALWAYS AS IDENTITY")]),
        };
        let target = Target::example();
        let long = "n".repeat(64);
        for (field, word) in [
            ("", "no column of such a name"),
            ("a\0", "no column of such a name"),
            (long.as_str(), "63 bytes"),
            ("ctid", "system column"),
            ("Total", "the column total only by case"),
            ("\u{c9}t\u{e9}", "only by case"),
            ("total", "fed from something else"),
            ("seq", "GENERATED ALWAYS AS IDENTITY; say columns.seq = { skip = true }"),
        ] {
            let why = objection(&table, &target, field).unwrap_or_default();
            assert!(why.contains(word), "{field}: {why}");
        }
        assert_eq!(objection(&table, &target, "total_2"), None);
        assert_eq!(objection(&table, &target, "to_tal"), None);
        let loose = Target { matching: Matching::Loose, ..target };
        let why = objection(&table, &loose, "to_tal").unwrap_or_default();
        assert!(why.contains("another spelling of the column total"), "{why}");
        let columns = [("a\"b".to_owned(), "bigint"), ("Total_2".to_owned(), "text")];
        assert_eq!(
            add_columns(&table, &columns),
            "ALTER TABLE \"s\".\"t\" ADD COLUMN IF NOT EXISTS \"a\"\"b\" bigint, \
             ADD COLUMN IF NOT EXISTS \"Total_2\" text"
        );
    }

    #[test]
    fn metadata_columns_come_last_and_have_types_of_their_own() {
        let configured = [
            ("at", ColumnFeed::Metadata(Metadata::Timestamp)),
            ("head", ColumnFeed::Metadata(Metadata::Headers)),
            ("key", ColumnFeed::Metadata(Metadata::Key)),
            ("off", ColumnFeed::Metadata(Metadata::Offset)),
            ("part", ColumnFeed::Metadata(Metadata::Partition)),
            ("pay", ColumnFeed::Metadata(Metadata::Payload)),
            ("topic", ColumnFeed::Metadata(Metadata::Topic)),
        ];
        // A field that a metadata column is named after is not fed into it.
        let sql = create(&[field("id", "bigint"), field("key", "text")], &configured).unwrap();
        assert_eq!(
            sql,
            "CREATE TABLE IF NOT EXISTS \"shop\".\"orders\" (\n    \"id\" bigint,\n    \
             \"at\" timestamptz,\n    \"head\" jsonb,\n    \"key\" bytea,\n    \
             \"off\" bigint,\n    \"part\" integer,\n    \"pay\" jsonb,\n    \
             \"topic\" text\n);"
        );
    }

    #[test]
    fn records_that_are_no_objects_still_have_metadata() {
        let configured = [("pay", ColumnFeed::Metadata(Metadata::Payload))];
        assert!(create(&[], &configured).unwrap().contains("(\n    \"pay\" bytea\n)"));
        let error = create(&[], &[]).unwrap_err().to_string();
        assert!(error.contains("show no fields"), "{error}");
    }

    #[test]
    fn a_renamed_column_takes_the_place_and_the_type_of_its_field() {
        let fields = [field("a", "bigint"), field("b", "uuid"), field("c", "text")];
        let configured = [("z", feed("b", None)), ("c", ColumnFeed::Skip)];
        let sql = create(&fields, &configured).unwrap();
        assert!(
            sql.ends_with("(\n    \"a\" bigint,\n    \"z\" uuid,\n    \"c\" text\n);"),
            "{sql}"
        );
    }

    #[test]
    fn a_number_with_an_epoch_is_a_time() {
        let fields = [field("ts", "bigint"), field("day", "date")];
        let unit = Some(EpochUnit::Ms);
        let configured =
            [("ts", feed("ts", unit)), ("day", feed("day", unit)), ("seen", feed("late", unit))];
        let sql = create(&fields, &configured).unwrap();
        for column in ["\"ts\" timestamptz", "\"day\" date", "\"seen\" timestamptz"] {
            assert!(sql.contains(column), "{sql}");
        }
    }

    #[test]
    fn a_field_that_no_record_shows_gets_the_likely_one() {
        let configured = [("id", feed("order_idd", None))];
        let error = create(&[field("order_id", "bigint")], &configured).unwrap_err().to_string();
        assert!(error.contains("columns.id") && error.contains("mean `order_id`?"), "{error}");
    }
}
