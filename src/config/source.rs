//! `[sources.*]`: where records come from.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    node::Value,
    reader::{Entry, Table},
    secret::Secret,
};

/// A named source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `kind = "kafka"`
    Kafka(KafkaSource),
    /// `kind = "ndjson"`
    Ndjson(NdjsonSource),
}

impl Source {
    /// In whose name the source of this name is read.
    pub fn group(&self, name: &str) -> String {
        match self {
            Self::Kafka(kafka) => kafka.group.clone(),
            Self::Ndjson(_) => format!("tidegate-{name}"),
        }
    }
}

/// A Kafka cluster, read as a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSource {
    /// `host:port`, comma-separated. Required.
    pub brokers: String,
    /// The consumer group. Default: `tidegate-<source name>`.
    pub group: String,
    /// Where a group without a position begins: `"earliest"` (default), `"latest"`, or an
    /// RFC 3339 timestamp.
    pub start: Start,
    /// How often offsets are committed to Kafka. 10 ms to 1 h; default: `"1s"`.
    pub commit_interval: Duration,
    /// librdkafka's own properties, name to value, without those that tidegate sets itself. The
    /// values are secrets because some are (`sasl.password`, `ssl.key.pem`), and a list of which
    /// would be out of date.
    pub properties: BTreeMap<String, Secret>,
}

/// Where a group without a position begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest record.
    Earliest,
    /// After the newest record.
    Latest,
    /// The first record at or after this time, in milliseconds since the Unix epoch.
    Timestamp(i64),
}

/// A file of JSON lines, or stdin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NdjsonSource {
    /// The file; `-` is stdin. A relative path in the configuration file is relative to that
    /// file's folder. Required.
    pub path: PathBuf,
}

impl NdjsonSource {
    /// Whether it reads stdin.
    pub fn is_stdin(&self) -> bool {
        self.path == Path::new("-")
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Kafka,
    Ndjson,
}

const KINDS: [(&str, Kind); 2] = [("kafka", Kind::Kafka), ("ndjson", Kind::Ndjson)];

pub(super) fn read(name: &str, entry: Entry<'_>) -> Option<Source> {
    let mut table = entry.table()?;
    let kind = table.require_kind("`kafka` or `ndjson`")?.choice(&KINDS)?;
    let source = match kind {
        Kind::Kafka => kafka(name, &mut table).map(Source::Kafka),
        Kind::Ndjson => ndjson(&mut table).map(Source::Ndjson),
    };
    table.finish();
    source
}

fn ndjson(table: &mut Table<'_>) -> Option<NdjsonSource> {
    let expected = "the path of a file, or `-` for stdin";
    Some(NdjsonSource { path: table.require("path", expected)?.path(expected)? })
}

fn kafka(name: &str, table: &mut Table<'_>) -> Option<KafkaSource> {
    let brokers_expected = "a comma-separated list such as \"kafka-1:9092,kafka-2:9092\"";
    let brokers = table
        .require("brokers", brokers_expected)
        .and_then(|entry| entry.parsed(brokers_expected, parse_brokers));
    let group = table.take("group").and_then(|entry| entry.text("the name of a consumer group"));
    let start = table.take("start").and_then(|entry| read_start(&entry));
    let interval = table
        .take("commit_interval")
        .and_then(|e| e.duration(Duration::from_millis(10)..=Duration::from_secs(3600)));
    let properties = table.section("properties");
    let properties = properties.all().filter_map(|(name, entry)| read_property(name, &entry));
    let properties = properties.collect();
    Some(KafkaSource {
        brokers: brokers?,
        group: group.unwrap_or_else(|| format!("tidegate-{name}")),
        start: start.unwrap_or(Start::Earliest),
        commit_interval: interval.unwrap_or(Duration::from_secs(1)),
        properties,
    })
}

/// Checks each `[protocol://]host[:port]`, and drops the spaces around them.
fn parse_brokers(text: &str) -> Option<String> {
    let brokers: Vec<&str> = text.split(',').map(str::trim).collect();
    let is_broker = |broker: &str| {
        let host = broker.rsplit_once("://").map_or(broker, |(_, host)| host);
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().ok()),
            _ => (host, Some(9092)),
        };
        !host.is_empty() && !host.contains(char::is_whitespace) && port.is_some_and(|p| p > 0)
    };
    brokers.iter().all(|broker| is_broker(broker)).then(|| brokers.join(","))
}

fn read_start(entry: &Entry<'_>) -> Option<Start> {
    let expected = "`earliest`, `latest` or an RFC 3339 timestamp such as \"2026-01-31T00:00:00Z\"";
    if let Value::Datetime(text) = &entry.node.value {
        let start = parse_timestamp(text);
        if start.is_none() {
            entry.expected(expected);
        }
        return start;
    }
    entry.parsed(expected, |text| match text {
        "earliest" => Some(Start::Earliest),
        "latest" => Some(Start::Latest),
        _ => parse_timestamp(text),
    })
}

fn parse_timestamp(text: &str) -> Option<Start> {
    let timestamp: jiff::Timestamp = text.parse().ok()?;
    // Kafka gives negative timestamps another meaning (-1 is the end, -2 the beginning).
    Some(timestamp.as_millisecond()).filter(|ms| *ms >= 0).map(Start::Timestamp)
}

const COMMITS: &str = "tidegate commits offsets itself, once their rows are in the sinks";
const MEMORY: &str = "tidegate shares out its memory itself";
const EOF: &str = "with it, the client loses records at a rebalance";
const STATISTICS: &str = "tidegate's own metrics and lag depend on it";

/// The properties that tidegate sets itself: why, and which key of ours to use instead.
pub(super) const OWNED: [(&str, &str, Option<&str>); 14] = [
    ("bootstrap.servers", "it has a key of its own", Some("brokers")),
    ("metadata.broker.list", "it has a key of its own", Some("brokers")),
    ("group.id", "it has a key of its own", Some("group")),
    ("auto.offset.reset", "it has a key of its own", Some("start")),
    ("enable.auto.commit", COMMITS, None),
    ("auto.commit.enable", COMMITS, None),
    ("enable.auto.offset.store", COMMITS, None),
    ("auto.commit.interval.ms", COMMITS, Some("commit_interval")),
    ("statistics.interval.ms", STATISTICS, None),
    ("enable.partition.eof", EOF, None),
    ("queued.max.messages.kbytes", MEMORY, Some("memory.budget")),
    ("fetch.message.max.bytes", MEMORY, Some("memory.budget")),
    ("max.partition.fetch.bytes", MEMORY, Some("memory.budget")),
    ("fetch.max.bytes", MEMORY, Some("memory.budget")),
];

fn read_property(name: &str, entry: &Entry<'_>) -> Option<(String, Secret)> {
    if let Some((_, reason, key)) = OWNED.iter().find(|(owned, ..)| *owned == name) {
        let way_out = match key {
            Some(key) => format!("use `{key}` instead"),
            None => "remove it".to_owned(),
        };
        entry.fail(format!("not allowed here: {reason}; {way_out}"));
        return None;
    }
    let text = entry.scalar_text("a string, a number or a boolean")?;
    Some((name.to_owned(), Secret::new(text)))
}
