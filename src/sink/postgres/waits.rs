//! What the connections wait for: Postgres itself tells, where the writers only know that they wait.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use deadpool_postgres::Object;

use super::{Shared, connect, sqlstate::PgError};
use crate::{status::SinkStatus, verdict::Waits};

/// So many looks make an answer,
const LOOKS: u32 = 10;
/// so far apart: a transaction takes some hundredths of a second.
const PAUSE: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(10);

/// Connections of tidegate's in this database, also those of other instances: they write the same tables.
const WAITS_SQL: &str = "\
    SELECT count(*)::int4, \
        (count(*) FILTER (WHERE wait_event_type = 'Lock'))::int4, \
        (count(*) FILTER (WHERE wait_event LIKE 'WAL%' OR wait_event = 'SyncRep'))::int4, \
        (count(*) FILTER (WHERE wait_event = 'ClientRead' AND state = 'active'))::int4, \
        (count(*) FILTER (WHERE state = 'idle in transaction'))::int4 \
    FROM pg_stat_activity WHERE application_name = 'tidegate' \
        AND datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'";

/// Who holds a lock that they wait for. What other roles do is hidden from most.
const HOLDERS_SQL: &str = "\
    SELECT DISTINCT format('pid %s (%s, %s for %s s)', holder.pid, \
        coalesce(nullif(holder.application_name, ''), 'no application_name'), \
        coalesce(holder.state, 'state hidden'), \
        coalesce(extract(epoch FROM clock_timestamp() - holder.state_change)::int8, 0)) \
    FROM pg_stat_activity waiting \
    CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocking(pid) \
    JOIN pg_stat_activity holder ON holder.pid = blocking.pid \
    WHERE waiting.application_name = 'tidegate' AND waiting.datname = current_database() \
        AND waiting.wait_event_type = 'Lock' LIMIT 3";

/// Looks in the background, and tells `status`; at most one look at a time.
pub(super) fn look(shared: &Arc<Shared>, status: &Arc<SinkStatus>) {
    if shared.looking.swap(true, Relaxed) {
        return;
    }
    let (shared, status) = (Arc::clone(shared), Arc::clone(status));
    let runtime = shared.runtime.clone();
    runtime.spawn(async move {
        match ask(&shared).await {
            Ok(waits) => status.set_waits(waits),
            Err(error) => tracing::debug!("not known what is waited for: {}", error.message),
        }
        shared.looking.store(false, Relaxed);
    });
}

async fn ask(shared: &Shared) -> Result<Waits, PgError> {
    let connection = connect::checkout(&shared.pool).await?;
    let answer = match tokio::time::timeout(LOOK_MAX, waits(&connection)).await {
        Ok(answer) => answer.map_err(|error| PgError::from_driver(&error)),
        Err(_) => Err(PgError::outage("timeout", "no answer")),
    };
    if answer.is_err() {
        connect::discard(connection);
    }
    answer
}

async fn waits(connection: &Object) -> Result<Waits, tokio_postgres::Error> {
    let statement = connection.prepare_cached(WAITS_SQL).await?;
    let mut waits = Waits::default();
    for _ in 0..LOOKS {
        let row = connection.query_one(&statement, &[]).await?;
        let count = |column| row.get::<_, i32>(column) as u32;
        waits.working += count(0);
        waits.lock += count(1);
        waits.log += count(2);
        waits.rows += count(3);
        waits.idle += count(4);
        if waits.holders.is_empty() && count(1) > 0 {
            let holders = connection.query(HOLDERS_SQL, &[]).await?;
            waits.holders = holders.iter().map(|row| row.get(0)).collect();
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(waits)
}
