//! Any other program of the stack, such as the service itself: it dies with its owner, too.

use std::{
    path::Path,
    process::{Command, ExitStatus},
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    Error, Result,
    home::Home,
    process::{Process, State},
    process_table,
};

/// A running program in a temporary home; what it prints goes to a log there.
#[derive(Debug)]
pub struct Program {
    // Dropped first: its keeper ends the program, which is then reaped.
    home: Home,
    process: Process,
}

impl Program {
    /// Starts `command`. Its working directory is the home, so it needs absolute paths.
    pub fn start(name: &str, command: Command) -> Result<Self> {
        let home = Home::open(name, None)?;
        let log = home.path().join(format!("{name}.log"));
        let process = Process::new(name, home.path().to_owned(), log);
        process.spawn(command)?;
        Ok(Self { home, process })
    }

    pub fn pid(&self) -> Result<u32> {
        self.process.pid()
    }

    pub fn state(&self) -> State {
        self.process.state()
    }

    /// The folder that it runs in, which is deleted with it.
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// How it ended, if nobody here ended it.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.process.exit_status()
    }

    /// SIGTERM, and waits for its end.
    pub fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        self.process.stop(Signal::SIGTERM, limit)
    }

    /// SIGKILL.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// SIGSTOP.
    pub fn suspend(&self) -> Result<()> {
        self.process.suspend()
    }

    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// CPU time since the start.
    pub fn cpu_seconds(&self) -> f64 {
        self.process.cpu_seconds()
    }

    /// The most memory that it had resident so far.
    pub fn peak_memory_bytes(&self) -> Result<u64> {
        let pid = self.pid()?;
        process_table::peak_memory_bytes(pid)
            .ok_or_else(|| Error::NotRunning { name: self.process.name().to_owned() })
    }
}
