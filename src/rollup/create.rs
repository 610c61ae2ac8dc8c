//! Makes a rollup, and takes it away.

use deadpool_postgres::Object;

use super::{
    Presence, differs, failed, missing, presence,
    sql::{Parts, REFRESH_LOCK, TRIGGER_FUNCTIONS},
};
use crate::{
    config::Rollup,
    error::{Error, ErrorKind},
    sink::postgres::{
        catalog::{self, Table, quoted_name},
        column::ColumnType,
        ddl,
        sqlstate::PgError,
    },
};

/// Triggers that may change a row before it is inserted: the times that ingest knows are then not those
/// that the rows have. The bits of tgtype are ROW, BEFORE and INSERT (catalog/pg_trigger.h).
const CHANGES_ROWS_SQL: &str = "\
    SELECT EXISTS (SELECT FROM pg_trigger \
    WHERE tgrelid = $1 AND NOT tgisinternal AND tgtype & 7 = 7)";

const INDEXED_SQL: &str = "\
    SELECT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a \
    ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
    WHERE i.indrelid = $1 AND a.attname = $2 AND i.indisvalid AND i.indpred IS NULL)";

const DETAILS_GONE_SQL: &str = "\
    SELECT details_from > '-infinity' FROM tidegate.rollups WHERE name = $1";

/// The statements that make a rollup, in order.
pub(crate) fn plan(rollup: &Rollup) -> Vec<String> {
    let parts = Parts::new(rollup);
    let mut statements = vec![TRIGGER_FUNCTIONS.trim_end().to_owned()];
    statements.extend(parts.batch_table());
    statements.push(parts.view());
    statements.push(parts.entry());
    statements.extend(parts.triggers());
    statements
}

/// Makes a rollup, if it is not there; says whether it was made. What is worth knowing of its table is
/// put into `warnings`.
pub(crate) async fn create(
    client: &mut Object,
    rollup: &Rollup,
    warnings: &mut Vec<String>,
) -> Result<Result<bool, Error>, PgError> {
    match presence(client, rollup).await? {
        Presence::Same => return Ok(Ok(false)),
        Presence::Missing => {}
        Presence::Other => return Ok(Err(differs(rollup))),
    }
    let table = match catalog::read(client, &rollup.table).await? {
        Some(Ok(table)) => table,
        Some(Err(error)) => return Ok(Err(error)),
        None => {
            return Ok(Err(Error::config(format!(
                "rollup {}: there is no table {}",
                rollup.name,
                quoted_name(&rollup.table)
            ))));
        }
    };
    if let Err(error) = check(client, rollup, &table).await? {
        return Ok(Err(error));
    }
    let indexed = client.query_one(INDEXED_SQL, &[&table.oid, &rollup.time_column]).await;
    if !indexed.map_err(failed)?.get::<_, bool>(0) {
        let column = catalog::quote_identifier(&rollup.time_column);
        let table = table.quoted();
        warnings.push(format!(
            "no index of {table} begins with {column}, by which the view finds the latest rows; run \
             CREATE INDEX CONCURRENTLY ON {table} ({column}), or USING brin ({column}) where rows come \
             in the order of time"
        ));
    }
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(ddl::LOCK_SQL).await.map_err(failed)?;
    for statement in plan(rollup) {
        transaction.batch_execute(&statement).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(Ok(true))
}

/// Looks for what would make the summary wrong.
async fn check(
    client: &Object,
    rollup: &Rollup,
    table: &Table,
) -> Result<Result<(), Error>, PgError> {
    let (name, shown, column) = (&rollup.name, table.display(), &rollup.time_column);
    let wrong = |text: String| Ok(Err(Error::config(format!("rollup {name}: {text}"))));
    let declared = table.generated.get(column);
    let known = table.columns.iter().find(|known| known.name == *column);
    let is_timestamptz =
        |known: &catalog::CatalogColumn| matches!(known.column_type, ColumnType::Timestamptz);
    if declared.is_none() && !known.is_some_and(is_timestamptz) {
        let names: Vec<&str> = table.columns.iter().map(|known| known.name.as_str()).collect();
        return wrong(match known {
            Some(known) => format!(
                "column {column} of {shown} has type {}; its time_column must be a timestamptz",
                known.type_name
            ),
            None => {
                format!("{shown} has no column `{column}`; it has {}", names.join(", "))
            }
        });
    }
    if rollup.watch_inserts {
        return Ok(Ok(()));
    }
    if declared.is_some() || known.is_some_and(|known| known.has_default) {
        return wrong(format!(
            "Postgres may fill column {column} of {shown} by itself, so that nobody else knows a row's \
             bucket; set watch_inserts = true, or drop the default"
        ));
    }
    let row = client.query_one(CHANGES_ROWS_SQL, &[&table.oid]).await.map_err(failed)?;
    if row.get(0) {
        return wrong(format!(
            "a BEFORE INSERT trigger of {shown} may change a row's {column}; set watch_inserts = true"
        ));
    }
    Ok(Ok(()))
}

/// Takes a rollup away, with its summary. One that has what the detailed table has no more stays, unless
/// that is `forced`.
pub(crate) async fn remove(
    client: &mut Object,
    rollup: &Rollup,
    forced: bool,
) -> Result<Result<(), Error>, PgError> {
    let name = &rollup.name;
    match presence(client, rollup).await? {
        Presence::Same => {}
        // Its batch table and view may have other names; those of the configuration are removed.
        Presence::Other if forced => {}
        Presence::Other => return Ok(Err(differs(rollup))),
        Presence::Missing => return Ok(Err(missing(rollup))),
    }
    let transaction = client.transaction().await.map_err(failed)?;
    let lock = "SELECT pg_try_advisory_xact_lock($1, hashtext($2))";
    let locked = transaction.query_one(lock, &[&REFRESH_LOCK, name]).await.map_err(failed)?;
    if !locked.get::<_, bool>(0) {
        return Ok(Err(Error::new(
            ErrorKind::Temporary,
            format!("rollup {name} is being refreshed by another process; try again"),
        )));
    }
    let gone = transaction.query_one(DETAILS_GONE_SQL, &[name]).await.map_err(failed)?;
    if gone.get::<_, bool>(0) && !forced {
        return Ok(Err(Error::config(format!(
            "rollup {name} has buckets whose detailed rows are gone; --force drops it all the same"
        ))));
    }
    transaction.batch_execute(ddl::LOCK_SQL).await.map_err(failed)?;
    for statement in Parts::new(rollup).remove() {
        transaction.batch_execute(&statement).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(Ok(()))
}
