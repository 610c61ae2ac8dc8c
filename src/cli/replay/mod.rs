//! `tidegate replay`: history through the mapping of now, into a table beside the one that serves.

mod filling;

use clap::{Args, Subcommand};
use tokio::runtime::Runtime;

use self::filling::Filling;
use super::{ConfigArgs, PATIENCE, check, chosen, process, rollup, say, telemetry};
use crate::{
    config::{Config, KafkaSource as KafkaConfig, Route, Sink, Source, TableName, Target},
    error::{Error, ErrorKind},
    shutdown::Shutdown,
    sink::postgres::{
        PostgresSink,
        catalog::Table,
        versions::{State, Version, Wanted},
    },
    source::kafka::range::Edge,
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ReplayArgs {
    #[command(subcommand)]
    command: Option<Command>,
    /// The route whose topics are read.
    route: Option<String>,
    /// The first record: `earliest`, an offset of each partition, or a time such as 2026-01-31T00:00:00Z.
    #[arg(long, value_name = "EDGE", value_parser = edge)]
    from: Option<Asked>,
    /// The record behind the last: `latest` is as far as the live table is.
    #[arg(long, value_name = "EDGE", default_value = "latest", value_parser = edge)]
    to: Asked,
    /// The table that is made and filled, in the schema of the live one.
    #[arg(long, value_name = "TABLE")]
    into: Option<String>,
    /// The live table, if the route has several.
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// Let the new table take the live one's place when it is as far.
    #[arg(long)]
    swap: bool,
    /// Read at most so many records a second, so that the live route keeps up.
    #[arg(long, value_name = "RECORDS", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Let the table that was replaced take its place again, brought to where the live one is.
    Rollback(RollbackArgs),
    /// Remove what a replay has left beside the live table: its own, or the one that was replaced.
    Drop(DropArgs),
}

#[derive(Debug, Args)]
struct RollbackArgs {
    /// The route; its configuration must be the one of the table that comes back.
    route: String,
    /// The live table, if the route has several.
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct DropArgs {
    /// The route.
    route: String,
    /// The replay, by the table that it was made `--into`.
    into: String,
    /// The live table, if the route has several.
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// An edge, and how it was asked for.
#[derive(Clone, Debug)]
struct Asked {
    text: String,
    edge: Edge,
}

fn edge(text: &str) -> Result<Asked, String> {
    let edge = match text {
        "earliest" => Edge::Earliest,
        "latest" => Edge::Latest,
        _ => match (text.parse::<i64>(), text.parse::<jiff::Timestamp>()) {
            (Ok(offset), _) if offset >= 0 => Edge::Offset(offset),
            (_, Ok(time)) if time.as_millisecond() >= 0 => Edge::Timestamp(time.as_millisecond()),
            _ => {
                return Err("expected earliest, latest, an offset, or a time such as \
                            2026-01-31T00:00:00Z"
                    .to_owned());
            }
        },
    };
    Ok(Asked { text: text.to_owned(), edge })
}

pub(super) fn run(arguments: &ReplayArgs) -> Result<(), Error> {
    match &arguments.command {
        None => fill(arguments),
        Some(Command::Rollback(arguments)) => roll_back(arguments),
        Some(Command::Drop(arguments)) => drop_version(arguments),
    }
}

fn fill(arguments: &ReplayArgs) -> Result<(), Error> {
    let ReplayArgs { route: Some(route), from: Some(from), into: Some(into), .. } = arguments
    else {
        let message = "tell what to replay: tidegate replay ROUTE --from EDGE --into TABLE";
        return Err(Error::new(ErrorKind::Usage, message));
    };
    if from.edge == Edge::Latest || arguments.to.edge == Edge::Earliest {
        let message = "a replay goes from earlier records to later ones";
        return Err(Error::new(ErrorKind::Usage, message));
    }
    if arguments.swap && arguments.to.edge != Edge::Latest {
        let message = "a table that takes the live one's place must be as far: leave --to out";
        return Err(Error::new(ErrorKind::Usage, message));
    }
    process::die_of_panics();
    let place = Place::open(&arguments.config, route, arguments.table.as_deref())?;
    let into = place.beside(into)?;
    let group = format!("replay:{}:{into}", place.route.name);
    let wanted = Wanted { live: &place.live, name: &into, group: &group, origin: &from.text };
    let version = place.sink.prepare_version(&wanted)?;
    if arguments.swap {
        place.sink.check_swap(&version)?;
    }
    let filling = Filling {
        place: &place,
        version: &version,
        table: &into,
        edges: [from.edge, arguments.to.edge],
        rate: arguments.rate,
        swap: arguments.swap,
    };
    let report = filling.run()?;
    let shown = version_of(&place.live, &into);
    say(&format!("{shown}: {report}\n"))?;
    if !arguments.swap {
        return Ok(());
    }
    let Some(swapped) = place.serving()? else { return Ok(()) };
    let old = swapped.replaced_name.as_deref().unwrap_or_default();
    let route = &place.route.name;
    say(&format!(
        "{} is that table now; what it was is {}. `tidegate replay rollback {route}` brings it back, \
         `tidegate replay drop {route} {into}` removes it\n",
        place.live.display(),
        version_of(&place.live, old)
    ))?;
    place.refresh_rollups()
}

fn roll_back(arguments: &RollbackArgs) -> Result<(), Error> {
    process::die_of_panics();
    let place = Place::open(&arguments.config, &arguments.route, arguments.table.as_deref())?;
    let live = place.live.display();
    let Some(version) = place.serving()? else {
        return Err(Error::config(format!("{live} has taken no other table's place")));
    };
    let table = version.replaced_name.clone().unwrap_or_default();
    place.sink.check_swap(&version)?;
    let filling = Filling {
        place: &place,
        version: &version,
        table: &table,
        // A partition that came since the swap is read from its beginning.
        edges: [Edge::Earliest, Edge::Latest],
        rate: None,
        swap: true,
    };
    let report = filling.run()?;
    say(&format!(
        "{live} is the table again that it was: {report}. What was in its place is {}\n",
        version_of(&place.live, &version.name)
    ))?;
    place.refresh_rollups()
}

fn drop_version(arguments: &DropArgs) -> Result<(), Error> {
    let place = Place::open(&arguments.config, &arguments.route, arguments.table.as_deref())?;
    let into = place.beside(&arguments.into)?;
    let versions = place.sink.versions(&place.live.schema, &place.live.name)?;
    let Some(version) = versions.iter().find(|version| version.name == into) else {
        let known: Vec<&str> = versions.iter().map(|version| version.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Error::config(format!(
            "no replay for {} was made into {into}; there is {known}",
            place.live.display()
        )));
    };
    let gone = place.sink.drop_version(version)?;
    say(&format!("dropped {gone}\n"))
}

/// A table beside the live one.
fn version_of(live: &Table, name: &str) -> String {
    format!("{}.{name}", live.schema)
}

/// The route, the table that it writes, and where.
struct Place {
    config: Config,
    route: Route,
    target: Target,
    kafka: KafkaConfig,
    sink: PostgresSink,
    live: Table,
    /// The connections live on it.
    runtime: Runtime,
}

impl Place {
    fn open(arguments: &ConfigArgs, route: &str, table: Option<&str>) -> Result<Self, Error> {
        let config = arguments.load()?;
        telemetry::install(&config.log)?;
        let config = check::resolve_topics(config)?;
        let route = chosen::route(&config, Some(route))?.clone();
        let Source::Kafka(kafka) = &config.sources[&route.source] else {
            return Err(Error::config(format!(
                "route {} reads a file; `tidegate load` loads it into another table",
                route.name
            )));
        };
        let target = choose(&route, table)?.clone();
        let (Sink::Postgres(postgres), Some(name)) = (&config.sinks[&target.sink], &target.table)
        else {
            return Err(Error::software("a target that keeps positions, but is no table"));
        };
        let runtime = Runtime::new().map_err(|error| Error::software(error.to_string()))?;
        let handle = runtime.handle().clone();
        let sink =
            PostgresSink::new(&target.sink, postgres, handle, Shutdown::default(), PATIENCE)?;
        let live = sink.table(name)?.ok_or_else(|| sink.missing(name))?;
        let kafka = kafka.clone();
        Ok(Self { config, route, target, kafka, sink, live, runtime })
    }

    /// The name of a table beside the live one, which may be given with its schema.
    fn beside(&self, name: &str) -> Result<String, Error> {
        let bare = name.strip_prefix(&format!("{}.", self.live.schema)).unwrap_or(name);
        if bare == self.live.name {
            return Err(Error::config(format!("{name} is the live table; give another name")));
        }
        if TableName::is_identifier(bare) && !bare.contains('.') {
            return Ok(bare.to_owned());
        }
        Err(Error::config(format!(
            "`{name}` is no name for a table beside {}, in its schema",
            self.live.display()
        )))
    }

    /// After a swap, whose table is another one.
    fn refresh_rollups(&self) -> Result<(), Error> {
        let rollups = self.config.rollups.iter().filter(|rollup| rollup.sink == self.target.sink);
        let rollups: Vec<_> = rollups.cloned().collect();
        rollup::refresh_all_of(&self.sink, &rollups, &self.live)
    }

    /// The version that has taken the live table's place last.
    fn serving(&self) -> Result<Option<Version>, Error> {
        let versions = self.sink.versions(&self.live.schema, &self.live.name)?;
        Ok(versions.into_iter().find(|version| version.state == State::Serving))
    }
}

/// The only target of the route that keeps positions, or the one that is named.
fn choose<'a>(route: &'a Route, table: Option<&str>) -> Result<&'a Target, Error> {
    let targets = chosen::exact_targets(route)?;
    let name =
        |target: &Target| target.table.as_ref().map(TableName::to_string).unwrap_or_default();
    let names: Vec<String> = targets.iter().map(|target| name(target)).collect();
    match (table, targets.as_slice()) {
        (None, [only]) => Ok(*only),
        (None, _) => Err(Error::new(
            ErrorKind::Usage,
            format!(
                "route {} has several tables; choose with --table one of {}",
                route.name,
                names.join(", ")
            ),
        )),
        (Some(table), targets) => {
            targets.iter().copied().find(|target| name(target) == table).ok_or_else(|| {
                Error::config(format!(
                    "route {} has no table `{table}` that is written exactly once; it has {}",
                    route.name,
                    names.join(", ")
                ))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_a_word_an_offset_or_a_time() {
        let read = |text: &str| edge(text).map(|asked| asked.edge);
        assert_eq!(read("earliest"), Ok(Edge::Earliest));
        assert_eq!(read("17"), Ok(Edge::Offset(17)));
        assert_eq!(read("2026-01-01T00:00:00Z"), Ok(Edge::Timestamp(1_767_225_600_000)));
        for wrong in ["", "-1", "yesterday", "1969-12-31T23:59:59Z"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
