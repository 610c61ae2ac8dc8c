//! `tidegate rollup`: summaries by time.

mod refresh;

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use tokio::runtime::Runtime;

pub(super) use self::refresh::refresh_all_of;
use super::{ConfigArgs, say, table, telemetry};
use crate::{
    config::{Config, Rollup, Sink, TableName},
    error::Error,
    rollup::{self, Standing},
    shutdown::Shutdown,
    sink::postgres::PostgresSink,
};

/// Long enough for a slow answer, short enough to wait for.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct RollupArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the statements that would make them; asks no database.
    Plan(Which),
    /// Make the batch table, the view and the triggers of those that are not there yet.
    Create(Which),
    /// Put finished buckets into the batch table. Safe beside a running tidegate, and to be interrupted
    /// at any moment.
    Run(RunArgs),
    /// Make finished buckets anew from the detailed rows: the next refresh does so, and until then the
    /// view reads them there. Or at once from another table, where the detailed rows are gone.
    Recompute(RecomputeArgs),
    /// Before another engine fills the batch table up to a time: log what changes from now on.
    Close(ByHandArgs),
    /// Behind it: let the view show what is in the batch table.
    Advance(ByHandArgs),
    /// Show where each of them stands.
    Status(StatusArgs),
    /// Remove the view, the batch table and the triggers.
    Drop(DropArgs),
}

/// Which of them.
#[derive(Debug, Args)]
struct Which {
    #[command(flatten)]
    config: ConfigArgs,
    /// Names under [[rollups]]; all, if there is none.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    which: Which,
    /// Only buckets that end before this time, which Postgres reads, in UTC if it says no zone. Without it
    /// they go up to `delay` before the present.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

#[derive(Debug, Args)]
struct RecomputeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[arg(value_name = "NAME")]
    name: String,
    /// The first bucket; a time that Postgres reads, in UTC if it says no zone.
    #[arg(long, value_name = "TIME")]
    from: String,
    /// The end of the last one.
    #[arg(long, value_name = "TIME", default_value = "infinity")]
    to: String,
    /// A table that has the detailed rows which the rollup's own has no more, such as a replay has filled
    /// from the topic's history.
    #[arg(long, value_name = "TABLE", value_parser = table_name)]
    details: Option<TableName>,
}

fn table_name(text: &str) -> Result<TableName, &'static str> {
    TableName::parse(text).ok_or("expected `table` or `schema.table`")
}

#[derive(Debug, Args)]
struct ByHandArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[arg(value_name = "NAME")]
    name: String,
    /// Up to the bucket that holds this time, which Postgres reads, in UTC if it says no zone.
    #[arg(long, value_name = "TIME")]
    to: String,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DropArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[arg(value_name = "NAME")]
    name: String,
    /// Also where the configuration has changed, or the detailed rows are gone.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: &RollupArgs) -> Result<(), Error> {
    match &arguments.command {
        Command::Plan(which) => plan(which),
        Command::Create(which) => create(which),
        Command::Run(arguments) => refresh::run(arguments),
        Command::Recompute(arguments) => recompute(arguments),
        Command::Close(arguments) => close(arguments),
        Command::Advance(arguments) => advance(arguments),
        Command::Status(arguments) => status(arguments),
        Command::Drop(arguments) => remove(arguments),
    }
}

impl Which {
    fn open(&self) -> Result<(Config, Vec<Rollup>), Error> {
        let config = self.config.load()?;
        telemetry::install(&config.log)?;
        let rollups = choose(&config, &self.names)?;
        Ok((config, rollups))
    }
}

fn choose(config: &Config, names: &[String]) -> Result<Vec<Rollup>, Error> {
    let known: Vec<&str> = config.rollups.iter().map(|rollup| rollup.name.as_str()).collect();
    if known.is_empty() {
        return Err(Error::config("the configuration has no rollup; add a [[rollups]]"));
    }
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Error::config(format!(
            "the configuration has no rollup {name}; it has {}",
            known.join(", ")
        )));
    }
    let is_chosen = |rollup: &&Rollup| names.is_empty() || names.contains(&rollup.name);
    Ok(config.rollups.iter().filter(is_chosen).cloned().collect())
}

/// A sink with what its connections live on.
struct Database {
    sink: PostgresSink,
    _runtime: Runtime,
}

impl Database {
    fn open(config: &Config, name: &str) -> Result<Self, Error> {
        let Some(Sink::Postgres(postgres)) = config.sinks.get(name) else {
            return Err(Error::software("the sink of a rollup is not a Postgres sink"));
        };
        let runtime = Runtime::new().map_err(|error| Error::software(error.to_string()))?;
        let (handle, shutdown) = (runtime.handle().clone(), Shutdown::default());
        let sink = PostgresSink::new(name, postgres, handle, shutdown, PATIENCE)?;
        Ok(Self { sink, _runtime: runtime })
    }
}

fn plan(which: &Which) -> Result<(), Error> {
    let (_, rollups) = which.open()?;
    let mut text = String::new();
    for rollup in &rollups {
        text.push_str(&format!("-- rollup {} in sink {}\n", rollup.name, rollup.sink));
        for statement in rollup::plan(rollup) {
            text.push_str(&format!("{};\n", statement.trim_end_matches(';')));
        }
    }
    say(&text)
}

fn create(which: &Which) -> Result<(), Error> {
    let (config, rollups) = which.open()?;
    for rollup in &rollups {
        let Database { sink, _runtime } = &Database::open(&config, &rollup.sink)?;
        sink.ensure_schema()?;
        let mut warnings = Vec::new();
        let made = sink.work(async |client| rollup::create(client, rollup, &mut warnings).await)?;
        let Rollup { name, view, .. } = rollup;
        say(&match made {
            true => {
                format!("rollup {name}: made; query {view}, and finish buckets by rollup run\n")
            }
            false => format!("rollup {name}: there already\n"),
        })?;
        warnings.iter().try_for_each(|warning| say(&format!("warn  {warning}\n")))?;
    }
    Ok(())
}

fn recompute(arguments: &RecomputeArgs) -> Result<(), Error> {
    let RecomputeArgs { config, name, from, to, details } = arguments;
    let (rollup, Database { sink, _runtime }) = open_one(config, name)?;
    if let Some(details) = details {
        let range = [from.as_str(), to];
        let end =
            sink.work(async |client| rollup::restore(client, &rollup, range, details).await)?;
        return say(&format!(
            "rollup {name}: the buckets from {from} up to {end} are made anew from {details}\n"
        ));
    }
    let count = sink.work(async |client| rollup::recompute(client, &rollup, from, to).await)?;
    say(&format!("rollup {name}: {count} finished buckets are read from the detailed rows now\n"))
}

fn close(arguments: &ByHandArgs) -> Result<(), Error> {
    let ByHandArgs { config, name, to } = arguments;
    let (rollup, Database { sink, _runtime }) = open_one(config, name)?;
    let closing = sink.work(async |client| rollup::close(client, &rollup, to).await)?;
    say(&format!(
        "rollup {name}: changes below {closing} are logged; now fill {} from what is there, and advance\n",
        rollup.batch_table
    ))
}

fn advance(arguments: &ByHandArgs) -> Result<(), Error> {
    let ByHandArgs { config, name, to } = arguments;
    let (rollup, Database { sink, _runtime }) = open_one(config, name)?;
    let boundary = sink.work(async |client| rollup::advance(client, &rollup, to).await)?;
    say(&format!("rollup {name}: finished up to {boundary}\n"))
}

/// A rollup of the configuration, with its database.
fn open_one(config: &ConfigArgs, name: &str) -> Result<(Rollup, Database), Error> {
    let config = config.load()?;
    telemetry::install(&config.log)?;
    let rollup = choose(&config, &[name.to_owned()])?.remove(0);
    let database = Database::open(&config, &rollup.sink)?;
    Ok((rollup, database))
}

fn status(arguments: &StatusArgs) -> Result<(), Error> {
    let config = arguments.config.load()?;
    telemetry::install(&config.log)?;
    let mut standings = Vec::new();
    for (name, sink) in &config.sinks {
        if matches!(sink, Sink::Postgres(_)) {
            let Database { sink, _runtime } = &Database::open(&config, name)?;
            let found = sink.work(async |client| Ok(Ok(rollup::read_all(client).await?)))?;
            standings.extend(found.into_iter().map(|standing| (name.clone(), standing)));
        }
    }
    let mut text = String::new();
    if arguments.json {
        for (sink, standing) in &standings {
            text.push_str(&format!("{}\n", json_of(sink, standing)));
        }
        return say(&text);
    }
    if !standings.is_empty() {
        let head = ["NAME", "SINK", "TABLE", "BUCKET", "BOUNDARY", "LAG", "TOUCHED", "REFRESHED"];
        text = table(&head, standings.iter().map(|(sink, standing)| cells(sink, standing)));
    }
    for rollup in &config.rollups {
        let is_it = |(sink, standing): &&(String, Standing)| {
            *sink == rollup.sink && standing.name == rollup.name
        };
        if !standings.iter().any(|known| is_it(&known)) {
            text.push_str(&format!("{}: not made yet (tidegate rollup create)\n", rollup.name));
        }
    }
    say(&text)
}

fn cells(sink: &str, standing: &Standing) -> [String; 8] {
    let lag = standing.lag_seconds.map_or_else(|| "-".to_owned(), duration);
    [
        standing.name.clone(),
        sink.to_owned(),
        standing.table.clone(),
        format!("{} {}", standing.bucket, standing.time_zone),
        standing.boundary.clone(),
        lag,
        standing.touched.to_string(),
        standing.refreshed_at.clone().unwrap_or_else(|| "never".to_owned()),
    ]
}

fn json_of(sink: &str, standing: &Standing) -> serde_json::Value {
    json!({
        "name": standing.name, "sink": sink, "table": standing.table,
        "batch_table": standing.batch_table, "view": standing.view,
        "bucket": standing.bucket, "time_zone": standing.time_zone,
        "boundary": standing.boundary, "closing": standing.closing,
        "details_from": standing.details_from, "touched": standing.touched,
        "lag_seconds": standing.lag_seconds, "refreshed_at": standing.refreshed_at,
    })
}

/// The two largest units of a span, as in `1d 4h`.
fn duration(seconds: i64) -> String {
    let (sign, seconds) = (if seconds < 0 { "-" } else { "" }, seconds.unsigned_abs());
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(3);
    let mut rest = seconds;
    let parts: Vec<String> = units
        .iter()
        .skip(first)
        .take(2)
        .map(|(unit, size)| {
            let count = rest / size;
            rest %= size;
            format!("{count}{unit}")
        })
        .collect();
    format!("{sign}{}", parts.join(" "))
}

fn remove(arguments: &DropArgs) -> Result<(), Error> {
    let DropArgs { config, name, force } = arguments;
    let (rollup, Database { sink, _runtime }) = open_one(config, name)?;
    sink.work(async |client| rollup::remove(client, &rollup, *force).await)?;
    say(&format!("rollup {name}: dropped\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_shown_by_its_two_largest_units() {
        let spans = [0, 59, 60, 3_661, 100_000, -7_200].map(duration);
        assert_eq!(spans, ["0s", "59s", "1m 0s", "1h 1m", "1d 3h", "-2h 0m"]);
    }
}
