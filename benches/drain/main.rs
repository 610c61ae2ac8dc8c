//! The whole way, measured: orders from a real Kafka into a real Postgres that keeps its promises
//! (fsync on), beside the two things that bound it from above on the same machine in the same
//! minutes: binary COPY of the same rows from files, and reading the topic without decoding.
//!
//! Run it by `make bench-drain`. Ends with an error when a floor is missed.

mod copy;
mod drain;
mod raw;
mod report;

use std::{error::Error, path::Path, process::ExitCode, sync::atomic::AtomicBool, thread};

use loadgen::{Ledger, Load, Profile};
use stack::{Client, Kafka, KafkaOptions, Postgres, PostgresOptions};

use crate::report::{Report, Round};

pub(crate) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

pub(crate) const TOPIC: &str = "orders";
pub(crate) const TABLE: &str = "public.orders";
const PARTITIONS: u32 = 6;
const COLUMNS: &str = "order_id bigint, customer_id bigint, status text, amount numeric(12,2), \
    currency text, item_count int, express boolean, created_at timestamptz, note text";
/// Where the result is written, in the package's folder, which cargo runs benches in.
const FOLDER: &str = "target/bench";

/// The servers, and what the topic holds.
pub(crate) struct Bench {
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
    pub(crate) client: Client,
    pub(crate) ledger: Ledger,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("drain: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let rows = setting("ROWS", 2_000_000)?;
    let rounds = setting("ROUNDS", 3)?;
    println!("drain: starting Kafka and Postgres, producing {rows} orders");
    let bench = Bench::start(rows)?;
    std::fs::create_dir_all(FOLDER)?;
    let mut report = Report::default();

    // Makes the rows that COPY reads, and warms everybody up.
    println!("drain: a first drain, which does not count");
    bench.create_table()?;
    drain::measure(&bench, "drain-warm-up")?;
    let files = copy::Files::export(&bench, Path::new(FOLDER))?;

    for number in 1..=rounds {
        bench.create_table()?;
        let copy = copy::measure(&bench, &files)?;
        let raw_consume_rows_per_s = raw::measure(&bench)?;
        bench.create_table()?;
        let drain = drain::measure(&bench, &format!("drain-{number}"))?;
        let round = Round { copy, raw_consume_rows_per_s, drain };
        println!("drain: round {number}: {round}");
        report.add(round);
    }
    drop(files);
    print!("{report}");
    report.write(&Path::new(FOLDER).join("drain.json"), rows)?;
    let missed = report.missed_floors();
    missed.iter().for_each(|floor| println!("drain: MISSED: {floor}"));
    Ok(missed.is_empty())
}

impl Bench {
    fn start(rows: u64) -> Result<Self> {
        let settings = [("fsync", "on"), ("shared_buffers", "2GB"), ("max_wal_size", "16GB")];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let (kafka, postgres) = thread::scope(|scope| {
            let kafka = scope.spawn(|| Kafka::start(KafkaOptions::default()));
            let postgres = Postgres::start(PostgresOptions { settings, data_dir: None });
            (kafka.join(), postgres)
        });
        let kafka = kafka.map_err(|_| "the start of Kafka panicked")??;
        let postgres = postgres?;
        kafka.create_topic(TOPIC, PARTITIONS as i32, &[])?;
        let load = Load {
            brokers: kafka.bootstrap_servers(),
            topic: TOPIC.to_owned(),
            profile: Profile { partitions: PARTITIONS, ..Profile::default() },
            replication: 1,
            count: Some(rows),
            rate: None,
            duration: None,
            compression: "none".to_owned(),
            threads: None,
            properties: Vec::new(),
            show_progress: false,
        };
        let report = load.run(&AtomicBool::new(false))?;
        if let Some(error) = report.error {
            return Err(error.into());
        }
        let client = postgres.client()?;
        Ok(Self { kafka, postgres, client, ledger: report.ledger })
    }

    /// An empty table without an index, and nothing left to write of what was there before.
    fn create_table(&self) -> Result<()> {
        self.client.execute(&format!("DROP TABLE IF EXISTS {TABLE}"))?;
        self.client.execute(&format!("CREATE TABLE {TABLE} ({COLUMNS})"))?;
        self.client.execute("CHECKPOINT")?;
        Ok(())
    }
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> Result<u64> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    let number = text.replace('_', "").parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{name}={text} is not a number above 0").into())
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
