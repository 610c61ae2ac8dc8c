//! The folder by which the other commands find the supervisor:
//!
//! - `pid`, locked by the supervisor as long as it lives,
//! - `socket`, where it takes orders: one line in, `ok` or `error` and a text out,
//! - `env`, the addresses, to be sourced by a shell,
//! - `log`, what a detached supervisor had to say.

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::{
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use nix::fcntl::{Flock, FlockArg};

#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
}

impl StateDir {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(crate) fn create(&self) -> Result<(), String> {
        fs::create_dir_all(&self.path)
            .map_err(|error| format!("cannot create {}: {error}", self.path.display()))
    }

    /// Makes this process the supervisor, as long as it holds what it gets.
    pub(crate) fn claim(&self) -> Result<Flock<File>, Box<dyn Error>> {
        let path = self.path.join("pid");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        let mut pid =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| self.already_up())?;
        pid.set_len(0)?;
        writeln!(pid, "{}", std::process::id())?;
        Ok(pid)
    }

    /// Fails when a supervisor holds the folder.
    pub(crate) fn check_free(&self) -> Result<(), Box<dyn Error>> {
        self.claim().map(drop)
    }

    pub(crate) fn listen(&self) -> io::Result<UnixListener> {
        let socket = self.path.join("socket");
        // Left behind by a supervisor that was killed: this one holds the lock.
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => UnixListener::bind(socket),
        }
    }

    pub(crate) fn write_env(&self, env: &str) -> io::Result<()> {
        // A reader finds all of it or nothing.
        let unfinished = self.path.join("env.unfinished");
        fs::write(&unfinished, env)?;
        fs::rename(unfinished, self.path.join("env"))
    }

    pub(crate) fn clear(&self) {
        for name in ["env", "socket", "log", "pid"] {
            // Not every supervisor got as far as to write them all.
            fs::remove_file(self.path.join(name)).ok();
        }
        // Stays when somebody else put something there.
        fs::remove_dir(&self.path).ok();
    }

    /// Sends an order to the supervisor and returns what it says when it is done.
    pub(crate) fn order(&self, order: &str) -> Result<String, Box<dyn Error>> {
        let mut stream =
            UnixStream::connect(self.path.join("socket")).map_err(|_| self.not_up())?;
        writeln!(stream, "{order}")?;
        stream.shutdown(Shutdown::Write)?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        match reply.split_once('\n') {
            Some(("ok", text)) => Ok(text.to_owned()),
            Some(("error", text)) => Err(text.trim_end().into()),
            _ => Err(format!("the supervisor died while it did '{order}'").into()),
        }
    }

    pub(crate) fn psql(&self, arguments: &[String]) -> Result<(), Box<dyn Error>> {
        let env = fs::read_to_string(self.path.join("env")).map_err(|_| self.not_up())?;
        let url = env.lines().find_map(|line| line.strip_prefix("DATABASE_URL="));
        let error = Command::new("psql").arg(url.unwrap_or_default()).args(arguments).exec();
        Err(format!("cannot run psql: {error}; run scripts/setup.sh").into())
    }

    fn already_up(&self) -> String {
        let pid = fs::read_to_string(self.path.join("pid")).unwrap_or_default();
        format!(
            "already up in {} (supervisor's pid: {}); 'stack down' ends it",
            self.path.display(),
            pid.trim()
        )
    }

    fn not_up(&self) -> String {
        format!("not up in {}; 'stack up --detach' starts it", self.path.display())
    }
}
