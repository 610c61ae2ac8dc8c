//! One server process: its start, its end, and everything in between that a test does to it.

use std::{
    fmt,
    fs::{self, OpenOptions},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Error, Result, process_table};

const POLL_INTERVAL: Duration = Duration::from_millis(20);
const LOG_TAIL_LINES: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Suspended,
    Stopped,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Stopped => "stopped",
        })
    }
}

/// A process that can be started again and again in the same folder. Everything that it starts in
/// turn stays inside `folder` and is signalled along with it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    folder: PathBuf,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Process {
    pub(crate) fn new(name: impl Into<String>, folder: PathBuf, log: PathBuf) -> Self {
        Self { name: name.into(), folder, log, child: Mutex::new(None) }
    }

    /// Starts `command` in the folder, its output appended to the log.
    pub(crate) fn spawn(&self, mut command: Command) -> Result<()> {
        let mut child = self.lock();
        if let Ok(running) = self.running(&mut child) {
            return Err(Error::AlreadyRunning { name: self.name.clone(), pid: running.id() });
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(Error::io("open", &self.log))?;
        let errors = log.try_clone().map_err(Error::io("open", &self.log))?;
        let spawned = command
            .current_dir(&self.folder)
            // Ctrl-C is for the owner; its end is the server's end, in an orderly way.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(Error::io("start", command.get_program()))?;
        *child = Some(spawned);
        Ok(())
    }

    /// Calls `probe` until it succeeds; ends early, with the log, when the process is gone.
    pub(crate) fn wait_until_ready(
        &self,
        limit: Duration,
        mut probe: impl FnMut() -> Result<(), String>,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let Err(last) = probe() else { return Ok(()) };
            if let Some(child) = self.lock().as_mut()
                && let Ok(Some(status)) = child.try_wait()
            {
                let name = self.name.clone();
                return Err(Error::Exited { name, status, log_tail: self.log_tail() });
            }
            if Instant::now() > deadline {
                return Err(Error::NotReady {
                    name: self.name.clone(),
                    limit_s: limit.as_secs(),
                    last,
                    log_tail: self.log_tail(),
                });
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Sends `signal` to the process alone and waits for its end.
    pub(crate) fn stop(&self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        self.resume()?;
        let mut guard = self.lock();
        let child = self.running(&mut guard)?;
        self.signal(child.id(), signal)?;
        let deadline = Instant::now() + limit;
        while is_alive(child) {
            if Instant::now() > deadline {
                let limit_s = limit.as_secs();
                return Err(Error::NotStopped { name: self.name.clone(), limit_s });
            }
            thread::sleep(POLL_INTERVAL);
        }
        let status = child.wait().map_err(Error::io("wait for", &self.name))?;
        *guard = None;
        drop(guard);
        self.kill_remaining()?;
        Ok(status)
    }

    /// SIGKILL to everything in the folder, and waits until it is gone.
    pub(crate) fn kill(&self) -> Result<()> {
        let mut guard = self.lock();
        let child = self.running(&mut guard)?;
        self.signal(child.id(), Signal::SIGKILL)?;
        child.wait().map_err(Error::io("wait for", &self.name))?;
        *guard = None;
        drop(guard);
        self.kill_remaining()
    }

    /// SIGSTOP. The process itself comes first, so that it starts nothing new meanwhile; returns
    /// when all sleep, which under load comes a moment after the signal.
    pub(crate) fn suspend(&self) -> Result<()> {
        let pid = self.pid()?;
        self.signal(pid, Signal::SIGSTOP)?;
        wait_until_suspended(|| vec![pid]);
        self.signal_remaining(Signal::SIGSTOP)?;
        wait_until_suspended(|| process_table::pids_inside(&self.folder));
        Ok(())
    }

    /// SIGCONT; does nothing to what is not suspended.
    pub(crate) fn resume(&self) -> Result<()> {
        let pid = self.pid()?;
        self.signal_remaining(Signal::SIGCONT)?;
        self.signal(pid, Signal::SIGCONT)
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        let mut guard = self.lock();
        self.running(&mut guard).map(|child| child.id())
    }

    pub(crate) fn state(&self) -> State {
        match self.pid() {
            Err(_) => State::Stopped,
            Ok(pid) if process_table::is_suspended(pid) => State::Suspended,
            Ok(_) => State::Running,
        }
    }

    /// How it ended, if it did so by itself.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        self.lock().as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// CPU time since the last start, of the process and all that it started.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        process_table::cpu_seconds_inside(&self.folder)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The end of the log.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    fn kill_remaining(&self) -> Result<()> {
        while !process_table::pids_inside(&self.folder).is_empty() {
            self.signal_remaining(Signal::SIGKILL)?;
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn signal_remaining(&self, signal: Signal) -> Result<()> {
        process_table::pids_inside(&self.folder)
            .into_iter()
            .try_for_each(|pid| self.signal(pid, signal))
    }

    fn signal(&self, pid: u32, signal: Signal) -> Result<()> {
        match kill(Pid::from_raw(pid as i32), signal) {
            // It ended by itself between the look and the signal.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(source) => Err(Error::Signal { name: self.name.clone(), pid, source }),
        }
    }

    fn running<'a>(&self, child: &'a mut Option<Child>) -> Result<&'a mut Child> {
        if let Some(child) = child
            && is_alive(child)
        {
            return Ok(child);
        }
        Err(Error::NotRunning { name: self.name.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only the parent can reap it; otherwise it stays in the process table as a zombie.
        if let Some(child) = self.lock().as_mut() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Ends for processes that are gone as well.
fn wait_until_suspended(pids: impl Fn() -> Vec<u32>) {
    while pids().into_iter().any(process_table::is_awake) {
        thread::sleep(POLL_INTERVAL);
    }
}

fn is_alive(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(None))
}
