//! The errors that end a command, each with its exit code.

use std::{fmt, process::ExitCode};

/// What kind of end an [`Error`] is; decides the exit code (sysexits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// 1: what was asked for is so: `lag --fail-if-growing` has found a lag that grows.
    Growing,
    /// 64: the command line is wrong.
    Usage,
    /// 65: the data make it impossible to go on.
    Data,
    /// 69: Kafka or Postgres cannot be reached.
    Unavailable,
    /// 70: an invariant does not hold, or a thread died.
    Software,
    /// 75: try again; nothing was lost.
    Temporary,
    /// 77: Kafka or Postgres refuses the credentials or the right.
    Permission,
    /// 78: the configuration, or what it names, is wrong.
    Config,
}

impl ErrorKind {
    /// The process' exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Growing => 1,
            Self::Usage => 64,
            Self::Data => 65,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::Temporary => 75,
            Self::Permission => 77,
            Self::Config => 78,
        }
    }
}

/// An error that ends a command: what is wrong, with which thing, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind of end it is.
    pub kind: ErrorKind,
    /// For a person; names the thing, the value and the way out.
    pub message: String,
}

impl Error {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// An error in the configuration, or in what it names.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// A broken invariant.
    pub fn software(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Software, message)
    }

    /// Something that cannot be reached.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<&Error> for ExitCode {
    fn from(error: &Error) -> Self {
        Self::from(error.kind.exit_code())
    }
}
