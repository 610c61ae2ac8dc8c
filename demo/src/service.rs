//! The running `tidegate` of the demo: its process and its admin server.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use stack::Program;

use crate::error::Error;

const HTTP_LIMIT: Duration = Duration::from_secs(5);
/// More than its own limit for the drain.
const STOP_LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Service {
    program: Program,
    address: String,
}

/// What `/status` says.
pub(crate) struct Status {
    pub(crate) lag_records: u64,
    pub(crate) bottleneck: String,
    pub(crate) evidence: String,
}

/// What it takes to start it.
pub(crate) struct Launch {
    tidegate: PathBuf,
    config: PathBuf,
}

impl Launch {
    /// Finds the `tidegate` that was built along with the demo, and the configuration file.
    pub(crate) fn find(config: &Path) -> Result<Self, Error> {
        let demo = env::current_exe()
            .map_err(|source| Error::System { action: "find my own program file", source })?;
        let tidegate = demo.with_file_name("tidegate");
        if !tidegate.exists() {
            return Err(Error::NotBuilt { path: tidegate });
        }
        let config = fs::canonicalize(config)
            .map_err(|source| Error::Config { path: config.to_owned(), source })?;
        Ok(Self { tidegate, config })
    }

    pub(crate) fn start(&self, brokers: &str, database: &str) -> Result<Service, Error> {
        let address = format!("127.0.0.1:{}", stack::free_port()?);
        let mut command = Command::new(&self.tidegate);
        command
            .arg("run")
            .arg("--config")
            .arg(&self.config)
            .args(["--set", &format!("admin.listen={address}"), "--set", "log.format=human"])
            .env("KAFKA_BROKERS", brokers)
            .env("DATABASE_URL", database);
        Ok(Service { program: Program::start("tidegate", command)?, address })
    }

    /// Runs `tidegate rollup`; gives what it says.
    pub(crate) fn rollup(
        &self,
        action: &str,
        brokers: &str,
        database: &str,
    ) -> Result<String, Error> {
        let output = Command::new(&self.tidegate)
            .args(["rollup", action, "--config"])
            .arg(&self.config)
            .env("KAFKA_BROKERS", brokers)
            .env("DATABASE_URL", database)
            .output()
            .map_err(|source| Error::System { action: "run tidegate rollup", source })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => {
                let (status, log_tail) = (output.status, text(&output.stderr));
                Err(Error::ServiceEnded { status, log_tail })
            }
        }
    }
}

impl Service {
    /// # Errors
    /// When the process is gone.
    pub(crate) fn check_runs(&self) -> Result<(), Error> {
        match self.program.exit_status() {
            None => Ok(()),
            Some(status) => Err(Error::ServiceEnded { status, log_tail: self.log_tail() }),
        }
    }

    /// Whether it has partitions and a database; not before it listens, which is no error.
    pub(crate) fn is_ready(&self) -> bool {
        self.get("/readyz").is_ok()
    }

    pub(crate) fn status(&self) -> Result<Status, Error> {
        let body = self.get("/status")?;
        let value: Value = serde_json::from_str(&body).unwrap_or_default();
        let text = |pointer| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let status = || {
            Some(Status {
                lag_records: value.get("lag_records")?.as_u64()?,
                bottleneck: text("/verdict/bottleneck")?,
                evidence: text("/verdict/evidence")?,
            })
        };
        status().ok_or(Error::Answer { path: "/status", got: body })
    }

    pub(crate) fn metrics(&self) -> Result<String, Error> {
        self.get("/metrics")
    }

    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.program.cpu_seconds()
    }

    pub(crate) fn peak_memory_bytes(&self) -> Result<u64, Error> {
        Ok(self.program.peak_memory_bytes()?)
    }

    pub(crate) fn log_tail(&self) -> String {
        self.program.log_tail()
    }

    /// Lets it finish what is in flight.
    pub(crate) fn stop(self) -> Result<(), Error> {
        let status = self.program.terminate(STOP_LIMIT)?;
        if status.success() {
            return Ok(());
        }
        Err(Error::ServiceEnded { status, log_tail: self.log_tail() })
    }

    fn get(&self, path: &'static str) -> Result<String, Error> {
        let answer = stack::http_get(&self.address, path, HTTP_LIMIT);
        match answer {
            Ok((200, body)) => Ok(body),
            Ok((_, got)) => Err(Error::Answer { path, got }),
            Err(source) => Err(Error::Http { address: self.address.clone(), path, source }),
        }
    }
}
