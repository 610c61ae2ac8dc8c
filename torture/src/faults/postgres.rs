//! Faults of Postgres and of the way there.

use std::time::Duration;

use stack::{Proxy, StopMode};

use super::Scene;
use crate::{
    chance::Chance,
    error::Error,
    kind::Kind,
    plan::Planned,
    servers::{STATEMENT_LIMIT, Servers},
    wait::within,
};

/// Rows have to come before there is a COMMIT to reply to, or a COPY to stop.
const ROWS_LIMIT: Duration = Duration::from_secs(60);
/// So few that a COPY, of which the proxy passes 32 KiB at a time, takes seconds.
const THROTTLED_BYTES_PER_SECOND: u64 = 16 * 1024;
/// COMMIT's CommandComplete.
const COMMIT_REPLY: &[u8] = b"COMMIT\0";
/// SQLSTATE disk_full.
const DISK_FULL: &str = "53100";

pub(super) fn inject(fault: &mut Planned, scene: Scene<'_>) -> Result<(), Error> {
    let chance = &mut fault.chance;
    let servers = scene.servers;
    // There is one before each seat.
    let Some(proxy) = servers.proxy() else { return Ok(()) };
    match fault.kind {
        Kind::Backends => kill_backends(chance, servers),
        Kind::Stall => {
            proxy.stall();
            chance.pass(1_000, 8_000);
            Ok(proxy.pass()?)
        }
        Kind::Cut => {
            proxy.cut();
            Ok(())
        }
        Kind::Commit => drop_reply_to_commit(proxy),
        Kind::Throttle => {
            proxy.throttle(THROTTLED_BYTES_PER_SECOND);
            chance.pass(1_000, 8_000);
            Ok(proxy.pass()?)
        }
        Kind::Disk => fill_disk(chance, scene),
        Kind::Lock => lock_table(chance, servers),
        Kind::Failover => servers.fail_over(|| chance.pass(0, 4_000)),
        _ => stop_inside_a_copy(chance, servers, proxy),
    }
}

fn kill_backends(chance: &mut Chance, servers: &Servers) -> Result<(), Error> {
    let client = servers.primary().client()?;
    for _ in 0..=chance.below(5) {
        client.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = 'tidegate'",
        )?;
        chance.pass(0, 300);
    }
    Ok(())
}

fn drop_reply_to_commit(proxy: &Proxy) -> Result<(), Error> {
    proxy.cut_at_reply(COMMIT_REPLY);
    Ok(proxy.wait_until_cut_at_reply(ROWS_LIMIT)?)
}

fn fill_disk(chance: &mut Chance, scene: Scene<'_>) -> Result<(), Error> {
    // Without one, the plan has no such fault.
    let Some(disk) = scene.servers.disk()? else { return Ok(()) };
    disk.fill()?;
    let noticed = within(ROWS_LIMIT, "a tidegate that meets the full disk", || {
        let statuses = scene.fleet.statuses();
        let outages = statuses.iter().map(|(_, status)| status.pointer("/sinks/0/outage/sqlstate"));
        match outages.flatten().any(|sqlstate| sqlstate == DISK_FULL) {
            true => Ok(()),
            false => Err("none".to_owned()),
        }
    });
    chance.pass(0, 5_000);
    disk.free()?;
    noticed
}

fn lock_table(chance: &mut Chance, servers: &Servers) -> Result<(), Error> {
    let client = servers.primary().client()?;
    let limit_ms = STATEMENT_LIMIT.as_millis();
    client.execute(&format!(
        "SET lock_timeout = {limit_ms}; BEGIN; LOCK TABLE orders IN SHARE MODE"
    ))?;
    // Tidegate's own lock_timeout is 5 s.
    chance.pass(1_000, 9_000);
    client.execute("ROLLBACK")?;
    Ok(())
}

/// An immediate stop while a COPY has handed over some of its rows and not the others.
fn stop_inside_a_copy(chance: &mut Chance, servers: &Servers, proxy: &Proxy) -> Result<(), Error> {
    let postgres = servers.primary();
    let client = postgres.client()?;
    proxy.throttle(THROTTLED_BYTES_PER_SECOND);
    let inside = "SELECT count(*) FROM pg_stat_progress_copy WHERE tuples_processed > 0";
    let reached = within(ROWS_LIMIT, "a COPY on its way", || {
        match client.query_one_i64(inside).map_err(|error| error.to_string())? {
            0 => Err("none".to_owned()),
            _ => Ok(()),
        }
    });
    postgres.stop(StopMode::Immediate)?;
    proxy.pass()?;
    chance.pass(0, 3_000);
    postgres.start_again()?;
    reached
}
