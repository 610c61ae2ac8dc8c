//! Work beside the rows: partitions that expire.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{Shared, connect, sqlstate::Fault, table::PgTarget};
use crate::watchdog::Heart;

const INTERVAL: Duration = Duration::from_secs(60);
/// A DETACH waits for every transaction that uses the table; the session's own limit is one minute.
const ROUND_MAX: Duration = Duration::from_secs(300);
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Detaches expired partitions, now and again, until the end is asked for.
pub(super) fn run(shared: &Arc<Shared>, heart: &Heart) {
    loop {
        for target in newest(shared) {
            expire(shared, &target, heart);
        }
        let next = Instant::now() + INTERVAL;
        while Instant::now() < next {
            heart.beat();
            if shared.shutdown.sleep(WAIT_MAX) {
                return;
            }
        }
    }
}

fn expire(shared: &Shared, target: &PgTarget, heart: &Heart) {
    let Some(partitions) = target.lineage.partitions.as_ref().filter(|p| p.expires()) else {
        return;
    };
    let mut go_on = || {
        heart.beat();
        !shared.shutdown.is_requested()
    };
    let expired = connect::ask_while(&shared.pool, &mut go_on, ROUND_MAX, async |client| {
        partitions.expire(client, &target.table).await
    });
    if let Err(error) = shared.runtime.block_on(expired)
        && !shared.shutdown.is_requested()
    {
        let table = target.table.display();
        let (code, message) = (error.code, error.message);
        match error.fault {
            Fault::Outage => tracing::info!(
                "expired partitions of {table} wait for the next round: {message} (SQLSTATE {code})"
            ),
            _ => tracing::warn!(
                "expired partitions of {table} stay attached: {message} (SQLSTATE {code})"
            ),
        }
    }
}

/// Each table once, as it is now.
fn newest(shared: &Shared) -> Vec<Arc<PgTarget>> {
    let targets = shared.targets.lock().unwrap_or_else(PoisonError::into_inner);
    let mut newest: Vec<Arc<PgTarget>> = Vec::new();
    for target in targets.iter().rev() {
        if !newest.iter().any(|known| Arc::ptr_eq(&known.lineage, &target.lineage)) {
            newest.push(Arc::clone(target));
        }
    }
    newest
}
