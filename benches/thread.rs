//! The whole thread of a partition against a null sink: an engine that reads a file of orders to
//! its end. What is there without Kafka's client and without Postgres.

#![allow(clippy::expect_used)]

#[path = "codec/orders.rs"]
#[allow(dead_code)]
mod orders;

use std::{fs, path::Path};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegate::{
    Engine,
    config::{Config, Environment},
};

use crate::orders::{ORDERS, orders};

/// The file has the orders so often: enough that the start of the engine, some milliseconds, does
/// not show.
const REPEATS: usize = 50;

/// The null sink asks for no field: each record is checked to be JSON, and counted.
const ALL: &str = r#"
[sources.file]
kind = "ndjson"
path = "orders.ndjson"

[sinks.none]
kind = "null"

[[routes]]
source = "file"

[[routes.to]]
sink = "none"
"#;

/// A filter that every order passes: now fields are looked for, and read.
const FILTER: &str = "routes[0].to[0].where=status != 'lost' && amount > 0.0";

fn thread(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let text: String = orders().iter().map(|order| format!("{order}\n")).collect();
    let text = text.repeat(REPEATS);
    fs::write(folder.path().join("orders.ndjson"), &text).expect("it can be written");

    let mut group = criterion.benchmark_group("thread");
    group.sample_size(10);
    group.throughput(Throughput::ElementsAndBytes {
        elements: (ORDERS * REPEATS) as u64,
        bytes: text.len() as u64,
    });
    let mut bench = |name: &str, sets: &[&str]| {
        group.bench_function(name, |bencher| bencher.iter(|| run(folder.path(), sets)));
    };
    bench("all", &[]);
    bench("filtered", &[FILTER]);
    group.finish();
}

/// Reads the file of `folder` to its end.
fn run(folder: &Path, sets: &[&str]) {
    let name = folder.join("tidegate.toml").display().to_string();
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let environment: Environment = Vec::<(String, String)>::new().into_iter().collect();
    let config = Config::parse(ALL, &name, &sets, &environment).expect("it is complete");
    let engine = Engine::new(config).expect("threads");
    engine.run().expect("it comes to its end");
}

criterion_group!(benches, thread);
criterion_main!(benches);
