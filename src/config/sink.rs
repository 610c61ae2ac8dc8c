//! `[sinks.*]`: where rows go.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use tokio_postgres::config::{Host, SslMode};

use super::{
    reader::{Entry, Findings, Table},
    secret::Secret,
};

/// A named sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// `kind = "postgres"`
    Postgres(PostgresSink),
    /// `kind = "ndjson"`
    Ndjson(NdjsonSink),
    /// `kind = "null"`: takes every row and keeps none; it measures what comes before it.
    Null,
    /// `kind = "handler"`: a function of the program that embeds the engine.
    Handler,
}

/// A Postgres database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSink {
    /// `postgres://user:password@host:port/database?sslmode=...`, as `tokio_postgres::Config` reads
    /// it. `sslmode` is `disable`, `prefer` (default) or `require`. With a `ca_file`, the last two
    /// both mean TLS, with certificate and name verified as by libpq's `verify-full`; without one,
    /// `require` is refused and `prefer` means no TLS. Required.
    pub url: Secret,
    /// How many connections write at a time. 1 to 64; default: 6.
    pub writers: usize,
    /// The certificates that the server's must lead to, as PEM. A
    /// relative path in the configuration file is relative to that file's folder. Default: none.
    pub ca_file: Option<PathBuf>,
}

impl PostgresSink {
    /// The URL for a person: user, hosts and database, and never the password.
    pub fn masked_url(&self) -> String {
        // Built from the parts that are known to be harmless, not by cutting something out.
        let Ok(config) = parse_url(self.url.expose()) else {
            return "postgres://***".to_owned();
        };
        let port = |index: usize| {
            let ports = config.get_ports();
            ports.get(index).or_else(|| ports.first()).copied().unwrap_or(5432)
        };
        let host = |(index, host): (usize, &Host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(index)),
            #[cfg(unix)]
            Host::Unix(folder) => format!("{}:{}", folder.display(), port(index)),
        };
        let hosts: Vec<String> = config.get_hosts().iter().enumerate().map(host).collect();
        let user = config.get_user().map(|user| format!("{user}:***@")).unwrap_or_default();
        let database = config.get_dbname().unwrap_or_default();
        format!("postgres://{user}{}/{database}", hosts.join(","))
    }
}

/// A file of JSON lines, or stdout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NdjsonSink {
    /// The file; `-` is stdout. A relative path in the configuration file is relative to that
    /// file's folder. Required.
    pub path: PathBuf,
}

impl NdjsonSink {
    /// Whether it writes to stdout.
    pub fn is_stdout(&self) -> bool {
        self.path == Path::new("-")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Postgres,
    Ndjson,
    Null,
    Handler,
}

const KINDS: [(&str, Kind); 4] = [
    ("postgres", Kind::Postgres),
    ("ndjson", Kind::Ndjson),
    ("null", Kind::Null),
    ("handler", Kind::Handler),
];

pub(super) fn read(entry: Entry<'_>, findings: &Findings) -> Option<Sink> {
    let mut table = entry.table()?;
    let kind = table.require_kind("`postgres`, `ndjson`, `null` or `handler`")?.choice(&KINDS)?;
    let sink = match kind {
        Kind::Postgres => postgres(&mut table, findings).map(Sink::Postgres),
        Kind::Ndjson => ndjson(&mut table).map(Sink::Ndjson),
        Kind::Null => Some(Sink::Null),
        Kind::Handler => Some(Sink::Handler),
    };
    table.finish();
    sink
}

fn ndjson(table: &mut Table<'_>) -> Option<NdjsonSink> {
    let expected = "the path of a file, or `-` for stdout";
    Some(NdjsonSink { path: table.require("path", expected)?.path(expected)? })
}

fn postgres(table: &mut Table<'_>, findings: &Findings) -> Option<PostgresSink> {
    let expected = "a URL such as \"postgres://user:password@host:5432/database\"";
    let url = table.require("url", expected).and_then(|entry| read_url(&entry, expected));
    let writers = table.take("writers").and_then(|entry| entry.integer(1..=64));
    let ca_file = table.take("ca_file");
    if let (Some(entry), Some((_, SslMode::Disable))) = (&ca_file, &url) {
        findings.warn(format!("{} has no effect: the URL says sslmode=disable", entry.path));
    }
    let ca_file = ca_file.and_then(|entry| entry.path("the path of a PEM file"));
    Some(PostgresSink { url: url?.0, writers: writers.unwrap_or(6), ca_file })
}

/// Parses a URL, and refuses a second `@`: `tokio_postgres` ends the password at the first, and would
/// take the rest of it for the host or the database, which are shown.
fn parse_url(text: &str) -> Result<tokio_postgres::Config, ()> {
    let is_ambiguous = text.matches('@').count() > 1;
    let config = tokio_postgres::Config::from_str(text).map_err(drop)?;
    if is_ambiguous { Err(()) } else { Ok(config) }
}

/// Checks the URL. Neither it nor the parser's error is shown: that quotes parts of it, which are
/// parts of the password when a `?` or a `@` in it is not encoded.
fn read_url(entry: &Entry<'_>, expected: &str) -> Option<(Secret, SslMode)> {
    let url = entry.secret(expected)?;
    let text = url.expose();
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        entry.fail(format!("expected {expected}, found a string that begins differently"));
        return None;
    }
    let Ok(config) = parse_url(text) else {
        let is_libpq_mode = ["verify-full", "verify-ca", "allow"].iter().any(|mode| {
            [format!("?sslmode={mode}"), format!("&sslmode={mode}")]
                .iter()
                .any(|o| text.contains(o))
        });
        entry.fail(if is_libpq_mode {
            "unknown `sslmode`; expected one of `disable`, `prefer`, `require` (which verifies the \
             certificate and the name, as libpq's `verify-full` does)"
                .to_owned()
        } else {
            format!(
                "expected {expected}, found one that does not parse (not shown); are \
                 special characters in the password percent-encoded (`@` as `%40`, `/` as `%2F`, \
                 `?` as `%3F`, `#` as `%23`, `%` as `%25`)?"
            )
        });
        return None;
    };
    if config.get_hosts().is_empty() {
        entry.fail(format!("the URL names no host; expected {expected}"));
        return None;
    }
    Some((url, config.get_ssl_mode()))
}
