//! A schema registry: Apicurio's, which speaks Confluent's protocol; it keeps everything in memory.

use std::{fs, process::Command, time::Duration};

use crate::{
    Error, Result,
    home::Home,
    http::{http_get, http_post},
    kafka::cache,
    port::free_port,
    process::Process,
};

const VERSION: &str = "3.0.9";
const API: &str = "/apis/ccompat/v7";
const START_LIMIT: Duration = Duration::from_secs(90);
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Registry {
    // Dropped first: its keeper ends the server, which is then reaped.
    _home: Home,
    _process: Process,
    port: u16,
}

impl Registry {
    /// Starts a registry without a schema, and returns when it answers.
    pub fn start() -> Result<Self> {
        let folder = cache(&format!("registry-{VERSION}"));
        if !folder.is_dir() {
            return Err(Error::JarsMissing { folder });
        }
        let jar = folder.join(format!("apicurio-registry-app-{VERSION}-runner.jar"));
        let home = Home::open("registry", None)?;
        let temporary = home.path().join("tmp");
        fs::create_dir_all(&temporary).map_err(Error::io("create", &temporary))?;
        let port = free_port()?;
        let mut command = Command::new("java");
        command
            // Performance data would stay behind in /tmp/hsperfdata_<user> after kill -9.
            .args(["-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "-Xmx256m"])
            .arg(format!("-Djava.io.tmpdir={}", temporary.display()))
            .arg("-Dquarkus.http.host=127.0.0.1")
            .arg(format!("-Dquarkus.http.port={port}"))
            .arg("-jar")
            .arg(jar);
        let process =
            Process::new("registry", home.path().to_owned(), home.path().join("registry.log"));
        process.spawn(command)?;
        process.wait_until_ready(START_LIMIT, || {
            let address = format!("127.0.0.1:{port}");
            match http_get(&address, &format!("{API}/subjects"), ANSWER_LIMIT) {
                Ok((200, _)) => Ok(()),
                Ok((code, _)) => Err(format!("HTTP {code}")),
                Err(error) => Err(error.to_string()),
            }
        })?;
        Ok(Self { _home: home, _process: process, port })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path behind host and port of a registry's URL.
    pub fn path(&self) -> &'static str {
        API
    }

    /// Registers a version of a subject, by a body as the protocol has it; gives the answer, which
    /// has the schema's number as `id`.
    pub fn register(&self, subject: &str, body: &str) -> Result<String> {
        let address = format!("127.0.0.1:{}", self.port);
        let path = format!("{API}/subjects/{subject}/versions");
        let asked = http_post(&address, &path, body, ANSWER_LIMIT);
        match asked.map_err(Error::io("ask", "the registry"))? {
            (200, answer) => Ok(answer),
            (code, answer) => Err(Error::NotRegistered { path, code, answer }),
        }
    }
}
