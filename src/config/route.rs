//! `[[routes]]`: one source's topics, a format, and the targets.

use std::collections::BTreeMap;

use regex::Regex;

use super::{
    Ends,
    error::suggestion,
    format::{self, FormatKind},
    is_name,
    quantity::size_text,
    reader::{Entry, Table},
    source::Source,
    table_name::TableName,
    target::{self, DeadLetters, Target},
};
use crate::topics::is_pattern;

const DEFAULT_MAX_RECORD_BYTES: usize = 1 << 20;
const DEFAULT_MAX_DEAD_LETTER_PERCENT: usize = 50;

/// One source's topics, a format, and the targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `[a-z0-9_-]+`, at most 63 bytes, unique. Default: `<source>-<n>`, where n counts the routes
    /// of the source from 1.
    pub name: String,
    /// The source's name. Required.
    pub source: String,
    /// The topics. Required for Kafka; for NDJSON it is absent in the file, and here it is the
    /// source's name alone.
    pub topics: Vec<String>,
    /// How a payload is read. Default: `"json"`.
    pub format: FormatKind,
    /// A larger record is a dead letter. 1 byte to `batch.bytes`; default: `"1MiB"`.
    pub max_record_bytes: usize,
    /// A target halts when more of its records become dead letters, of 1,000 or more. 1 to 100, which
    /// means never; default: 50.
    pub max_dead_letter_percent: usize,
    /// Where rows go. At least one.
    pub to: Vec<Target>,
}

impl Route {
    /// The name that the configuration has: behind a slash stands the topic of a route that was made
    /// for one of several.
    pub(crate) fn configured_name(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// The patterns among its topics.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = Regex> {
        let patterns = self.topics.iter().filter(|topic| is_pattern(topic));
        patterns.filter_map(|pattern| Regex::new(pattern).ok())
    }
}

/// What the routes read so far have taken.
#[derive(Default)]
pub(super) struct Taken {
    names: BTreeMap<String, String>,
    topics: BTreeMap<(String, String), String>,
    routes_of_source: BTreeMap<String, usize>,
}

pub(super) fn read(
    entry: Entry<'_>,
    ends: &Ends,
    batch_bytes: usize,
    taken: &mut Taken,
) -> Option<Route> {
    let mut table = entry.table()?;
    let source = read_source(&mut table, ends);
    let name = read_name(&mut table, source.as_deref(), taken);
    let topics = read_topics(&mut table, source.as_deref(), ends, taken);
    let format =
        table.take("format").map_or(Some(FormatKind::default()), |e| format::read(e, ends));
    let max_record_bytes = read_max_record_bytes(&mut table, batch_bytes);
    let percent = table.take("max_dead_letter_percent");
    let percent = percent.map_or(Some(DEFAULT_MAX_DEAD_LETTER_PERCENT), |e| e.integer(1..=100));
    let to = read_targets(&mut table, ends);
    check_dead_letters(&table, source.as_deref(), topics.as_deref(), to.as_deref(), ends);
    table.finish();
    let (format, mut to) = (format?, to?);
    to.iter_mut().for_each(|target| target.format = format.clone());
    Some(Route {
        name: name?,
        source: source?,
        topics: topics?,
        format,
        max_record_bytes: max_record_bytes?,
        max_dead_letter_percent: percent?,
        to,
    })
}

/// Dead letters go to a topic of the source's cluster, and not round in a circle.
fn check_dead_letters(
    table: &Table<'_>,
    source: Option<&str>,
    topics: Option<&[String]>,
    to: Option<&[Target]>,
    ends: &Ends,
) {
    let kind = source.and_then(|source| ends.sources.get(source)).and_then(Option::as_ref);
    for (index, target) in to.unwrap_or_default().iter().enumerate() {
        let DeadLetters::Topic(topic) = &target.dead_letters else { continue };
        let key = format!("to[{index}].dead_letters");
        if matches!(kind, Some(Source::Ndjson(_))) {
            table.fail(&key, "an ndjson source has no brokers; remove it to use the table");
        } else if topics.is_some_and(|topics| topics.contains(topic)) {
            let message = format!("this route reads `{topic}`; expected a topic that it does not");
            table.fail(&key, message);
        }
    }
}

fn read_source(table: &mut Table<'_>, ends: &Ends) -> Option<String> {
    let entry = table.require("source", "the name of a source")?;
    let source = entry.text("the name of a source")?;
    if ends.sources.contains_key(&source) {
        ends.used_sources.borrow_mut().insert(source.clone());
        return Some(source);
    }
    let names: Vec<&str> = ends.sources.keys().map(String::as_str).collect();
    let (found, suggestion) = (entry.node.describe(), suggestion(&source, "source", &names));
    entry.fail(format!("no source is named {found}{suggestion}"));
    None
}

fn read_name(table: &mut Table<'_>, source: Option<&str>, taken: &mut Taken) -> Option<String> {
    let entry = table.take("name");
    let given = entry.as_ref().map(|entry| {
        let expected = "a name of 1 to 63 characters among a-z, 0-9, `_` and `-`";
        entry.parsed(expected, |text| is_name(text).then(|| text.to_owned()))
    });
    let default = source.map(|source| {
        let count = taken.routes_of_source.entry(source.to_owned()).or_default();
        *count += 1;
        format!("{source}-{count}")
    });
    let name = given.unwrap_or(default)?;
    if let Some(other) = taken.names.insert(name.clone(), table.path.clone()) {
        let way_out = "give one of the two another `name`";
        match entry {
            Some(entry) => entry.fail(format!("{other} has this name, too; {way_out}")),
            None => table.fail("name", format!("{other} is named `{name}`, too; {way_out}")),
        }
    }
    Some(name)
}

fn read_topics(
    table: &mut Table<'_>,
    source: Option<&str>,
    ends: &Ends,
    taken: &mut Taken,
) -> Option<Vec<String>> {
    let kind = source.and_then(|source| ends.sources.get(source)).and_then(Option::as_ref);
    let (Some(source), Some(kind)) = (source, kind) else {
        table.take("topics");
        return None;
    };
    let entry = match kind {
        Source::Kafka(_) => table.require("topics", "a list of topics such as [\"orders\"]")?,
        Source::Ndjson(_) => {
            if let Some(entry) = table.take("topics") {
                entry.fail(format!(
                    "only a kafka source has topics; remove it (the topic is `{source}`)"
                ));
            }
            if let Some(other) = take_topic(source, source, &table.path, taken) {
                let way_out = "give it another target under `to` there";
                table.fail("source", format!("{other} reads all of `{source}` already; {way_out}"));
            }
            return Some(vec![source.to_owned()]);
        }
    };
    let items = entry.items("a list of topics such as [\"orders\"]");
    if items.is_empty() && matches!(&entry.node.value, super::node::Value::Array(_)) {
        entry.fail("the list is empty; expected at least one topic");
    }
    let mut topics = Vec::new();
    for item in items {
        let Some(topic) = read_topic_or_pattern(&item) else { continue };
        match take_topic(source, &topic, &table.path, taken) {
            Some(other) if other == table.path => {
                item.fail("the topic is listed twice; remove one")
            }
            Some(other) => {
                let way_out = "give it another target under `to` there";
                item.fail(format!("{other} reads this topic of `{source}` already; {way_out}"));
            }
            None => topics.push(topic),
        }
    }
    Some(topics)
}

/// Takes a topic for the route at `path`; the route that has it already, if any.
fn take_topic(source: &str, topic: &str, path: &str, taken: &mut Taken) -> Option<String> {
    let key = (source.to_owned(), topic.to_owned());
    let other = taken.topics.get(&key).cloned();
    taken.topics.entry(key).or_insert_with(|| path.to_owned());
    other
}

/// A name, or a pattern that begins with `^`, as librdkafka has it.
fn read_topic_or_pattern(entry: &Entry<'_>) -> Option<String> {
    let Some(pattern) = entry.as_text().filter(|text| is_pattern(text)) else {
        let expected = "a topic's name (1 to 249 characters among a-z, A-Z, 0-9, `.`, `_` and `-`) or \
                        a pattern that begins with `^`";
        return entry.parsed(expected, |text| is_topic(text).then(|| text.to_owned()));
    };
    match Regex::new(pattern) {
        Ok(_) => Some(pattern.to_owned()),
        Err(error) => {
            entry.fail(format!("not a regular expression: {error}"));
            None
        }
    }
}

/// Kafka's own rule for names (`org.apache.kafka.common.internals.Topic`).
pub(super) fn read_topic(entry: &Entry<'_>) -> Option<String> {
    let expected = "a topic's name: 1 to 249 characters among a-z, A-Z, 0-9, `.`, `_` and `-`";
    entry.parsed(expected, |text| is_topic(text).then(|| text.to_owned()))
}

fn is_topic(text: &str) -> bool {
    let is_legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let is_topic = (1..=249).contains(&text.len()) && text.bytes().all(is_legal);
    is_topic && text != "." && text != ".."
}

fn read_max_record_bytes(table: &mut Table<'_>, batch_bytes: usize) -> Option<usize> {
    let entry = table.take("max_record_bytes");
    let bytes = match &entry {
        Some(entry) => entry.size(1..=1 << 30)?,
        None => DEFAULT_MAX_RECORD_BYTES,
    };
    if bytes <= batch_bytes {
        return Some(bytes);
    }
    let is_default = if entry.is_some() { "" } else { " (the default)" };
    let message = format!(
        "a record of {}{is_default} does not fit into batch.bytes ({}); lower max_record_bytes or \
         raise batch.bytes",
        size_text(bytes),
        size_text(batch_bytes),
    );
    match entry {
        Some(entry) => entry.fail(message),
        None => table.fail("max_record_bytes", message),
    }
    None
}

fn read_targets(table: &mut Table<'_>, ends: &Ends) -> Option<Vec<Target>> {
    let expected = "one [[routes.to]] or more";
    let entry = table.require("to", expected)?;
    let items = entry.items(expected);
    if items.is_empty() {
        if matches!(&entry.node.value, super::node::Value::Array(_)) {
            entry.fail(format!("the list is empty; expected {expected}"));
        }
        return None;
    }
    let mut seen: BTreeMap<(String, Option<TableName>), String> = BTreeMap::new();
    let mut targets = Vec::new();
    for item in items {
        let place = item.clone();
        let Some(target) = target::read(item, ends) else { continue };
        let key = (target.sink.clone(), target.table.clone());
        if let Some(other) = seen.insert(key, place.path.clone()) {
            let what = if target.table.is_some() { "table of the same sink" } else { "sink" };
            place.fail(format!("{other} writes to the same {what}; remove one"));
        }
        targets.push(target);
    }
    Some(targets)
}
