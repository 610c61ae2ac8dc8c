//! One target of a route: whether its table takes the rows, or can be made, and whether the first record
//! becomes one.

use std::{sync::Arc, thread};

use super::{
    findings::{Finding, Subject},
    records, tables,
};
use crate::{
    cli::{PATIENCE, plan},
    config::{Config, OnMissingTable, Route, Source, Target},
    detect::Sample,
    error::Error,
    memory::Memory,
    shape::Shape,
    shutdown::Shutdown,
    sink::postgres::{PostgresSink, catalog, ddl},
    source::{Source as _, kafka::KafkaSource, ndjson::NdjsonSource},
};

const SAMPLE_RECORDS: usize = 1000;

/// A target's table, and what becomes of the first record.
pub(super) fn table(
    sink: &PostgresSink,
    config: &Config,
    route: &Route,
    target: &Target,
    records: Option<&mut Vec<plan::Kept>>,
) -> Vec<Finding> {
    let subject = Subject::new("table", format!("routes.{} to {}", route.name, target.sink));
    let mut findings = match check_table(sink, config, route, target, records.is_some(), &subject) {
        Ok(findings) => findings,
        // What is wrong with the table is wrong with the record, too.
        Err(error) => return vec![subject.error(&error)],
    };
    if let Some(records) = records.filter(|records| !records.is_empty()) {
        findings.extend(records::first_record(sink, route, target, records));
    }
    findings
}

fn check_table(
    sink: &PostgresSink,
    config: &Config,
    route: &Route,
    target: &Target,
    has_source: bool,
    subject: &Subject,
) -> Result<Vec<Finding>, Error> {
    let Some(name) = &target.table else { return Ok(Vec::new()) };
    let Some(table) = sink.table(name)? else {
        if target.on_missing_table != OnMissingTable::Create {
            return Err(sink.missing(name));
        }
        let shown = catalog::quoted_name(name);
        let shape = match has_source {
            true => sample(config, route).and_then(|samples| Shape::of(route, &samples)),
            false => Err(Error::unavailable("its source does not answer")),
        };
        return Ok(vec![match shape {
            Ok(shape) => {
                let sql = ddl::plan(target, &shape)?.join("\n");
                subject.ok(format!("{shown} is missing, and would be made so:\n{sql}"))
            }
            Err(error) => subject.hint(
                format!("{shown} is missing, and cannot be foretold: {error}"),
                "it is made of the first records that come",
            ),
        }]);
    };
    let mapping = sink.check(&table, target)?;
    sink.check_changes(&table, target)?;
    let (columns, fields) = (mapping.columns.len(), mapping.selectors.len());
    let mut findings = vec![
        subject.ok(format!("{}, {columns} columns fed from {fields} fields", table.display())),
    ];
    if let Some(columns) = mapping.read_by_postgres() {
        findings.push(subject.hint(
            format!("staged as text, as they have no encoder: {columns}"),
            "slower than binary, and right",
        ));
    }
    let subject = Subject::new("table", table.display());
    findings.extend(tables::Look { sink, table: &table, target, subject }.all());
    Ok(findings)
}

/// Records of a route, if there are some soon.
fn sample(config: &Config, route: &Route) -> Result<Vec<Sample>, Error> {
    let shutdown = Shutdown::default();
    match &config.sources[&route.source] {
        Source::Kafka(kafka) => {
            let memory = Arc::new(Memory::new(config.memory.budget, config.batch.bytes));
            let waiting = shutdown.clone();
            thread::spawn(move || {
                thread::sleep(PATIENCE);
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
