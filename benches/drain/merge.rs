//! The bound that Postgres sets to a merge: the same records by COPY into a temporary table, and one
//! INSERT ... ON CONFLICT for each 20,000, by psql from files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use crate::{
    Bench,
    common::{COLUMNS, Result, TABLE},
    copy, drain,
};

/// Records of one transaction, as many as a batch of tidegate has.
const BATCH: i64 = 20_000;
const LOG: &str = "public.orders_log";
/// The target whose rows are the records, one by one, with where they stood.
const LOG_SETS: [&str; 3] = [
    "routes[0].to[0].table=public.orders_log",
    "routes[0].to[0].columns.kafka_partition.metadata=partition",
    "routes[0].to[0].columns.kafka_offset.metadata=offset",
];
const SET: &str = "customer_id = excluded.customer_id, status = excluded.status, \
    amount = excluded.amount, currency = excluded.currency, item_count = excluded.item_count, \
    express = excluded.express, created_at = excluded.created_at, note = excluded.note";
const NAMES: &str =
    "order_id, customer_id, status, amount, currency, item_count, express, created_at, note";

/// Writes the records as files, a batch each, and a script for each of two sessions; gives both.
pub(crate) fn export(bench: &Bench, folder: &Path) -> Result<([PathBuf; 2], Vec<PathBuf>)> {
    let client = &bench.servers.client;
    client.execute(&format!(
        "DROP TABLE IF EXISTS {LOG}; \
         CREATE TABLE {LOG} ({COLUMNS}, kafka_partition int, kafka_offset bigint)"
    ))?;
    drain::run(bench, "drain-log", &LOG_SETS)?;
    client.execute(&format!(
        "CREATE TABLE records AS SELECT r.*, row_number() OVER (PARTITION BY half \
             ORDER BY kafka_partition, kafka_offset) - 1 AS number \
         FROM (SELECT {NAMES}, false AS deleted, kafka_partition, kafka_offset, \
                   kafka_partition % 2 AS half FROM {LOG} \
               UNION ALL SELECT convert_from(key, 'UTF8')::bigint, NULL, NULL, NULL, NULL, NULL, NULL, \
                   NULL, NULL, true, partition, \"offset\", partition % 2 FROM tidegate.dead_letters \
               WHERE consumer_group = 'drain-log') r; \
         CREATE INDEX ON records (half, number); ANALYZE records; DROP TABLE {LOG}"
    ))?;
    let (mut scripts, mut files) = (Vec::new(), Vec::new());
    for half in 0..2 {
        let last = client.query_one_i64(&format!(
            "SELECT coalesce(max(number), 0) FROM records WHERE half = {half}"
        ))?;
        let mut script = format!(
            "CREATE TEMPORARY TABLE stage ({COLUMNS}, deleted boolean, kafka_offset bigint) \
             ON COMMIT DELETE ROWS;\n"
        );
        for batch in 0..=last / BATCH {
            let file = folder.join(format!("records-{half}-{batch}.copy"));
            let (from, to) = (batch * BATCH, (batch + 1) * BATCH);
            let rows = format!(
                "(SELECT {NAMES}, deleted, kafka_offset FROM records WHERE half = {half} \
                 AND number >= {from} AND number < {to} ORDER BY number)"
            );
            let shown = file.display();
            let sql = format!(r"\copy {rows} TO '{shown}' (FORMAT binary)");
            copy::finish(copy::psql(bench, &sql)?)?;
            script.push_str(&format!(
                "BEGIN;\n\\copy stage FROM '{shown}' (FORMAT binary)\n{}COMMIT;\n",
                statements(bench)
            ));
            files.push(file);
        }
        let path = folder.join(format!("merge-{half}.sql"));
        fs::write(&path, script)?;
        files.push(path.clone());
        scripts.push(path);
    }
    client.execute("DROP TABLE records")?;
    let scripts = scripts.try_into().map_err(|_| "not two scripts")?;
    Ok((scripts, files))
}

fn statements(bench: &Bench) -> String {
    let last =
        "(SELECT DISTINCT ON (order_id) * FROM stage ORDER BY order_id, kafka_offset DESC) s";
    let insert = format!(
        "INSERT INTO {TABLE} SELECT {NAMES} FROM {last} WHERE NOT deleted \
         ON CONFLICT (order_id) DO UPDATE SET {SET};\n"
    );
    match bench.variant.deletes > 0.0 {
        true => format!(
            "DELETE FROM {TABLE} t USING {last} WHERE s.deleted AND t.order_id = s.order_id;\n{insert}"
        ),
        false => insert,
    }
}

/// A session of psql that runs a script.
pub(crate) fn session(bench: &Bench, script: &Path) -> Result<Child> {
    Command::new("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", &bench.servers.postgres.url(), "-f"])
        .arg(script)
        .spawn()
        .map_err(|error| format!("cannot run psql: {error}; run scripts/setup.sh").into())
}
