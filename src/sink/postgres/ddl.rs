//! The tables that tidegate makes: its own two, and missing targets.

use super::catalog::{quote_identifier, quoted_name};
use crate::{config::TableName, detect::DetectedField};

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
    owner          text NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (consumer_group, cluster_id, topic, partition, target)
) WITH (fillfactor = 50);
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
    PRIMARY KEY (consumer_group, cluster_id, topic, partition, "offset", target)
);
COMMENT ON TABLE tidegate.checkpoints IS 'Next offset of each lane; moved in the transaction of the rows';
COMMENT ON TABLE tidegate.dead_letters IS 'Records that could not become rows, with their bytes and the reason';
"#;

/// The table that fits the detected fields.
pub fn create_table(table: &TableName, fields: &[DetectedField]) -> String {
    let columns: Vec<String> = fields
        .iter()
        .map(|field| format!("    {} {}", quote_identifier(&field.name), field.sql_type))
        .collect();
    format!("CREATE TABLE IF NOT EXISTS {} (\n{}\n);", quoted_name(table), columns.join(",\n"))
}
