//! `tidegate check`: a probe looks at one thing and gives its findings; one that fails hides no other.
//!
//! Nothing is changed: what is asked of Postgres is asked in transactions that read alone, but for the
//! trial of a record, whose transaction is rolled back; and no group is joined.

mod findings;
mod kafka;
mod positions;
mod postgres;
mod records;
mod tables;
mod target;

use std::{collections::BTreeMap, thread};

use clap::Args;
use tokio::runtime::{Handle, Runtime};

use self::findings::{Finding, Subject};
use super::{
    ConfigArgs,
    positions::{databases, kafka_sources},
    say, telemetry,
};
use crate::{
    config::{Config, Delivery, Route, Sink, Source, Target},
    error::Error,
    sink::postgres::{PostgresSink, StoredPosition},
    source::{
        Source as _,
        kafka::{Inspector, KafkaSource, Place, TopicFacts},
    },
    topics,
};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Look at the configuration alone; ask nobody.
    #[arg(long)]
    offline: bool,
    /// An array of objects: status, area, what, finding, advice.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &CheckArgs) -> Result<(), Error> {
    let config = arguments.config.load()?;
    telemetry::install(&config.log)?;
    let mut findings = configuration(&arguments.config, &config);
    if !arguments.offline {
        findings.extend(ask(config)?);
    }
    say(&if arguments.json { findings::json(&findings) } else { findings::table(&findings) })?;
    findings::verdict(&findings)
}

/// What the file says by itself: one that is wrong is refused before.
fn configuration(arguments: &ConfigArgs, config: &Config) -> Vec<Finding> {
    let subject = Subject::new("config", arguments.config.display().to_string());
    let mut findings = vec![subject.ok("is valid")];
    for warning in &config.warnings {
        findings.push(subject.warn(warning.clone(), "remove it, or use it"));
    }
    findings
}

/// What the servers say.
fn ask(config: Config) -> Result<Vec<Finding>, Error> {
    let runtime = Runtime::new().map_err(|error| Error::software(error.to_string()))?;
    let topics = Subject::new("kafka", "topics");
    // A source that is away is named below; what needs no pattern of it is looked at all the same.
    let known =
        known_topics(&config).into_iter().filter_map(|(name, found)| Some((name, found.ok()?)));
    let routes = match topics::resolve(&config, &known.collect()) {
        Ok(routes) => routes,
        Err(error) => return Ok(vec![topics.error(&error)]),
    };
    let matched = topics::check(&config, &routes);
    let config = Config { routes, ..config };
    let sources = kafka_sources(&config);
    let mut findings = files(&config);
    let mut sinks = BTreeMap::new();
    for (name, sink) in databases(&config, runtime.handle()) {
        match sink {
            Ok(sink) => drop(sinks.insert(name, sink)),
            Err(error) => {
                findings.push(Subject::new("postgres", format!("sink {name}")).error(&error));
            }
        }
    }
    let Servers { clusters, databases } = look(&config, &sources, &sinks, runtime.handle())?;
    let all_answer = clusters.values().all(|cluster| cluster.inspector.is_some());
    findings.extend(matched.err().filter(|_| all_answer).map(|error| topics.error(&error)));
    findings.extend(clusters.values().flat_map(|cluster| cluster.findings.clone()));
    findings.extend(databases.values().flat_map(|database| database.findings.clone()));
    for route in &config.routes {
        let cluster = clusters.get(&*route.source);
        // A cluster that does not answer is not waited for again.
        let is_there = cluster.is_none_or(|cluster| cluster.inspector.is_some());
        let mut records = None;
        for target in &route.to {
            let sink = sinks.get(&*target.sink);
            let is_open = databases.get(&*target.sink).is_some_and(|database| database.is_there);
            if let Some(sink) = sink.filter(|_| is_open) {
                let records = records.get_or_insert_with(|| match is_there {
                    true if has_records(route, cluster) => records::read(&config, route),
                    _ => Vec::new(),
                });
                findings.extend(target::table(
                    sink,
                    &config,
                    route,
                    target,
                    is_there.then_some(records),
                ));
            }
            findings.extend(
                cluster
                    .map(|cluster| target_lanes(cluster, sink, route, target))
                    .unwrap_or_default(),
            );
        }
    }
    Ok(findings)
}

/// All that was looked at, by the name of its source or sink.
struct Servers<'a> {
    clusters: BTreeMap<&'a str, Cluster<'a>>,
    databases: BTreeMap<&'a str, Server>,
}

/// Looks at all servers at once: those that are away are waited for together.
fn look<'a>(
    config: &Config,
    sources: &'a BTreeMap<&'a str, KafkaSource>,
    sinks: &BTreeMap<&'a str, PostgresSink>,
    runtime: &Handle,
) -> Result<Servers<'a>, Error> {
    thread::scope(|scope| {
        let clusters: Vec<_> = sources
            .iter()
            .map(|(name, source)| (*name, scope.spawn(|| cluster(config, name, source, runtime))))
            .collect();
        let databases: Vec<_> = sinks
            .iter()
            .map(|(name, sink)| (*name, scope.spawn(|| server(config, name, sink))))
            .collect();
        let clusters = clusters.into_iter().map(|(name, thread)| Ok((name, joined(thread)?)));
        let databases = databases.into_iter().map(|(name, thread)| Ok((name, joined(thread)?)));
        let clusters = clusters.collect::<Result<_, Error>>()?;
        Ok(Servers { clusters, databases: databases.collect::<Result<_, Error>>()? })
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> Result<T, Error> {
    thread.join().map_err(|_| Error::software("a probe died"))
}

/// A Kafka source after it was looked at.
struct Cluster<'a> {
    findings: Vec<Finding>,
    /// `None` if it does not answer.
    inspector: Option<Inspector<'a>>,
    places: Vec<Place>,
    facts: Option<BTreeMap<String, TopicFacts>>,
}

fn cluster<'a>(
    config: &Config,
    name: &str,
    source: &'a KafkaSource,
    runtime: &Handle,
) -> Cluster<'a> {
    let Some(Source::Kafka(settings)) = config.sources.get(name) else {
        return Cluster { findings: Vec::new(), inspector: None, places: Vec::new(), facts: None };
    };
    let routes = kafka::Routes::of(config, name, settings);
    let inspector = match source.inspect() {
        Ok(inspector) => inspector,
        Err(error) => {
            let findings = vec![routes.subject().error(&error)];
            return Cluster { findings, inspector: None, places: Vec::new(), facts: None };
        }
    };
    let there: Vec<&str> =
        routes.all_topics().into_iter().filter(|t| inspector.topic(t).is_ok()).collect();
    let facts = inspector.topic_facts(runtime, &there);
    let probes: [fn(&kafka::Routes<'_>, &Inspector<'_>) -> Vec<Finding>; 4] =
        [kafka::brokers, kafka::topics, kafka::dead_letter_topics, kafka::group];
    let mut findings: Vec<Finding> =
        probes.iter().flat_map(|probe| probe(&routes, &inspector)).collect();
    findings.extend(kafka::rights_and_settings(&routes, &facts));
    let read: Vec<String> =
        there.iter().filter(|t| routes.topics().contains(t)).map(|t| (*t).to_owned()).collect();
    let places = inspector.places(&read).unwrap_or_else(|error| {
        findings.push(routes.subject().error(&error));
        Vec::new()
    });
    Cluster { findings, inspector: Some(inspector), places, facts: facts.ok() }
}

/// A database after it was looked at.
struct Server {
    findings: Vec<Finding>,
    is_there: bool,
}

fn server(config: &Config, name: &str, sink: &PostgresSink) -> Server {
    let Some(Sink::Postgres(settings)) = config.sinks.get(name) else {
        return Server { findings: Vec::new(), is_there: false };
    };
    let mut targets = config.routes.iter().flat_map(|route| &route.to);
    let at_least_once =
        targets.any(|target| target.sink == name && target.delivery == Delivery::AtLeastOnce);
    let database = postgres::Database { name, config: settings, sink, at_least_once };
    let mut findings = match postgres::server(&database) {
        Ok(findings) => findings,
        Err(finding) => return Server { findings: vec![finding], is_there: false },
    };
    if let Err(finding) = postgres::pooler(&database) {
        findings.push(finding);
        return Server { findings, is_there: false };
    }
    let probes =
        [postgres::settings, postgres::standby, postgres::connections, postgres::bookkeeping];
    findings.extend(probes.iter().flat_map(|probe| probe(&database)));
    Server { findings, is_there: true }
}

/// The files that are read.
fn files(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for route in &config.routes {
        let Source::Ndjson(file) = &config.sources[&route.source] else { continue };
        let subject = Subject::new("files", format!("routes.{} from {}", route.name, route.source));
        let path = file.path.display();
        findings.push(match file.is_stdin() {
            true => subject.ok("standard input"),
            false => match std::fs::File::open(&file.path) {
                Ok(_) => subject.ok(path.to_string()),
                Err(error) => subject.error(&Error::config(format!("cannot read {path}: {error}"))),
            },
        });
    }
    findings
}

fn has_records(route: &Route, cluster: Option<&Cluster<'_>>) -> bool {
    let Some(cluster) = cluster else { return true };
    let mut places = cluster.places.iter().filter(|p| route.topics.iter().any(|t| **t == *p.topic));
    places.any(|place| place.low < place.high)
}

/// Whether the lanes of a target can go on from where they stand.
fn target_lanes(
    cluster: &Cluster<'_>,
    sink: Option<&PostgresSink>,
    route: &Route,
    target: &Target,
) -> Vec<Finding> {
    let Some(inspector) = &cluster.inspector else { return Vec::new() };
    let stored = match sink.filter(|_| target.delivery == Delivery::ExactlyOnce) {
        None => Ok(Vec::<StoredPosition>::new()),
        Some(sink) => sink.stored_positions(inspector.group(), &inspector.cluster_id),
    };
    // That it cannot be asked was said before.
    let Ok(stored) = stored else { return Vec::new() };
    let (places, facts) = (&cluster.places, cluster.facts.as_ref());
    positions::lanes(&positions::Lanes { route, target, places, stored: &stored, facts })
}

/// The configuration with the topics that there are in place of patterns.
pub(super) fn resolve_topics(config: Config) -> Result<Config, Error> {
    let known: Result<_, Error> =
        known_topics(&config).into_iter().map(|(name, found)| Ok((name, found?))).collect();
    let routes = topics::resolve(&config, &known?)?;
    topics::check(&config, &routes)?;
    Ok(Config { routes, ..config })
}

/// The topics of each source that has patterns.
fn known_topics(config: &Config) -> BTreeMap<String, Result<Vec<String>, Error>> {
    let wanted =
        kafka_sources(config).into_iter().filter(|(name, _)| topics::wants_all(config, name));
    wanted.map(|(name, source)| (name.to_owned(), source.topics())).collect()
}
