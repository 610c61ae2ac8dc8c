//! `[[routes.to]]`: a sink, and what to write there.

use std::collections::BTreeMap;

use super::{
    Ends,
    error::suggestion,
    feed::{self, ColumnFeed},
    format::FormatKind,
    growth::{self, Growth},
    partitions::{self, Partitions},
    reader::{Entry, Table},
    route::read_topic,
    sink::Sink,
    table_name::{TableName, is_identifier},
    write::{self, Write},
};
use crate::{digest::fnv1a, filter::Filter, sink::postgres::column::OnNul};

/// One place that a route writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The sink's name. Required.
    pub sink: String,
    /// `"table"` or `"schema.table"`. Required for Postgres, absent for other sinks.
    pub table: Option<TableName>,
    /// How the route's payloads are read: with the rest it decides which rows they become.
    pub format: FormatKind,
    /// How rows meet rows that are there. Default: they are appended.
    pub write: Write,
    /// Default: `"exactly-once"` for Postgres; other sinks have `"at-least-once"` alone.
    pub delivery: Delivery,
    /// What to do if the table is not there. Postgres only; default: `"fail"`.
    pub on_missing_table: OnMissingTable,
    /// What becomes of fields and values for which the table has no place. Postgres only.
    pub growth: Growth,
    /// The partitions by time that are made and removed. Postgres only; default: none.
    pub partitions: Option<Partitions>,
    /// Where records go that cannot become rows. Postgres only; default: its table.
    pub dead_letters: DeadLetters,
    /// `where`: an expression in CEL; records for which it is false are passed over. Default: all are
    /// wanted.
    pub filter: Option<Filter>,
    /// What becomes of U+0000 in texts and `jsonb`. Postgres only; default: `"dead_letter"`.
    pub on_nul: OnNul,
    /// `match`: how a column finds the field of its name. Postgres only; default: `"exact"`.
    pub matching: Matching,
    /// What feeds which column. A column that is not named here takes the record's field of the
    /// same name. Postgres only; default: none.
    pub columns: BTreeMap<String, ColumnFeed>,
}

impl Target {
    /// A digest of all that decides which row a record becomes, wherever the row goes.
    pub(crate) fn mapping(&self) -> String {
        let mapping = Self {
            sink: String::new(),
            table: None,
            format: FormatKind::Json,
            delivery: Delivery::ExactlyOnce,
            on_missing_table: OnMissingTable::Fail,
            partitions: None,
            dead_letters: DeadLetters::Table,
            filter: None,
            ..self.clone()
        };
        let filter = self.filter.as_ref().map(Filter::to_string);
        // Not where its registry is, or what is known of it.
        let format = match &self.format {
            FormatKind::Json => "json".to_owned(),
            FormatKind::Debezium => "debezium".to_owned(),
            FormatKind::Avro(_) => "avro".to_owned(),
            FormatKind::Protobuf(_) => "protobuf".to_owned(),
            FormatKind::Csv(options) => format!("{options:?}"),
            FormatKind::Raw => "raw".to_owned(),
        };
        format!("{:016x}", fnv1a(format!("{mapping:?} {filter:?} {format}").as_bytes()))
    }
}

#[cfg(test)]
impl Target {
    /// A Postgres target with nothing but defaults.
    pub(crate) fn example() -> Self {
        Self {
            sink: "serving".to_owned(),
            table: None,
            format: FormatKind::Json,
            write: Write::default(),
            delivery: Delivery::ExactlyOnce,
            on_missing_table: OnMissingTable::Fail,
            growth: Growth::default(),
            partitions: None,
            dead_letters: DeadLetters::Table,
            filter: None,
            on_nul: OnNul::DeadLetter,
            matching: Matching::Exact,
            columns: BTreeMap::new(),
        }
    }
}

/// How a column finds the field of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matching {
    /// `"exact"`
    #[default]
    Exact,
    /// `"loose"`: whatever the case of letters, with or without `_` and `-`.
    Loose,
}

/// How often a record may end up in the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// `"exactly-once"`: the position is stored in the rows' own transaction.
    ExactlyOnce,
    /// `"at-least-once"`: the position is Kafka's committed offset.
    AtLeastOnce,
}

impl std::fmt::Display for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ExactlyOnce => "exactly once",
            Self::AtLeastOnce => "at least once",
        })
    }
}

/// What to do if the table is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMissingTable {
    /// `"fail"`: do not start.
    #[default]
    Fail,
    /// `"create"`: make it from what the records show.
    Create,
}

/// Where records go that cannot become rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeadLetters {
    /// `tidegate.dead_letters` in the sink's database.
    #[default]
    Table,
    /// `{ topic = "orders-dead" }`: a topic of the source's cluster, which must exist.
    Topic(String),
}

const DELIVERIES: [(&str, Delivery); 2] =
    [("exactly-once", Delivery::ExactlyOnce), ("at-least-once", Delivery::AtLeastOnce)];

const MATCHINGS: [(&str, Matching); 2] = [("exact", Matching::Exact), ("loose", Matching::Loose)];

const ON_NUL: [(&str, OnNul); 3] =
    [("dead_letter", OnNul::DeadLetter), ("strip", OnNul::Strip), ("replace", OnNul::Replace)];

const ON_MISSING_TABLE: [(&str, OnMissingTable); 2] =
    [("fail", OnMissingTable::Fail), ("create", OnMissingTable::Create)];

const TABLE_EXPECTED: &str = "`table` or `schema.table`";

pub(super) fn read(entry: Entry<'_>, ends: &Ends) -> Option<Target> {
    let mut table = entry.table()?;
    let sink = read_sink(&mut table, ends);
    let filter = table.take("where").map(|entry| read_filter(&entry));
    // What the sink's kind allows can only be said if the sink is known.
    let kind = sink.as_ref().and_then(|sink| ends.sinks.get(sink)).and_then(Option::as_ref);
    let target = match kind {
        Some(Sink::Postgres(_)) => postgres(&mut table),
        Some(Sink::Ndjson(_) | Sink::Null | Sink::Handler) => Some(other(&mut table)),
        None => {
            write::read(&mut table);
            postgres_keys(&mut table);
            growth::keys(&mut table);
            table.take("partitions");
            None
        }
    };
    table.finish();
    let filter = match filter {
        Some(filter) => Some(filter?),
        None => None,
    };
    Some(Target { sink: sink?, filter, ..target? })
}

fn read_sink(table: &mut Table<'_>, ends: &Ends) -> Option<String> {
    let entry = table.require("sink", "the name of a sink")?;
    let sink = entry.text("the name of a sink")?;
    if ends.sinks.contains_key(&sink) {
        ends.used_sinks.borrow_mut().insert(sink.clone());
        return Some(sink);
    }
    let names: Vec<&str> = ends.sinks.keys().map(String::as_str).collect();
    let (found, suggestion) = (entry.node.describe(), suggestion(&sink, "sink", &names));
    entry.fail(format!("no sink is named {found}{suggestion}"));
    None
}

fn read_filter(entry: &Entry<'_>) -> Option<Filter> {
    let text = entry.text("an expression such as \"status != 'removed'\"")?;
    match Filter::parse(&text) {
        Ok(filter) => Some(filter),
        Err(problem) => {
            let example = "expected an expression in CEL such as \"status != 'removed'\"";
            entry.fail(format!("{example}: {problem}"));
            None
        }
    }
}

/// The keys that only a Postgres sink has.
fn postgres_keys<'a>(table: &mut Table<'a>) -> [Option<Entry<'a>>; 7] {
    ["table", "delivery", "on_missing_table", "dead_letters", "on_nul", "match", "columns"]
        .map(|key| table.take(key))
}

fn postgres(table: &mut Table<'_>) -> Option<Target> {
    let write = write::read(table);
    let name = table.require("table", TABLE_EXPECTED);
    let name = name.and_then(|entry| entry.parsed(TABLE_EXPECTED, TableName::parse));
    let delivery = table.take("delivery").and_then(|entry| entry.choice(&DELIVERIES));
    let missing = table.take("on_missing_table").and_then(|e| e.choice(&ON_MISSING_TABLE));
    let dead_letters = table.take("dead_letters").and_then(read_dead_letters);
    let on_nul = table.take("on_nul").and_then(|entry| entry.choice(&ON_NUL));
    let matching = table.take("match").and_then(|entry| entry.choice(&MATCHINGS));
    let columns = table.section("columns");
    let columns = columns.all().filter_map(|(column, entry)| {
        if !is_identifier(column) {
            entry.fail("no column can have this name; expected 1 to 63 bytes without quotes");
        }
        let marks = write.soft_delete.as_deref() == Some(column);
        let at = entry.clone();
        let feed = feed::read(column, entry)?;
        if marks && feed != ColumnFeed::Skip {
            at.fail("soft_delete marks deleted rows in this column; nothing else can feed it");
        }
        Some((column.to_owned(), feed))
    });
    let mut columns = columns.collect();
    let growth = growth::read(table, &mut columns);
    let partitions = table.take("partitions").and_then(partitions::read);
    Some(Target {
        sink: String::new(),
        on_nul: on_nul.unwrap_or_default(),
        matching: matching.unwrap_or_default(),
        columns,
        growth,
        partitions,
        filter: None,
        table: Some(name?),
        format: FormatKind::Json,
        write,
        delivery: delivery.unwrap_or(Delivery::ExactlyOnce),
        on_missing_table: missing.unwrap_or_default(),
        dead_letters: dead_letters.unwrap_or_default(),
    })
}

fn other(table: &mut Table<'_>) -> Target {
    write::read_append(table);
    let [name, delivery, missing, dead_letters, on_nul, matching, columns] = postgres_keys(table);
    let keys = [name, missing, dead_letters, on_nul, matching, columns].into_iter();
    for entry in keys.chain(growth::keys(table)).chain([table.take("partitions")]).flatten() {
        entry.fail("only a postgres sink has this key; remove it");
    }
    if let Some(entry) = delivery
        && entry.choice(&DELIVERIES) == Some(Delivery::ExactlyOnce)
    {
        entry.fail("only a postgres sink can be `exactly-once`; write `at-least-once`");
    }
    Target {
        sink: String::new(),
        table: None,
        format: FormatKind::Json,
        write: Write::default(),
        delivery: Delivery::AtLeastOnce,
        on_missing_table: OnMissingTable::Fail,
        growth: Growth::default(),
        partitions: None,
        dead_letters: DeadLetters::Table,
        on_nul: OnNul::DeadLetter,
        matching: Matching::Exact,
        columns: BTreeMap::new(),
        filter: None,
    }
}

fn read_dead_letters(entry: Entry<'_>) -> Option<DeadLetters> {
    if entry.node.entries().is_none() {
        entry.expected("`{ topic = \"...\" }`; without this key they go to the table");
        return None;
    }
    let mut table = entry.table()?;
    let topic = table.require("topic", "a topic of the source's cluster");
    table.finish();
    read_topic(&topic?).map(DeadLetters::Topic)
}
