//! The tables that are not named by the user: `[batch]`, `[memory]`, `[admin]`, `[shutdown]`,
//! `[tracing]`, `[log]`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tracing::level_filters::LevelFilter;

use super::{quantity::size_text, reader::Table};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// Postgres takes no field and no COPY message larger than this.
const LARGEST_BATCH_BYTES: usize = 1 << 30;

/// `[batch]`: a batch closes by whichever comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Rows. 1 to 10,000,000; default: 20,000.
    pub rows: usize,
    /// Bytes of encoded rows. 1 KiB to 1 GiB, and at most half of `memory.budget`; default:
    /// `"4MiB"`.
    pub bytes: usize,
    /// Time since its first record, 1 ms to 1 h. Default: three times as long as the batch before it took
    /// to become durable, from 10 to 100 ms.
    pub age: Option<Duration>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { rows: 20_000, bytes: 4 * MIB, age: None }
    }
}

/// `[memory]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes for all fetch queues and batches together. At least 16 MiB; default: `"128MiB"`.
    pub budget: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { budget: 128 * MIB }
    }
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address and port of the HTTP server (metrics, health, status). Default:
    /// `"127.0.0.1:9187"`.
    pub listen: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9187)) }
    }
}

/// `[shutdown]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long work in flight may take to finish. More than 0, at most 60 s; default: `"10s"`.
    pub drain: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { drain: Duration::from_secs(10) }
    }
}

/// `[tracing]`
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Where a collector takes OTLP over HTTP, `http://host:4318`; default: none, and nothing is told.
    pub otlp: Option<String>,
    /// Share of write sets that are told, 0 to 1; default: `0.01`. Those that were tried again or lost
    /// are told in any case.
    pub sample: f64,
}

impl Default for Tracing {
    fn default() -> Self {
        Self { otlp: None, sample: 0.01 }
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Default: `"auto"`.
    pub format: LogFormat,
    /// `"off"`, `"error"`, `"warn"`, `"info"` (default), `"debug"` or `"trace"`.
    pub level: LevelFilter,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: LevelFilter::INFO }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `"auto"`: `human` on a terminal, else `json`.
    Auto,
    /// `"human"`
    Human,
    /// `"json"`: one object a line.
    Json,
}

const FORMATS: [(&str, LogFormat); 3] =
    [("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)];

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// `[batch]` and `[memory]`, which must fit together.
pub(super) fn batch_and_memory(root: &mut Table<'_>) -> (Batch, Memory) {
    let mut batch = Batch::default();
    let mut table = root.section("batch");
    let rows = table.take("rows").and_then(|entry| entry.integer(1..=10_000_000));
    batch.rows = rows.unwrap_or(batch.rows);
    let bytes_entry = table.take("bytes");
    let bytes = bytes_entry.as_ref().and_then(|entry| entry.size(KIB..=LARGEST_BATCH_BYTES));
    // One that could not be read has been reported; what depends on it is then not compared, so
    // that one slip is not reported twice.
    let is_unread = bytes_entry.is_some() && bytes.is_none();
    batch.bytes = bytes.unwrap_or(if is_unread { LARGEST_BATCH_BYTES } else { batch.bytes });
    let ages = Duration::from_millis(1)..=Duration::from_secs(3600);
    batch.age = table.take("age").and_then(|entry| entry.duration(ages));
    table.finish();

    let mut memory = Memory::default();
    let mut table = root.section("memory");
    let budget_entry = table.take("budget");
    let budget = budget_entry.as_ref().and_then(|entry| entry.size(16 * MIB..=usize::MAX));
    let is_unread = is_unread || (budget_entry.is_some() && budget.is_none());
    memory.budget = budget.unwrap_or(memory.budget);
    table.finish();

    if let Some(entry) = bytes_entry.filter(|_| !is_unread && batch.bytes > memory.budget / 2) {
        entry.fail(format!(
            "two batches of {} do not fit into memory.budget ({}); expected at most {} here, or a \
             memory.budget of at least {}",
            size_text(batch.bytes),
            size_text(memory.budget),
            size_text(memory.budget / 2),
            size_text(batch.bytes * 2),
        ));
    }
    (batch, memory)
}

pub(super) fn admin(root: &mut Table<'_>) -> Admin {
    let mut table = root.section("admin");
    let expected = "an IP address and a port such as \"127.0.0.1:9187\"";
    let listen = table.take("listen").and_then(|e| e.parsed(expected, |text| text.parse().ok()));
    table.finish();
    listen.map_or_else(Admin::default, |listen| Admin { listen })
}

pub(super) fn shutdown(root: &mut Table<'_>) -> Shutdown {
    let mut table = root.section("shutdown");
    let drains = Duration::from_millis(1)..=Duration::from_secs(60);
    let drain = table.take("drain").and_then(|entry| entry.duration(drains));
    table.finish();
    drain.map_or_else(Shutdown::default, |drain| Shutdown { drain })
}

pub(super) fn tracing(root: &mut Table<'_>) -> Tracing {
    let mut table = root.section("tracing");
    let expected = "the URL of a collector such as \"http://localhost:4318\"";
    let is_url = |text: &str| {
        let host = text.strip_prefix("http://")?;
        (!host.is_empty() && !host.contains('@')).then(|| text.trim_end_matches('/').to_owned())
    };
    let otlp = table.take("otlp").and_then(|entry| entry.parsed(expected, is_url));
    let sample = table.take("sample").and_then(|entry| entry.share());
    table.finish();
    Tracing { otlp, sample: sample.unwrap_or(Tracing::default().sample) }
}

pub(super) fn log(root: &mut Table<'_>) -> Log {
    let mut log = Log::default();
    let mut table = root.section("log");
    log.format = table.take("format").and_then(|e| e.choice(&FORMATS)).unwrap_or(log.format);
    log.level = table.take("level").and_then(|e| e.choice(&LEVELS)).unwrap_or(log.level);
    table.finish();
    log
}
