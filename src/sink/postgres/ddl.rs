//! The tables that tidegate makes: its own two, and missing targets.

use std::collections::BTreeMap;

use super::{
    catalog::{nearest, quote_identifier, quoted_name},
    column::{EpochUnit, Metadata},
};
use crate::{
    config::{ColumnFeed, Constant, TableName},
    detect::DetectedField,
    error::Error,
    selector::Selector,
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
    owner          text NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (consumer_group, cluster_id, topic, partition, target)
) WITH (fillfactor = 50);
-- Earlier builds did not know of these.
ALTER TABLE tidegate.checkpoints ADD COLUMN IF NOT EXISTS generation integer;
ALTER TABLE tidegate.checkpoints ADD COLUMN IF NOT EXISTS topic_id text;
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
COMMENT ON TABLE tidegate.checkpoints IS 'Next offset of each lane; moved in the transaction of the rows';
COMMENT ON TABLE tidegate.dead_letters IS 'Records that could not become rows, with their bytes and the reason';
"#;

/// The table that fits the detected fields, with the columns that are configured: metadata have a
/// type of their own, and a column that is fed from a field of another name takes that field's
/// place and type.
///
/// # Errors
/// When the sample does not show what a configured column is.
pub fn create_table(
    table: &TableName,
    fields: &[DetectedField],
    configured: &BTreeMap<String, ColumnFeed>,
) -> Result<String, Error> {
    let columns = columns(fields, configured)?;
    let columns: Vec<String> = columns
        .iter()
        .map(|(name, sql_type)| format!("    {} {sql_type}", quote_identifier(name)))
        .collect();
    let table = quoted_name(table);
    if columns.is_empty() {
        return Err(Error::config(format!(
            "table {table} is missing and the sampled records show no fields (are they JSON \
             objects?); create it by hand"
        )));
    }
    Ok(format!("CREATE TABLE IF NOT EXISTS {table} (\n{}\n);", columns.join(",\n")))
}

/// Names and types.
fn columns<'a>(
    fields: &'a [DetectedField],
    configured: &'a BTreeMap<String, ColumnFeed>,
) -> Result<Vec<(&'a str, &'static str)>, Error> {
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
                columns.push((column, type_of_metadata(*metadata, !fields.is_empty())));
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

fn type_of_metadata(metadata: Metadata, is_json: bool) -> &'static str {
    match metadata {
        Metadata::Topic => "text",
        Metadata::Partition => "integer",
        Metadata::Offset => "bigint",
        Metadata::Timestamp => "timestamptz",
        // Nothing says what its bytes mean.
        Metadata::Key => "bytea",
        Metadata::Headers => "jsonb",
        Metadata::Payload if is_json => "jsonb",
        Metadata::Payload => "bytea",
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
        create_table(&table, fields, &configured.collect())
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
