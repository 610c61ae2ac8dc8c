//! `tidegate plan`

use std::{sync::Arc, time::Duration};

use clap::Args;
use tokio::runtime::Runtime;

use super::{ConfigArgs, check, printable, say, telemetry};
use crate::{
    batch::Original,
    config::{Config, Route, Sink, Source, Target},
    detect::Sample,
    error::Error,
    intake::Decoder,
    memory::Memory,
    registry::Away,
    selector::Selector,
    shape::Shape,
    shutdown::Shutdown,
    sink::postgres::{
        PostgresSink,
        preview::{Planned, Shown},
    },
    source::{kafka::KafkaSource, ndjson::NdjsonSource},
};

/// Long enough for a slow answer, short enough to wait for.
const PATIENCE: Duration = Duration::from_secs(5);
/// As many as `run` judges a missing table by.
const SAMPLE_RECORDS: usize = 1000;
/// Characters of a value that are shown.
const SHOWN_CHARS: usize = 60;

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Records to show as rows, the first ones of each route.
    #[arg(long, default_value_t = 10, value_name = "COUNT")]
    rows: usize,
}

/// A record that was read, with the topic and the partition that it is of.
pub(super) struct Kept {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn run(arguments: &PlanArgs) -> Result<(), Error> {
    let config = arguments.config.load()?;
    telemetry::install(&config.log)?;
    let config = check::resolve_topics(config)?;
    let runtime = Runtime::new().map_err(|error| Error::software(error.to_string()))?;
    for route in &config.routes {
        let records = read(&config, route, SAMPLE_RECORDS)?;
        for target in &route.to {
            let heading = heading(route, target);
            let Sink::Postgres(postgres) = &config.sinks[&target.sink] else {
                say(&format!("{heading}\n\n  every record, as it is\n\n"))?;
                continue;
            };
            let handle = runtime.handle().clone();
            let sink =
                PostgresSink::new(&target.sink, postgres, handle, Shutdown::default(), PATIENCE)?;
            let planned = plan(&sink, route, target, &records, arguments.rows)?;
            say(&format!("{heading}\n\n{}\n", describe(&planned, target, &records)))?;
        }
    }
    Ok(())
}

/// The first `count` records of a route, if there are some soon.
pub(super) fn read(config: &Config, route: &Route, count: usize) -> Result<Vec<Kept>, Error> {
    let source: Box<dyn crate::source::Source> = match &config.sources[&route.source] {
        Source::Kafka(kafka) => {
            let memory = Arc::new(Memory::new(config.memory.budget, config.batch.bytes));
            let (kafka, shutdown) = (kafka.clone(), Shutdown::default());
            Box::new(KafkaSource::new(&route.source, kafka, memory, shutdown, PATIENCE))
        }
        // Its first records would be gone for the run that follows.
        Source::Ndjson(file) if file.is_stdin() => return Ok(Vec::new()),
        Source::Ndjson(file) => Box::new(NdjsonSource::new(&route.source, &file.path)),
    };
    let mut records = Vec::new();
    source.look(&route.topics, count, PATIENCE, &mut |record| {
        let mut bytes = Vec::new();
        Original::keep(record, &mut bytes);
        records.push(Kept { topic: record.topic.to_owned(), partition: record.partition, bytes });
        true
    })?;
    Ok(records)
}

/// What a target would do with the records, and the first `rows` of them as it would have them.
pub(super) fn plan(
    sink: &PostgresSink,
    route: &Route,
    target: &Target,
    records: &[Kept],
    rows: usize,
) -> Result<Planned, Error> {
    let samples: Vec<Sample> = records
        .iter()
        .filter_map(|kept| Original::read(&kept.bytes)?.0.value.map(<[u8]>::to_vec))
        .collect();
    let mut away = None;
    let shape = Shape::of(route, &samples)?;
    let planned = sink.plan(target, &shape, rows, |selectors, show| {
        let mut decoder = Decoder::new(&route.format, selectors, route.max_record_bytes);
        for kept in records {
            let Some((original, _)) = Original::read(&kept.bytes) else { continue };
            let record = original.record(&kept.topic, kept.partition);
            if let Err(Away(message)) = decoder.prepare(&record) {
                away = Some(message);
                return;
            }
            let decoded = decoder.decode(&record);
            let row = decoded.as_ref().map(|()| decoder.row(&record));
            if !show(&record, row) {
                return;
            }
        }
    })?;
    match away {
        Some(message) => Err(Error::unavailable(message)),
        None => Ok(planned),
    }
}

/// A target, by its route.
pub(super) fn heading(route: &Route, target: &Target) -> String {
    let table = target.table.as_ref().map_or_else(String::new, |table| format!(", table {table}"));
    format!(
        "route {}: {} [{}] to {}{table}, {}",
        route.name,
        route.source,
        route.topics.join(", "),
        target.sink,
        target.delivery
    )
}

fn describe(planned: &Planned, target: &Target, records: &[Kept]) -> String {
    let mut text = String::new();
    if let Some(ddl) = &planned.ddl {
        text.push_str("  the table is missing and would be made:\n\n");
        ddl.lines().for_each(|line| text.push_str(&format!("  {line}\n")));
        text.push('\n');
    }
    if !planned.changes.is_empty() {
        text.push_str("  the table would change for these records:\n\n");
        for (sql, place) in &planned.changes {
            text.push_str(&format!("  {};  -- {}\n", printable(sql), printable(place)));
        }
        text.push('\n');
    }
    let width = |of: fn(&[String; 3]) -> usize| planned.columns.iter().map(of).max().unwrap_or(0);
    let (names, types) = (width(|c| c[0].chars().count()), width(|c| c[1].chars().count()));
    for [name, sql_type, fed] in &planned.columns {
        text.push_str(&format!("  {name:names$}  {sql_type:types$}  {fed}\n"));
    }
    if let Some(filter) = &target.filter {
        text.push_str(&format!("  where {filter}\n"));
    }
    if !planned.unused.is_empty() {
        let unused: Vec<String> = planned.unused.iter().map(Selector::to_string).collect();
        text.push_str(&format!("  fed to no column: {}\n", unused.join(", ")));
    }
    if records.is_empty() {
        text.push_str("\n  no record to show\n");
    }
    for (place, shown) in &planned.rows {
        text.push_str(&format!("\n  {place}{}", describe_fate(shown, names)));
    }
    text
}

/// What becomes of a record, to stand behind its place; the columns' names as wide as `names`.
pub(super) fn describe_fate(shown: &Shown, names: usize) -> String {
    match shown {
        Shown::Row(values) => {
            let line = |(name, value): &(String, String)| {
                format!("    {name:names$}  {}\n", shorten(value))
            };
            format!("\n{}", values.iter().map(line).collect::<String>())
        }
        Shown::Delete => " deletes the row of its key\n".to_owned(),
        Shown::Unwanted => " is passed over\n".to_owned(),
        Shown::DeadLetter(rejection) => {
            let reason = rejection.reason.as_str();
            format!(" becomes a dead letter ({reason}): {}\n", printable(&rejection.to_string()))
        }
    }
}

/// One line of a value, without what would disturb a terminal.
pub(super) fn shorten(value: &str) -> String {
    let mut shown: String = value.chars().take(SHOWN_CHARS).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    printable(&shown)
}
