//! Why the run could not be made or went no further. What it found is no error: see `findings`.

use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no {}; build it with: cargo build --release --workspace", path.display())]
    NotBuilt { path: PathBuf },
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{what}: not within {limit_s} s: {last}")]
    TooLate { what: String, limit_s: u64, last: String },
    #[error("'{sql}' gave {got}, which is not what it should be")]
    Answer { sql: String, got: String },
    #[error("the load generator failed")]
    Load(#[from] loadgen::LoadError),
    #[error("a thread of the run panicked")]
    Panicked,
    #[error(transparent)]
    Check(#[from] checker::Error),
    #[error(transparent)]
    Stack(#[from] stack::Error),
}

impl Error {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
