//! A standby: a second server that follows a first one, asynchronously, and can take its place.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    thread,
    time::{Duration, Instant},
};

use super::{DATA, PASSWORD, Postgres, USER, run_to_its_end};
use crate::{Disk, Error, Result, home::Home, port::free_port};

const POLL_INTERVAL: Duration = Duration::from_millis(20);
const RECEIVER_LIMIT: Duration = Duration::from_secs(30);
const PROMOTE_LIMIT_S: u64 = 60;

impl Postgres {
    /// Copies this server and starts the copy as its standby: asynchronous, open to queries, with
    /// the same settings and as many disks. On `port`, where a former primary of the same clients
    /// was, or on a free one. This server keeps the log that the standby has not got yet.
    pub fn start_standby(&self, port: Option<u16>) -> Result<Self> {
        let home = Home::open("standby", None)?;
        self.install.check_access(home.path())?;
        let port = port.map_or_else(free_port, Ok)?;
        let slot = format!("standby_{port}");
        // One of a former standby on that port, which is gone.
        self.execute(&format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
             WHERE slot_name = '{slot}'"
        ))?;
        self.copy_to(&home, &slot)?;
        let signal = home.path().join(DATA).join("standby.signal");
        fs::write(&signal, "").map_err(Error::io("write", &signal))?;
        self.install.give(&signal)?;

        // The later of two equal keys counts, so this server's own, if it was a standby once, do not.
        let mut settings = self.settings.clone();
        let primary = format!("host=127.0.0.1 port={} user={USER} password={PASSWORD}", self.port);
        settings.push(("primary_conninfo".into(), primary));
        settings.push(("primary_slot_name".into(), slot));
        Self::launch(home, self.install.clone(), port, settings)
    }

    /// pg_basebackup, with a disk in `home` for each of this server's.
    fn copy_to(&self, home: &Home, slot: &str) -> Result<()> {
        let data = home.path().join(DATA);
        fs::create_dir(&data).map_err(Error::io("create", &data))?;
        // As initdb does; with any other mode the server refuses to start.
        fs::set_permissions(&data, Permissions::from_mode(0o700))
            .map_err(Error::io("close", &data))?;
        self.install.give(&data)?;
        let mut command = self.install.command("pg_basebackup");
        command
            .current_dir(home.path())
            .env("PGPASSWORD", PASSWORD)
            .args(["--host=127.0.0.1", "--username", USER, "--port", &self.port.to_string()])
            .args(["--checkpoint=fast", "--no-sync", "--no-manifest"])
            .args(["--create-slot", "--slot", slot])
            .arg("--pgdata")
            .arg(&data);
        for disk in Disk::all_in(self.home.path())? {
            let bytes = disk.size_bytes()?;
            let copy = Disk::mount(home.path(), &disk.name(), bytes, self.install.user())?;
            let (from, to) = (disk.path().display(), copy.path().display());
            command.arg(format!("--tablespace-mapping={from}={to}"));
        }
        run_to_its_end("pg_basebackup", &mut command)
    }

    /// Whether it follows another server.
    pub fn is_standby(&self) -> Result<bool> {
        Ok(self.query_one_i64("SELECT pg_is_in_recovery()::int")? == 1)
    }

    /// Makes a standby fall behind: it takes nothing more from its primary, until
    /// [`Self::receive_again`]. What it has received, it keeps and shows.
    pub fn stop_receiving(&self) -> Result<()> {
        // Two calls: ALTER SYSTEM must not share a transaction with anything.
        self.execute("ALTER SYSTEM SET primary_conninfo = ''")?;
        self.execute("SELECT pg_reload_conf()")?;
        self.wait_for_receivers(0)
    }

    pub fn receive_again(&self) -> Result<()> {
        self.execute("ALTER SYSTEM RESET primary_conninfo")?;
        self.execute("SELECT pg_reload_conf()")?;
        self.wait_for_receivers(1)
    }

    fn wait_for_receivers(&self, wanted: i64) -> Result<()> {
        let sql = "SELECT count(*) FROM pg_stat_wal_receiver";
        self.wait_until("the standby's receiver", RECEIVER_LIMIT, || {
            Ok(self.query_one_i64(sql)? == wanted)
        })
    }

    /// Waits until this standby shows everything that is committed in `primary` now.
    pub fn wait_until_caught_up_with(&self, primary: &Self, limit: Duration) -> Result<()> {
        let position = primary.client()?.query_text("SELECT pg_current_wal_lsn()")?;
        let position = position.into_iter().flatten().flatten().next().unwrap_or_default();
        let is_there = format!("SELECT (pg_last_wal_replay_lsn() >= '{position}')::int");
        self.wait_until("the standby's replay", limit, || Ok(self.query_one_i64(&is_there)? == 1))
    }

    /// Makes a primary of a standby; returns when it takes writes. Its former primary has to be
    /// stopped for good: the two go separate ways from here on.
    pub fn promote(&self) -> Result<()> {
        self.execute(&format!("SELECT pg_promote(true, {PROMOTE_LIMIT_S})"))?;
        // It does not fail where it took longer.
        self.wait_until("the promotion", Duration::from_secs(PROMOTE_LIMIT_S), || {
            Ok(!self.is_standby()?)
        })?;
        // A standby of this server will get a copy of what [`Self::stop_receiving`] has set.
        self.execute("ALTER SYSTEM RESET primary_conninfo").map(drop)
    }

    fn wait_until(
        &self,
        action: &str,
        limit: Duration,
        mut done: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !done()? {
            if Instant::now() > deadline {
                return Err(Error::TimedOut { action: action.into(), limit_s: limit.as_secs() });
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}
