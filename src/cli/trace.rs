//! `tidegate trace`

use std::sync::Arc;

use clap::Args;
use tokio::runtime::Runtime;

use super::{ConfigArgs, PATIENCE, bytes, check, plan, printable, say, telemetry};
use crate::{
    batch::Original,
    config::{Config, Delivery, Route, Sink, Source, Target, WriteMode},
    error::{Error, ErrorKind},
    memory::Memory,
    record::Headers as _,
    shutdown::Shutdown,
    sink::postgres::{
        PostgresSink, catalog,
        dead_letters::{Filter, Stored},
        preview::Shown,
        trace::{Found, Search, Sought, Together},
    },
    source::{
        kafka::{Fetched, KafkaSource},
        ndjson::NdjsonSource,
    },
};

#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// The topic; for a file, the name of its source.
    topic: String,
    /// The partition; 0 for a file.
    partition: i32,
    /// The offset; for a file, the number of the line, from 0.
    offset: i64,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(arguments: &TraceArgs) -> Result<(), Error> {
    let config = arguments.config.load()?;
    telemetry::install(&config.log)?;
    let config = check::resolve_topics(config)?;
    let runtime = Runtime::new().map_err(|error| Error::software(error.to_string()))?;
    let routes: Vec<&Route> =
        config.routes.iter().filter(|route| route.topics.contains(&arguments.topic)).collect();
    if routes.is_empty() {
        return Err(unread(&config, &arguments.topic));
    }
    for route in routes {
        let record = fetch(&config, route, arguments)?;
        say(&describe_record(route, arguments, &record))?;
        for target in &route.to {
            say(&format!("\n{}\n", plan::heading(route, target)))?;
            let Sink::Postgres(postgres) = &config.sinks[&target.sink] else {
                say("  this sink cannot be asked for single records\n")?;
                continue;
            };
            let handle = runtime.handle().clone();
            let sink =
                PostgresSink::new(&target.sink, postgres, handle, Shutdown::default(), PATIENCE)?;
            let group = config.sources[&route.source].group(&route.source);
            let traced = Traced { sink: &sink, route, target, group: &group, record: &record };
            say(&traced.describe(arguments)?)?;
        }
    }
    Ok(())
}

fn unread(config: &Config, topic: &str) -> Error {
    let known: Vec<&str> =
        config.routes.iter().flat_map(|route| &route.topics).map(String::as_str).collect();
    let hint = catalog::nearest(topic, &known)
        .map_or_else(String::new, |near| format!(" Did you mean `{near}`?"));
    Error::config(format!(
        "no route of the configuration reads the topic `{topic}`; they read {}.{hint}",
        known.join(", ")
    ))
}

fn fetch(config: &Config, route: &Route, arguments: &TraceArgs) -> Result<Fetched, Error> {
    let TraceArgs { topic, partition, offset, .. } = arguments;
    match &config.sources[&route.source] {
        Source::Kafka(kafka) => {
            let memory = Arc::new(Memory::new(config.memory.budget, config.batch.bytes));
            let (kafka, shutdown) = (kafka.clone(), Shutdown::default());
            KafkaSource::new(&route.source, kafka, memory, shutdown, PATIENCE)
                .fetch(topic, *partition, *offset)
        }
        Source::Ndjson(file) if file.is_stdin() => Err(Error::new(
            ErrorKind::Usage,
            format!("sources.{}: standard input cannot be read twice", route.source),
        )),
        Source::Ndjson(file) => {
            NdjsonSource::new(&route.source, &file.path).fetch(*partition, *offset)
        }
    }
}

fn describe_record(route: &Route, arguments: &TraceArgs, fetched: &Fetched) -> String {
    let TraceArgs { topic, partition, offset, .. } = arguments;
    let mut text = format!("{topic}[{partition}]@{offset} of source {}\n", route.source);
    let (low, high) = fetched.bounds;
    let kept = fetched.record.as_deref().and_then(Original::read);
    let Some((original, _)) = kept else {
        let why = if *offset < low {
            format!("retention has removed everything below {low}")
        } else if *offset >= high {
            format!("the partition ends at {high}")
        } else {
            "compaction has removed it, its transaction was aborted, or it is a marker of one"
                .to_owned()
        };
        text.push_str(&format!("  there is no record: {why}\n"));
        return text;
    };
    let time = original.timestamp_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let mut lines = vec![
        ("timestamp", time.map_or_else(|| "-".to_owned(), |time| time.to_string())),
        ("key", bytes(original.key)),
    ];
    original.headers.for_each(&mut |name, value| {
        lines.push(("header", format!("{name}: {}", bytes(value))));
    });
    lines.push(("value", bytes(original.value)));
    for (name, value) in lines {
        text.push_str(&format!("  {name:<10} {}\n", printable(&value)));
    }
    text
}

/// A record on its way to one table.
struct Traced<'a> {
    sink: &'a PostgresSink,
    route: &'a Route,
    target: &'a Target,
    group: &'a str,
    record: &'a Fetched,
}

impl Traced<'_> {
    fn describe(&self, arguments: &TraceArgs) -> Result<String, Error> {
        let TraceArgs { topic, partition, offset, .. } = arguments;
        let mut text = String::new();
        if let Some(bytes) = &self.record.record {
            let (topic, bytes) = (topic.clone(), bytes.clone());
            let kept = plan::Kept { topic, partition: *partition, bytes };
            let planned = plan::plan(self.sink, self.route, self.target, &[kept], 1)?;
            let width = planned.columns.iter().map(|[name, ..]| name.chars().count()).max();
            for (_, shown) in &planned.rows {
                let becomes = if matches!(shown, Shown::Row(_)) { " becomes" } else { "" };
                let fate = plan::describe_fate(shown, width.unwrap_or(0));
                text.push_str(&format!("  with this configuration it{becomes}{fate}"));
            }
        }
        let Some(name) = &self.target.table else { return Ok(text) };
        let Some(table) = self.sink.table(name)? else {
            text.push_str("  the table is missing, so nothing was written\n");
            return Ok(text);
        };
        let lane = format!("{}.{}", self.target.sink, table.display());
        let sought = Sought {
            group: self.group,
            cluster_id: &self.record.cluster_id,
            topic,
            partition: *partition,
            offset: *offset,
            target: &lane,
        };
        text.push_str(&self.describe_position(&sought)?);
        let filter = Filter {
            groups: vec![self.group.to_owned()],
            topic: Some(topic.clone()),
            partition: Some(*partition),
            offset: Some(*offset),
            target: Some(lane.clone()),
            ..Filter::default()
        };
        for letter in self.sink.show_dead_letters(&filter)? {
            text.push_str(&describe_letter(&letter));
        }
        text.push_str(&self.describe_rows(self.sink.search(&table, self.target, &sought)?));
        Ok(text)
    }

    /// Whether the target has got past the record.
    fn describe_position(&self, sought: &Sought<'_>) -> Result<String, Error> {
        if self.target.delivery == Delivery::AtLeastOnce {
            return Ok(
                "  at least once: only Kafka's committed offset tells how far it got\n".to_owned()
            );
        }
        let Some(found) = self.sink.checkpoint(sought)? else {
            return Ok(format!("  not durable: {} has no checkpoint for it yet\n", sought.group));
        };
        let is_durable = if found.next_offset > sought.offset { "durable" } else { "not durable" };
        Ok(format!(
            "  {is_durable}: the checkpoint of {} stands at {} (since {}, by {})\n",
            sought.group, found.next_offset, found.updated_at, found.owner
        ))
    }

    fn describe_rows(&self, search: Search) -> String {
        match search {
            Search::NoPlace => {
                "  which row it is cannot be told: no column is fed from the records' offset\n"
                    .to_owned()
            }
            Search::TooLong(condition) => format!(
                "  the row was not found within 5 s; an index would help: {condition}\n"
            ),
            Search::Rows(rows) if rows.is_empty() && self.target.write.mode == WriteMode::Append => {
                "  no row of the table has its place\n".to_owned()
            }
            Search::Rows(rows) if rows.is_empty() => {
                "  no row of the table has its place: a later record of its key has the row, or none\n"
                    .to_owned()
            }
            Search::Rows(rows) => rows.iter().map(describe_row).collect(),
        }
    }
}

fn describe_row(row: &Found) -> String {
    let Found { cells, batch } = row;
    let together = batch.as_ref().map_or_else(String::new, |batch| {
        let Together { rows, first_offset, last_offset, committed_at } = batch;
        let at = committed_at.as_ref().map_or_else(String::new, |at| format!(" at {at}"));
        format!(
            ", written with offsets {first_offset} to {last_offset} in one transaction{at} (rows: {rows})"
        )
    });
    let width = cells.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let line =
        |(name, value): &(String, String)| format!("    {name:width$}  {}\n", plan::shorten(value));
    format!("  in the table{together}\n{}", cells.iter().map(line).collect::<String>())
}

fn describe_letter(letter: &Stored) -> String {
    let entry = &letter.entry;
    format!(
        "  a dead letter ({}) since {}: {}\n",
        entry.reason,
        entry.created_at,
        printable(&entry.message)
    )
}
