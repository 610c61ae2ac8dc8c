//! Work beside the rows: partitions that expire, and rollups that are refreshed.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Shared, WORK_MAX, connect,
    sqlstate::{Fault, PgError},
    table::PgTarget,
};
use crate::{
    config::Rollup,
    error::Error,
    metrics,
    rollup::{self, Expired, Refreshed, Standing},
    watchdog::Heart,
};

const INTERVAL: Duration = Duration::from_secs(60);
/// A DETACH waits for every transaction that uses the table; the session's own limit is one minute.
const ROUND_MAX: Duration = Duration::from_secs(300);
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Looks after the tables, now and again, until the end is asked for.
pub(super) fn run(shared: &Arc<Shared>, rollups: &[Rollup], heart: &Heart) {
    let mut expiry = Instant::now();
    let mut rollups: Vec<Scheduled<'_>> = rollups.iter().map(Scheduled::new).collect();
    loop {
        if expiry <= Instant::now() {
            newest(shared).iter().for_each(|target| expire(shared, target, heart));
            expiry = Instant::now() + INTERVAL;
        }
        for scheduled in &mut rollups {
            scheduled.turn(shared, heart);
        }
        heart.beat();
        if shared.shutdown.sleep(WAIT_MAX) {
            return;
        }
    }
}

/// A rollup that is refreshed now and again.
struct Scheduled<'a> {
    rollup: &'a Rollup,
    due: Instant,
    /// What went wrong last, which is said once.
    trouble: Option<String>,
}

impl<'a> Scheduled<'a> {
    fn new(rollup: &'a Rollup) -> Self {
        Self { rollup, due: Instant::now(), trouble: None }
    }

    fn turn(&mut self, shared: &Shared, heart: &Heart) {
        let Some(every) = self.rollup.every.filter(|_| self.due <= Instant::now()) else { return };
        let refreshed = self.refresh(shared, heart);
        self.due = Instant::now() + every;
        if shared.shutdown.is_requested() {
            return;
        }
        let name = &self.rollup.name;
        metrics::rollup_refreshed(name, outcome(&refreshed));
        let trouble = match refreshed {
            Ok(Ok(Refreshed::Done { boundary, moved, touched, expired })) => {
                if moved {
                    tracing::info!(
                        "rollup {name}: finished up to {boundary}; {touched} touched buckets made anew"
                    );
                }
                tell(name, &expired);
                None
            }
            Ok(Ok(Refreshed::Busy)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(format!("{} (SQLSTATE {})", error.message, error.code)),
        };
        if let Some(trouble) = trouble.as_ref().filter(|now| self.trouble.as_ref() != Some(*now)) {
            tracing::warn!(
                "rollup {name} is not refreshed, and its view reads more detailed rows: {trouble}"
            );
        }
        self.trouble = trouble;
    }

    fn refresh(&self, shared: &Shared, heart: &Heart) -> Result<Result<Refreshed, Error>, PgError> {
        let mut go_on = || {
            heart.beat();
            !shared.shutdown.is_requested()
        };
        let refreshed = connect::ask_while(&shared.pool, &mut go_on, WORK_MAX, async |client| {
            let refreshed = rollup::refresh(client, self.rollup, None, &mut |_| {}).await?;
            for standing in rollup::read_all(client).await? {
                if standing.name == self.rollup.name {
                    let Standing { name, boundary_seconds, touched, .. } = standing;
                    metrics::rollup_stands(&name, boundary_seconds, touched);
                }
            }
            Ok(refreshed)
        });
        shared.runtime.block_on(refreshed)
    }
}

fn tell(name: &str, expired: &Expired) {
    match expired {
        Expired::Rows(0) => {}
        Expired::Rows(count) => {
            tracing::info!("rollup {name}: {count} detailed rows have expired and are deleted");
        }
        Expired::Needed(other) => tracing::info!(
            "rollup {name}: expired detailed rows stay, as rollup {other} needs them"
        ),
    }
}

fn outcome(refreshed: &Result<Result<Refreshed, Error>, PgError>) -> &'static str {
    match refreshed {
        Ok(Ok(Refreshed::Done { .. })) => "done",
        Ok(Ok(Refreshed::Busy)) => "busy",
        Ok(Err(_)) | Err(_) => "failed",
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
