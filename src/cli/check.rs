//! `tidegate check`

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::runtime::Runtime;

use super::{ConfigArgs, telemetry};
use crate::{
    config::{
        Config, DeadLetters, KafkaSource as KafkaConfig, OnMissingTable, Route, Sink, Source,
        Target,
    },
    detect::Sample,
    error::Error,
    memory::Memory,
    shape::Shape,
    shutdown::Shutdown,
    sink::postgres::{PostgresSink, catalog, ddl},
    source::{Source as _, kafka::KafkaSource, ndjson::NdjsonSource},
    topics,
};

/// Long enough for a slow answer, short enough to wait for.
const PATIENCE: Duration = Duration::from_secs(5);
const SAMPLE_RECORDS: usize = 1000;

pub(super) fn run(arguments: &ConfigArgs) -> Result<(), Error> {
    let config = arguments.load()?;
    telemetry::install(&config.log)?;
    println!("ok    {} is valid", arguments.config.display());
    config.warnings.iter().for_each(|warning| println!("warn  {warning}"));
    let mut findings = Findings::default();
    let config = match resolve_topics(config) {
        Ok(config) => config,
        // Nothing more can be looked at before it is known which topics and tables there are.
        Err(error) => {
            findings.add("topics", Err(error));
            return findings.end();
        }
    };
    check_sources(&config, &mut findings);
    check_targets(&config, &mut findings)?;
    findings.end()
}

/// The first error decides the exit code; all are shown.
#[derive(Default)]
struct Findings {
    first: Option<Error>,
    count: usize,
}

impl Findings {
    fn add(&mut self, what: &str, result: Result<String, Error>) {
        match result {
            Ok(text) => println!("ok    {what}: {text}"),
            Err(error) => {
                println!("FAIL  {what}: {error}");
                self.count += 1;
                self.first.get_or_insert(error);
            }
        }
    }

    fn end(self) -> Result<(), Error> {
        match self.first {
            None => Ok(()),
            Some(first) => {
                Err(Error::new(first.kind, format!("{} of the checks failed", self.count)))
            }
        }
    }
}

/// The configuration with the topics that there are in place of patterns.
pub(super) fn resolve_topics(config: Config) -> Result<Config, Error> {
    let memory = Arc::new(Memory::new(config.memory.budget, config.batch.bytes));
    let mut known = BTreeMap::new();
    for (name, source) in &config.sources {
        let Source::Kafka(kafka) = source else { continue };
        if topics::wants_all(&config, name) {
            let (memory, shutdown) = (Arc::clone(&memory), Shutdown::default());
            let source = KafkaSource::new(name, kafka.clone(), memory, shutdown, PATIENCE);
            known.insert(name.clone(), source.topics()?);
        }
    }
    let routes = topics::resolve(&config, &known)?;
    topics::check(&config, &routes)?;
    Ok(Config { routes, ..config })
}

fn check_sources(config: &Config, findings: &mut Findings) {
    let memory = Arc::new(Memory::new(config.memory.budget, config.batch.bytes));
    for route in &config.routes {
        let what = format!("routes.{} from {}", route.name, route.source);
        let result = match &config.sources[&route.source] {
            Source::Kafka(kafka) => {
                let (memory, shutdown) = (Arc::clone(&memory), Shutdown::default());
                let source =
                    KafkaSource::new(&route.source, kafka.clone(), memory, shutdown, PATIENCE);
                source.check(&route.topics).map(|counts| {
                    let shown = route.topics.iter().zip(counts);
                    let shown: Vec<_> =
                        shown.map(|(t, n)| format!("{t} ({n} partitions)")).collect();
                    shown.join(", ")
                })
            }
            Source::Ndjson(file) if file.is_stdin() => Ok("standard input".to_owned()),
            Source::Ndjson(file) => {
                std::fs::File::open(&file.path).map(|_| file.path.display().to_string()).map_err(
                    |error| Error::config(format!("cannot read {}: {error}", file.path.display())),
                )
            }
        };
        findings.add(&what, result);
        if let Source::Kafka(kafka) = &config.sources[&route.source] {
            check_dead_letters(route, kafka, &memory, findings);
        }
    }
}

fn check_dead_letters(
    route: &Route,
    kafka: &KafkaConfig,
    memory: &Arc<Memory>,
    findings: &mut Findings,
) {
    for target in &route.to {
        let DeadLetters::Topic(topic) = &target.dead_letters else { continue };
        let (memory, shutdown) = (Arc::clone(memory), Shutdown::default());
        let source = KafkaSource::new(&route.source, kafka.clone(), memory, shutdown, PATIENCE);
        let what = format!("routes.{}, dead letters to {}", route.name, route.source);
        let checked = source.dead_letter_topic(topic).map(|_| format!("topic {topic}"));
        findings.add(&what, checked);
    }
}

fn check_targets(config: &Config, findings: &mut Findings) -> Result<(), Error> {
    let runtime = Runtime::new().map_err(|error| Error::software(error.to_string()))?;
    for route in &config.routes {
        for target in &route.to {
            let Sink::Postgres(postgres) = &config.sinks[&target.sink] else { continue };
            let what = format!("routes.{} to {}", route.name, target.sink);
            let handle = runtime.handle().clone();
            let result =
                PostgresSink::new(&target.sink, postgres, handle, Shutdown::default(), PATIENCE)
                    .and_then(|sink| check_table(&sink, config, route, target));
            findings.add(&what, result);
        }
    }
    Ok(())
}

fn check_table(
    sink: &PostgresSink,
    config: &Config,
    route: &Route,
    target: &Target,
) -> Result<String, Error> {
    let Some(name) = &target.table else { return Ok(String::new()) };
    match sink.table(name)? {
        Some(table) => {
            let mapping = sink.check(&table, target)?;
            sink.check_changes(&table, target)?;
            let (columns, fields) = (mapping.columns.len(), mapping.selectors.len());
            let shown = format!("{}, {columns} columns fed from {fields} fields", table.display());
            Ok(match mapping.read_by_postgres() {
                None => shown,
                Some(columns) => {
                    format!("{shown}; staged as text, as they have no encoder: {columns}")
                }
            })
        }
        None if target.on_missing_table == OnMissingTable::Create => {
            let shown = catalog::quoted_name(name);
            match sample(config, route).and_then(|samples| Shape::of(route, &samples)) {
                Ok(shape) => {
                    let sql = ddl::plan(target, &shape)?.join("\n");
                    Ok(format!("{shown} is missing, and would be made so:\n{sql}"))
                }
                Err(error) => Ok(format!("{shown} is missing, and cannot be foretold: {error}")),
            }
        }
        None => Err(sink.missing(name)),
    }
}

/// Records of a route, if there are some soon.
fn sample(config: &Config, route: &Route) -> Result<Vec<Sample>, Error> {
    let shutdown = Shutdown::default();
    match &config.sources[&route.source] {
        Source::Kafka(kafka) => {
            let memory = Arc::new(Memory::new(config.memory.budget, config.batch.bytes));
            let waiting = shutdown.clone();
            std::thread::spawn(move || {
                std::thread::sleep(PATIENCE);
                waiting.request();
            });
            KafkaSource::new(&route.source, kafka.clone(), memory, shutdown, PATIENCE)
                .sample(&route.topics, SAMPLE_RECORDS)
        }
        Source::Ndjson(file) => {
            NdjsonSource::new(&route.source, &file.path).sample(&route.topics, SAMPLE_RECORDS)
        }
    }
}
