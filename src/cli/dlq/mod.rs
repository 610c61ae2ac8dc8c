//! `tidegate dlq`: the dead letters in the table.

mod drop;
mod ls;
mod replay;
mod show;

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use tokio::runtime::Runtime;

use super::{ConfigArgs, bytes, printable, say, table, telemetry};
use crate::{
    config::{Config, Sink, parse_duration},
    error::{Error, ErrorKind},
    rejection::Reason,
    shutdown::Shutdown,
    sink::postgres::{PostgresSink, dead_letters::Filter},
    topics,
};

/// Long enough for a slow answer, short enough to wait for.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct DlqArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them, the newest first, or count them.
    Ls(ls::LsArgs),
    /// Show everything of one record: why it is here, its headers, its bytes.
    Show(show::ShowArgs),
    /// Try them again with the configuration and the table of now: each becomes a row, or stays with
    /// its new reason. Safe beside a running tidegate, and to be interrupted at any moment.
    Replay(replay::ReplayArgs),
    /// Remove them for good.
    Drop(drop::DropArgs),
}

pub(super) fn run(arguments: &DlqArgs) -> Result<(), Error> {
    match &arguments.command {
        Command::Ls(arguments) => ls::run(arguments),
        Command::Show(arguments) => show::run(arguments),
        Command::Replay(arguments) => replay::run(arguments),
        Command::Drop(arguments) => drop::run(arguments),
    }
}

/// Whose dead letters.
#[derive(Debug, Args)]
struct Whose {
    #[command(flatten)]
    config: ConfigArgs,
    /// The Postgres sink whose table it is, if the configuration has several.
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Those of this consumer group, in place of the configuration's.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
}

/// Which of them; all that is given must hold.
#[derive(Debug, Args)]
struct Which {
    #[arg(long)]
    topic: Option<String>,
    #[arg(long)]
    partition: Option<i32>,
    #[arg(long)]
    offset: Option<i64>,
    /// The target as `ls` shows it: sink.schema.table.
    #[arg(long)]
    target: Option<String>,
    #[arg(long, value_parser = PossibleValuesParser::new(Reason::ALL.map(Reason::as_str)))]
    reason: Option<String>,
    /// Not older than this: a duration such as 30m or 24h, or a time in RFC 3339.
    #[arg(long, value_name = "AGE|TIME", value_parser = instant)]
    since: Option<String>,
}

impl Which {
    fn is_everything(&self) -> bool {
        let Self { topic, partition, offset, target, reason, since } = self;
        topic.is_none()
            && partition.is_none()
            && offset.is_none()
            && target.is_none()
            && reason.is_none()
            && since.is_none()
    }

    fn filter(&self, store: &Store) -> Filter {
        Filter {
            groups: store.groups.clone(),
            topic: self.topic.clone(),
            partition: self.partition,
            offset: self.offset,
            target: self.target.clone(),
            reason: self.reason.clone(),
            since: self.since.clone(),
        }
    }
}

fn instant(text: &str) -> Result<String, String> {
    if let Some(age) = parse_duration(text) {
        let then = SystemTime::now().checked_sub(age).ok_or("longer ago than there are times")?;
        return jiff::Timestamp::try_from(then).map(|t| t.to_string()).map_err(|e| e.to_string());
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    let expected = "expected a duration such as 30m or 24h, or a time such as 2026-01-31T00:00:00Z";
    time.map(|time| time.to_string()).map_err(|_| expected.to_owned())
}

/// The table of one sink.
struct Store {
    config: Config,
    sink_name: String,
    sink: PostgresSink,
    groups: Vec<String>,
    /// The connections live on it.
    _runtime: Runtime,
}

impl Store {
    fn open(whose: &Whose) -> Result<Self, Error> {
        let config = whose.config.load()?;
        telemetry::install(&config.log)?;
        let sink_name = choose_sink(&config, whose.sink.as_deref())?;
        let Some(Sink::Postgres(postgres)) = config.sinks.get(&sink_name) else {
            return Err(Error::software("the chosen sink is not a Postgres sink"));
        };
        let runtime = Runtime::new().map_err(|error| Error::software(error.to_string()))?;
        let handle = runtime.handle().clone();
        let sink = PostgresSink::new(&sink_name, postgres, handle, Shutdown::default(), PATIENCE)?;
        let groups: BTreeSet<String> = match &whose.group {
            Some(group) => BTreeSet::from([group.clone()]),
            None => config.sources.iter().map(|(name, source)| source.group(name)).collect(),
        };
        let groups = groups.into_iter().collect();
        Ok(Self { config, sink_name, sink, groups, _runtime: runtime })
    }

    /// Puts the topics that there are letters of in place of patterns.
    fn resolve_topics(&mut self, filter: &Filter) -> Result<(), Error> {
        let sums = self.sink.sum_dead_letters(filter, &["topic"])?;
        let topics: Vec<String> = sums.into_iter().flat_map(|sum| sum.names).collect();
        let sources = self.config.sources.keys();
        let known = sources.map(|source| (source.clone(), topics.clone())).collect();
        self.config.routes = topics::resolve(&self.config, &known)?;
        Ok(())
    }

    /// In whose name the letters are looked for.
    fn shown_groups(&self) -> String {
        self.groups.join(", ")
    }
}

fn choose_sink(config: &Config, wanted: Option<&str>) -> Result<String, Error> {
    let sinks = config.sinks.iter().filter(|(_, sink)| matches!(sink, Sink::Postgres(_)));
    let names: Vec<&str> = sinks.map(|(name, _)| name.as_str()).collect();
    match (wanted, names.as_slice()) {
        (Some(name), names) if names.contains(&name) => Ok(name.to_owned()),
        (Some(name), names) => Err(Error::config(format!(
            "--sink {name}: the configuration has no such Postgres sink; it has {}",
            names.join(", ")
        ))),
        (None, [name]) => Ok((*name).to_owned()),
        (None, []) => Err(Error::config(
            "the configuration has no Postgres sink, and only these keep dead letters in a table",
        )),
        (None, names) => Err(Error::new(
            ErrorKind::Usage,
            format!(
                "the configuration has several Postgres sinks; choose with --sink one of {}",
                names.join(", ")
            ),
        )),
    }
}

/// `1 dead letter`, `2 dead letters`.
fn counted(count: u64) -> String {
    format!("{count} dead letter{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_an_instant_before_now() {
        let before: jiff::Timestamp = instant("1h").unwrap().parse().unwrap();
        let age = jiff::Timestamp::now().duration_since(before).as_secs();
        assert!((3600..3700).contains(&age), "{age}");
        assert_eq!(instant("2026-01-31T01:00:00+01:00").unwrap(), "2026-01-31T00:00:00Z");
        assert!(instant("yesterday").unwrap_err().contains("24h"));
        assert!(instant("999999999999h").is_err());
    }
}
