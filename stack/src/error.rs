//! What can go wrong while a server is started, driven or asked; each message names the way out.

use std::{io, path::PathBuf, process::ExitStatus};

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no jars in {}; run scripts/setup.sh", .folder.display())]
    JarsMissing { folder: PathBuf },

    #[error("the registry refuses {path}: HTTP {code} {answer}")]
    NotRegistered { path: String, code: u16, answer: String },

    #[error("{program} is not installed; run scripts/setup.sh")]
    NotInstalled { program: &'static str },

    #[error(
        "user '{user}' cannot enter {}, so Postgres cannot run there as '{user}'; \
         choose a folder that every user can enter, by TMPDIR or `data_dir`",
        .folder.display()
    )]
    NotAccessible { user: String, folder: PathBuf },

    #[error("{} belongs to somebody else; delete it or set TMPDIR", .folder.display())]
    NotOwned { folder: PathBuf },

    #[error("cannot {action} {}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    #[error(
        "cannot mount a disk of limited size on {}; only root may, and not in every container",
        .path.display()
    )]
    NotMounted { path: PathBuf, source: nix::Error },

    #[error("{name} ended with {status}; the end of its log:\n{log_tail}")]
    Exited { name: String, status: ExitStatus, log_tail: String },

    #[error("{name} was not ready within {limit_s} s ({last}); the end of its log:\n{log_tail}")]
    NotReady { name: String, limit_s: u64, last: String, log_tail: String },

    #[error("{name} still runs {limit_s} s after it was asked to stop; kill it instead")]
    NotStopped { name: String, limit_s: u64 },

    #[error("{name} is not running; start it first")]
    NotRunning { name: String },

    #[error("{name} is already running with pid {pid}; stop or kill it first")]
    AlreadyRunning { name: String, pid: u32 },

    #[error("no free port of 127.0.0.1 between {first} and {last}")]
    NoFreePort { first: u16, last: u16 },

    #[error("{brokers} brokers were asked for; only 1 and 3 make sense")]
    BrokerCount { brokers: u16 },

    #[error("cannot {action}")]
    Kafka { action: String, source: KafkaError },

    #[error("Kafka refused to {action}: {code}")]
    Refused { action: String, code: RDKafkaErrorCode },

    #[error("Postgres: {action} failed")]
    Postgres { action: String, source: tokio_postgres::Error },

    #[error("Postgres: '{sql}' gave {got} instead of one integer")]
    NotOneInteger { sql: String, got: String },

    #[error("{action} took longer than {limit_s} s")]
    TimedOut { action: String, limit_s: u64 },

    #[error("cannot signal {name} (pid {pid})")]
    Signal { name: String, pid: u32, source: nix::Error },
}

impl Error {
    /// Turns an I/O error into one that names the path: `.map_err(Error::io("create", &path))`.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// An error and what has caused it, in a line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
