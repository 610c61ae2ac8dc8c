//! A Prometheus, and promtool, which belongs to it.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use crate::{
    Error, Result, home::Home, http::http_get, kafka::cache, port::free_port, process::Process,
};

const START_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// A server that scrapes and judges what its configuration says.
#[derive(Debug)]
pub struct Prometheus {
    // Dropped first: its keeper ends the server, which is then reaped.
    _home: Home,
    _process: Process,
    port: u16,
}

impl Prometheus {
    /// Starts a server with a configuration file, which may name others beside it; returns when it answers.
    pub fn start(config: &Path) -> Result<Self> {
        let config = config.canonicalize().map_err(Error::io("resolve", config))?;
        let home = Home::open("prometheus", None)?;
        let port = free_port()?;
        let mut command = Command::new(program("prometheus")?);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", home.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let log = home.path().join("prometheus.log");
        let process = Process::new("prometheus", home.path().to_owned(), log);
        process.spawn(command)?;
        process.wait_until_ready(START_LIMIT, || match get(port, "/-/ready") {
            Ok((200, _)) => Ok(()),
            Ok((code, _)) => Err(format!("HTTP {code}")),
            Err(error) => Err(error.to_string()),
        })?;
        Ok(Self { _home: home, _process: process, port })
    }

    /// Evaluates an expression now; gives the answer of the API, which is JSON, whether it took the
    /// expression or not.
    pub fn query(&self, expression: &str) -> Result<String> {
        self.ask(&format!("/api/v1/query?query={}", percent_encoded(expression)))
    }

    /// The rules and how they stand, as the API has them.
    pub fn rules(&self) -> Result<String> {
        self.ask("/api/v1/rules")
    }

    fn ask(&self, path: &str) -> Result<String> {
        let (_, answer) = get(self.port, path).map_err(Error::io("ask", "Prometheus"))?;
        Ok(answer)
    }
}

fn get(port: u16, path: &str) -> io::Result<(u16, String)> {
    http_get(&format!("127.0.0.1:{port}"), path, ANSWER_LIMIT)
}

/// Runs `promtool` to its end.
pub fn promtool(arguments: &[&str], stdin: impl Into<Stdio>) -> Result<Output> {
    let program = program("promtool")?;
    Command::new(&program)
        .args(arguments)
        .stdin(stdin)
        .output()
        .map_err(Error::io("start", program))
}

/// On PATH, or where `scripts/setup.sh` has unpacked it.
fn program(name: &'static str) -> Result<PathBuf> {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths)
        .chain([cache("prometheus")])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or(Error::NotInstalled { program: name })
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
