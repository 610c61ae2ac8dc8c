//! Partitions whose time is over: detached, and dropped if so configured.

use deadpool_postgres::Object;

use super::{Found, Partitions, bucket, find, now_us};
use crate::{
    config::Expired,
    failpoint::failpoint,
    rollup,
    sink::postgres::{
        catalog::{Table, quote_identifier},
        sqlstate::PgError,
    },
};

/// One process at a time; the number is that of the DDL lock + 1. A lock of the session, as DETACH ...
/// CONCURRENTLY cannot be part of a transaction.
const LOCK_SQL: &str = "SELECT pg_try_advisory_lock(8388361682055525478)";
const UNLOCK_SQL: &str = "SELECT pg_advisory_unlock(8388361682055525478)";

/// What marks a partition that is to be dropped, so that a crash between the steps loses track of none.
fn mark(table: &Table) -> String {
    format!("expired partition of {}, to be dropped by tidegate", table.display())
}

/// The marked tables that are partitions no more.
const MARKED_SQL: &str = "\
    SELECT n.nspname::text, c.relname::text FROM pg_class c \
    JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE NOT c.relispartition AND obj_description(c.oid, 'pg_class') = $1 \
      AND pg_has_role(c.relowner, 'USAGE')";

impl Partitions {
    /// Detaches what has expired. May be interrupted anywhere and done again.
    pub(in super::super) async fn expire(
        &self,
        client: &Object,
        table: &Table,
    ) -> Result<(), PgError> {
        let Some(retention) = self.config.retention else { return Ok(()) };
        let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
        if !client.query_one(LOCK_SQL, &[]).await.map_err(failed)?.get::<_, bool>(0) {
            return Ok(());
        }
        let retention = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
        let before = now_us().saturating_sub(retention);
        let found = find(client, table.oid).await?;
        let has_default = found.iter().any(|partition| partition.is_default);
        let is_over = |found: &&Found| !found.is_default && found.range.end <= before;
        for partition in found.iter().filter(is_over) {
            let end = bucket::text(partition.range.end);
            if let Some(rollup) = rollup::release(client, table.oid, &self.column, &end).await? {
                tracing::info!(
                    "the partition {} has expired and stays attached: rollup {rollup} needs its rows",
                    partition.quoted()
                );
                continue;
            }
            if self.config.expired == Expired::Drop {
                let sql = format!(
                    "COMMENT ON TABLE {} IS '{}'",
                    partition.quoted(),
                    quoted(&mark(table))
                );
                client.batch_execute(&sql).await.map_err(failed)?;
            }
            let sql = detach_sql(table, partition, has_default);
            client.batch_execute(&sql).await.map_err(failed)?;
            failpoint!("partition.detached");
            tracing::info!("detached an expired partition: {sql}");
        }
        if self.config.expired == Expired::Drop {
            drop_marked(client, table).await?;
        }
        self.note(&find(client, table.oid).await?);
        client.batch_execute(UNLOCK_SQL).await.map_err(failed)
    }

    /// Whether partitions expire.
    pub(in super::super) fn expires(&self) -> bool {
        self.config.retention.is_some()
    }
}

fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}

/// CONCURRENTLY lets readers and writers go on. It is not to be had beside a default partition, and one
/// that was interrupted has to be finished.
fn detach_sql(table: &Table, partition: &Found, has_default: bool) -> String {
    let (parent, name) = (table.quoted(), partition.quoted());
    if partition.is_detaching {
        format!("ALTER TABLE {parent} DETACH PARTITION {name} FINALIZE")
    } else if has_default {
        // One implicit transaction: the lock is not waited for long, as everybody waits behind it.
        format!("SET LOCAL lock_timeout = '1s'; ALTER TABLE {parent} DETACH PARTITION {name}")
    } else {
        format!("ALTER TABLE {parent} DETACH PARTITION {name} CONCURRENTLY")
    }
}

async fn drop_marked(client: &Object, table: &Table) -> Result<(), PgError> {
    let failed = |error: tokio_postgres::Error| PgError::from_driver(&error);
    for row in client.query(MARKED_SQL, &[&mark(table)]).await.map_err(failed)? {
        let [schema, name] = [0, 1].map(|index| quote_identifier(row.get::<_, &str>(index)));
        let sql = format!("DROP TABLE {schema}.{name}");
        client.batch_execute(&sql).await.map_err(failed)?;
        tracing::info!("dropped an expired partition: {schema}.{name}");
    }
    Ok(())
}
