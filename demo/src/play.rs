//! The demo from its first to its last line.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use checker::{Checker, Proof};
use clap::Parser;
use loadgen::{Clock, Ledger, Load, Profile, grouped};
use stack::{Kafka, KafkaOptions, Postgres, PostgresOptions};

use crate::{
    error::Error,
    interrupt::Interrupt,
    latency::Latency,
    phase::{Outcome, Phase},
    service::{Launch, Service},
    summary,
};

/// The names in `examples/orders.toml`.
const TOPIC: &str = "orders";
const TABLE: &str = "orders_realtime";
const PARTITION_COLUMN: &str = "kafka_partition";
const OFFSET_COLUMN: &str = "kafka_offset";
/// Until a new producer has its connections and its id, records pile up in it.
const WARM_UP_SECONDS: u32 = 1;
/// 2026-01-01T00:00:00Z, and over how many days the orders of the first part are spread.
const START_MS: i64 = 1_767_225_600_000;
const DAYS: u64 = 90;
const COUNTED_MAX: Duration = Duration::from_secs(2);

/// Starts a private Kafka and a private Postgres, produces orders, lets tidegate move them, and
/// proves that every one of them arrived once. Leaves nothing behind.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
pub(crate) struct Arguments {
    /// Orders to produce as fast as Kafka takes them.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// Orders a second in the second part, which measures the latency.
    #[arg(long, default_value_t = 20_000, value_name = "RATE",
          value_parser = clap::value_parser!(u32).range(1..))]
    steady_rate: u32,
    /// How long the second part lasts; 0 leaves it out.
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    steady_seconds: u32,
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000))]
    partitions: u32,
    /// What tidegate runs; it has to write the topic `orders` to the table `orders_realtime`.
    #[arg(long, default_value = "examples/orders.toml", value_name = "FILE")]
    config: PathBuf,
}

/// The second part, and the latencies in it.
struct Steady {
    ledger: Ledger,
    latency: Latency,
}

pub(crate) fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<(), Error> {
    let launch = Launch::find(&arguments.config)?;
    println!("demo: starting a private Kafka and a private Postgres on free ports");
    let (kafka, postgres) = start_servers()?;
    interrupt.check()?;
    kafka.create_topic(TOPIC, arguments.partitions as i32, &[])?;
    println!(
        "demo: topic {TOPIC} with {} partitions on {}, table {TABLE} on {}",
        arguments.partitions,
        kafka.bootstrap_servers(),
        postgres.url()
    );
    println!("demo: tidegate run --config {}", arguments.config.display());
    let service = launch.start(&kafka.bootstrap_servers(), &postgres.url())?;
    let client = postgres.client()?;
    let phase = Phase { service: &service, client: &client, interrupt, before: 0, warm_up: None };

    println!("demo: producing {} orders at full speed", grouped(arguments.rows));
    let full = phase.run(&load(arguments, &kafka))?;
    summary::make(&launch, &client, &kafka.bootstrap_servers(), &postgres.url())?;
    let steady = run_steady(arguments, &kafka, &phase)?;
    let lag = service.status()?.lag_records;
    let (cpu_seconds, peak_bytes) = (service.cpu_seconds(), service.peak_memory_bytes()?);
    service.stop()?;

    let mut ledgers = vec![&full.ledger];
    ledgers.extend(steady.as_ref().map(|steady| &steady.ledger));
    let checker = Checker::new(TABLE).by_partition(PARTITION_COLUMN, OFFSET_COLUMN);
    let proof = checker.check(&client, &ledgers)?;

    println!("demo: the table against the load generator's ledger");
    print!("{proof}");
    report_speed(&full);
    let seconds_a_million = cpu_seconds / (proof.written().max(1) as f64 / 1e6);
    println!(
        "demo: cost: {seconds_a_million:.2} s of CPU a million rows, at most {} MiB of memory",
        peak_bytes >> 20
    );
    if let Some(steady) = &steady {
        report_latency(arguments.steady_rate, &steady.latency);
    }
    println!("demo: lag at the end: {} records", grouped(lag));
    report_verdict(&full);
    let is_same = summary::compare(&client)?;
    conclude(&proof)?;
    if is_same { Ok(()) } else { Err(Error::NotTheSame) }
}

fn start_servers() -> Result<(Kafka, Postgres), Error> {
    thread::scope(|scope| {
        let kafka = scope.spawn(|| Kafka::start(KafkaOptions::default()));
        let postgres = Postgres::start(PostgresOptions::default());
        let kafka = kafka.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((kafka?, postgres?))
    })
}

fn load(arguments: &Arguments, kafka: &Kafka) -> Load {
    let step_us = (DAYS * 86_400_000_000 / arguments.rows).min(60_000_000);
    let clock = Clock::Fixed { start_ms: START_MS, step_us };
    Load {
        brokers: kafka.bootstrap_servers(),
        topic: TOPIC.to_owned(),
        profile: Profile { partitions: arguments.partitions, clock, ..Profile::default() },
        replication: 1,
        count: Some(arguments.rows),
        rate: None,
        duration: None,
        compression: "none".to_owned(),
        threads: None,
        properties: Vec::new(),
        show_progress: false,
    }
}

fn run_steady(
    arguments: &Arguments,
    kafka: &Kafka,
    phase: &Phase<'_>,
) -> Result<Option<Steady>, Error> {
    let (rate, seconds) = (arguments.steady_rate, arguments.steady_seconds);
    if seconds == 0 {
        return Ok(None);
    }
    println!(
        "demo: {} orders a second for {seconds} s, after {WARM_UP_SECONDS} s to warm up",
        grouped(u64::from(rate))
    );
    let mut load = load(arguments, kafka);
    load.count = Some(u64::from(rate) * u64::from(seconds + WARM_UP_SECONDS));
    load.rate = Some(f64::from(rate));
    // Other orders: no id comes twice.
    load.profile.start_id = arguments.rows as i64;
    let warm_up = Some(u64::from(rate) * u64::from(WARM_UP_SECONDS));
    let outcome = Phase { before: arguments.rows, warm_up, ..*phase }.run(&load)?;
    let all = latency_of(phase.service, arguments.rows + outcome.ledger.produced)?;
    let latency = outcome.seen.warm_up.map_or_else(|| all.clone(), |before| all.since(&before));
    Ok(Some(Steady { ledger: outcome.ledger, latency }))
}

/// The latencies of the first `records` records: rows can be seen in Postgres a moment before the
/// writer, which waits for the reply to its COMMIT, counts them.
fn latency_of(service: &Service, records: u64) -> Result<Latency, Error> {
    let deadline = Instant::now() + COUNTED_MAX;
    loop {
        let latency = Latency::parse(&service.metrics()?)?;
        if latency.records() >= records || Instant::now() > deadline {
            return Ok(latency);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn report_speed(full: &Outcome) {
    let rows = full.ledger.produced;
    let a_second = |time: Duration| grouped((rows as f64 / time.as_secs_f64().max(1e-9)) as u64);
    println!(
        "demo: full speed: {} rows in {:.1} s, {} rows a second (produced at {} a second at the \
         same time, by the same processors)",
        grouped(rows),
        full.elapsed.as_secs_f64(),
        a_second(full.elapsed),
        a_second(full.producing),
    );
}

fn report_latency(rate: u32, latency: &Latency) {
    let quantile = |quantile| {
        let ms = latency.quantile_ms(quantile);
        ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms"))
    };
    println!(
        "demo: latency at {} orders a second, from Kafka's timestamp to the committed row: \
         p50 {}, p95 {}, p99 {} ({} records)",
        grouped(u64::from(rate)),
        quantile(0.5),
        quantile(0.95),
        quantile(0.99),
        grouped(latency.records())
    );
}

fn report_verdict(full: &Outcome) {
    match &full.seen.status {
        Some(status) => {
            println!("demo: bottleneck at full speed: {} ({})", status.bottleneck, status.evidence);
        }
        None => println!("demo: bottleneck at full speed: none, it was over too soon to see one"),
    }
}

fn conclude(proof: &Proof) -> Result<(), Error> {
    println!(
        "demo: produced={} written={} lost={} duplicated={}",
        proof.produced(),
        proof.written(),
        proof.lost(),
        proof.duplicated()
    );
    if proof.is_exact() { Ok(()) } else { Err(Error::NotProved) }
}
