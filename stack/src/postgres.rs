//! One Postgres server from the installed binaries.

mod client;
mod install;
mod settings;
mod standby;
mod tablespace;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;

pub use client::Client;

use crate::{
    Error, Result,
    home::Home,
    port::free_port,
    process::{Process, State},
};
use install::Install;

const START_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(60);
pub(crate) const USER: &str = "tidegate";
pub(crate) const PASSWORD: &str = "tidegate";
const DATA: &str = "data";
const SOCKETS: &str = "sockets";
const DATABASE: &str = "tidegate";

#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// Added to `postgresql.conf`; the later of two equal keys counts.
    pub settings: Vec<(String, String)>,
    /// Where the data stays when the owner ends; a temporary folder when there is none.
    pub data_dir: Option<PathBuf>,
}

/// How [`Postgres::stop`] ends the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Rolls back what is open, closes every connection, writes a checkpoint.
    Fast,
    /// Drops everything; the next start recovers from the log.
    Immediate,
}

#[derive(Debug)]
pub struct Postgres {
    // Dropped first: its keeper ends the server, which is then reaped.
    home: Home,
    install: Install,
    port: u16,
    settings: Vec<(String, String)>,
    process: Process,
}

impl Postgres {
    /// Starts a server with a database, and returns when it answers a query there.
    pub fn start(options: PostgresOptions) -> Result<Self> {
        let install = Install::find()?;
        let home = Home::open("postgres", options.data_dir.as_deref())?;
        install.check_access(home.path())?;
        let data = home.path().join(DATA);
        if !data.join("PG_VERSION").exists() {
            init(&install, home.path(), &data)?;
        }
        let postgres = Self::launch(home, install, free_port()?, options.settings)?;
        postgres.create_default_database()?;
        Ok(postgres)
    }

    /// Starts a server on the data in `home`.
    fn launch(
        home: Home,
        install: Install,
        port: u16,
        settings: Vec<(String, String)>,
    ) -> Result<Self> {
        let data = home.path().join(DATA);
        let sockets = home.path().join(SOCKETS);
        fs::create_dir_all(&sockets).map_err(Error::io("create", &sockets))?;
        install.give(&sockets)?;
        settings::write(&data, settings::socket_folder(&sockets), port, &settings)?;

        let process = Process::new("postgres", data, home.path().join("postgres.log"));
        let postgres = Self { home, install, port, settings, process };
        postgres.start_again()?;
        Ok(postgres)
    }

    /// `postgres://user:password@127.0.0.1:port/tidegate`; the user is a superuser.
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket, where no password is asked; none if its path is too long for
    /// one.
    pub fn socket_folder(&self) -> Option<PathBuf> {
        settings::socket_folder(&self.home.path().join(SOCKETS)).map(Path::to_owned)
    }

    /// The postmaster's.
    pub fn pid(&self) -> Result<u32> {
        self.process.pid()
    }

    pub fn state(&self) -> State {
        self.process.state()
    }

    pub fn log(&self) -> &Path {
        self.process.log()
    }

    pub fn stop(&self, mode: StopMode) -> Result<()> {
        let signal = match mode {
            StopMode::Fast => Signal::SIGINT,
            StopMode::Immediate => Signal::SIGQUIT,
        };
        self.process.stop(signal, STOP_LIMIT).map(drop)
    }

    /// SIGKILL to the postmaster and to every backend.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// Starts a stopped or killed server on the same data and port; returns when it answers.
    pub fn start_again(&self) -> Result<()> {
        let mut command = self.install.command("postgres");
        command.arg("-D").arg(self.home.path().join(DATA));
        self.process.spawn(command)?;
        self.process.wait_until_ready(START_LIMIT, || {
            self.client_of("postgres").map(drop).map_err(|error| describe(&error))
        })
    }

    pub fn restart(&self, mode: StopMode) -> Result<()> {
        self.stop(mode)?;
        self.start_again()
    }

    /// SIGSTOP to the postmaster and to every backend: connections stay open, nothing answers.
    pub fn suspend(&self) -> Result<()> {
        self.process.suspend()
    }

    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// CPU time since the last start, of the server and all its backends, the ended ones too.
    pub fn cpu_seconds(&self) -> f64 {
        self.process.cpu_seconds()
    }

    /// A connection to the default database.
    pub fn client(&self) -> Result<Client> {
        self.client_of(DATABASE)
    }

    pub fn client_of(&self, database: &str) -> Result<Client> {
        Client::connect(&self.url_of(database))
    }

    /// Creates an empty database and returns its URL.
    pub fn create_database(&self, name: &str) -> Result<String> {
        self.client()?.execute(&format!("CREATE DATABASE \"{name}\""))?;
        Ok(self.url_of(name))
    }

    /// Runs statements on a connection of their own; gives the rows that the last one affected.
    pub fn execute(&self, sql: &str) -> Result<u64> {
        self.client()?.execute(sql)
    }

    pub fn query_one_i64(&self, sql: &str) -> Result<i64> {
        self.client()?.query_one_i64(sql)
    }

    fn create_default_database(&self) -> Result<()> {
        let client = self.client_of("postgres")?;
        let found = format!("SELECT count(*) FROM pg_database WHERE datname = '{DATABASE}'");
        if client.query_one_i64(&found)? == 0 {
            client.execute(&format!("CREATE DATABASE {DATABASE}"))?;
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if !self.home.is_temporary() {
            // The keeper kills what does not stop.
            self.stop(StopMode::Fast).ok();
        }
    }
}

fn init(install: &Install, home: &Path, data: &Path) -> Result<()> {
    let password = home.join("password");
    fs::write(&password, PASSWORD).map_err(Error::io("write", &password))?;
    fs::create_dir_all(data).map_err(Error::io("create", data))?;
    install.give(data)?;
    install.give(&password)?;
    let mut command: Command = install.command("initdb");
    command
        .current_dir(home)
        .args(["--auth-host=scram-sha-256", "--auth-local=trust", "--encoding=UTF8"])
        .args(["--locale=C.UTF-8", "--no-sync", "--no-instructions", "--username", USER])
        .arg("--pwfile")
        .arg(&password)
        .arg("-D")
        .arg(data);
    let done = run_to_its_end("initdb", &mut command);
    fs::remove_file(&password).map_err(Error::io("delete", &password))?;
    done
}

fn run_to_its_end(name: &str, command: &mut Command) -> Result<()> {
    let output = command.output().map_err(Error::io("start", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    let log = [&output.stdout[..], &output.stderr[..]].concat();
    Err(Error::Exited {
        name: name.into(),
        status: output.status,
        log_tail: String::from_utf8_lossy(&log).into_owned(),
    })
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
