//! Why the demo failed; each message names the way out.

use std::{io, path::PathBuf, process::ExitStatus};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("stopped")]
    Interrupted { exit_code: u8 },
    #[error("cannot read {}: run the demo from the repository's root, or name it with --config", path.display())]
    Config { path: PathBuf, source: io::Error },
    #[error("there is no {}; build it with: cargo build --release --workspace", path.display())]
    NotBuilt { path: PathBuf },
    #[error("tidegate ended with {status}; the end of its log:\n{log_tail}")]
    ServiceEnded { status: ExitStatus, log_tail: String },
    #[error(
        "nothing moved for {seconds} s: produced {produced}, written {written}; the end of \
         tidegate's log:\n{log_tail}"
    )]
    Stalled { seconds: u64, produced: u64, written: u64, log_tail: String },
    #[error("tidegate does not answer on http://{address}{path}")]
    Http { address: String, path: &'static str, source: io::Error },
    #[error("tidegate's answer to {path} is not what it should be: {got}")]
    Answer { path: &'static str, got: String },
    #[error("the load generator failed")]
    Load(#[from] loadgen::LoadError),
    #[error("the load generator's thread panicked")]
    LoadPanicked,
    #[error("the table is not what the ledger says")]
    NotProved,
    #[error("the merged query and the plain aggregate do not give the same answer")]
    NotTheSame,
    #[error(transparent)]
    Check(#[from] checker::Error),
    #[error(transparent)]
    Stack(#[from] stack::Error),
    #[error("cannot {action}")]
    System { action: &'static str, source: io::Error },
}

impl Error {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted { exit_code } => *exit_code,
            _ => 1,
        }
    }
}
