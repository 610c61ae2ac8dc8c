//! The whole way, measured: orders from a real Kafka into a real Postgres that keeps its promises
//! (fsync on), beside the two things that bound it from above on the same machine in the same
//! minutes: binary COPY of the same rows from files, and reading the topic without decoding.
//!
//! Run it by `make bench-drain`. Ends with an error when a floor is missed.

mod copy;
mod drain;
mod merge;
mod raw;
mod report;
mod variant;

use std::{error::Error, path::Path, process::ExitCode, sync::atomic::AtomicBool, thread};

use loadgen::{Ledger, Load, Profile};
use stack::{Client, Kafka, KafkaOptions, Postgres, PostgresOptions};

use crate::{
    report::{Report, Round},
    variant::{VARIANTS, Variant},
};

pub(crate) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

pub(crate) const TOPIC: &str = "orders";
pub(crate) const TABLE: &str = "public.orders";
const PARTITIONS: u32 = 6;
pub(crate) const COLUMNS: &str = "order_id bigint, customer_id bigint, status text, amount numeric(12,2), \
    currency text, item_count int, express boolean, created_at timestamptz, note text";
/// Where the result is written, in the package's folder, which cargo runs benches in.
const FOLDER: &str = "target/bench";

/// The servers, and what the topic holds.
pub(crate) struct Bench {
    pub(crate) variant: &'static Variant,
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
    std::fs::create_dir_all(FOLDER)?;
    let wanted = std::env::var("VARIANT").ok().filter(|name| !name.is_empty());
    let is_wanted = |v: &&Variant| wanted.as_ref().is_none_or(|name| v.name == name.as_str());
    let variants: Vec<&'static Variant> = VARIANTS.iter().filter(is_wanted).collect();
    if variants.is_empty() {
        let names = VARIANTS.map(|variant| variant.name).join(", ");
        return Err(format!("VARIANT is none of {names}").into());
    }
    let mut is_kept = true;
    for variant in variants {
        is_kept &= run_variant(variant, rows, rounds)?;
    }
    Ok(is_kept)
}

/// Whether the floors of the variant are kept.
fn run_variant(variant: &'static Variant, rows: u64, rounds: u64) -> Result<bool> {
    let name = variant.name;
    println!("{name}: starting Kafka and Postgres, producing {rows} records");
    let bench = Bench::start(variant, rows)?;
    let mut report = Report::new(variant);

    // Makes the rows that the files hold, and warms everybody up.
    println!("{name}: a first drain, which does not count");
    bench.create_table()?;
    drain::measure(&bench, "drain-warm-up")?;
    let files = copy::Files::export(&bench, Path::new(FOLDER))?;

    for number in 1..=rounds {
        bench.create_table()?;
        let copy = copy::measure(&bench, &files)?;
        let raw = raw::measure(&bench)?;
        bench.create_table()?;
        let drain = drain::measure(&bench, &format!("drain-{number}"))?;
        let round = Round { copy, raw, drain };
        println!("{name}: round {number}: {round}");
        report.add(round);
    }
    drop(files);
    print!("{report}");
    let file =
        if name == "append" { "drain.json".to_owned() } else { format!("drain-{name}.json") };
    report.write(&Path::new(FOLDER).join(file), rows)?;
    let missed = report.missed_floors(rows);
    missed.iter().for_each(|floor| println!("{name}: MISSED: {floor}"));
    Ok(missed.is_empty())
}

impl Bench {
    fn start(variant: &'static Variant, rows: u64) -> Result<Self> {
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
            profile: Profile {
                partitions: PARTITIONS,
                updates: variant.updates,
                deletes: variant.deletes,
                ..Profile::default()
            },
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
        Ok(Self { variant, kafka, postgres, client, ledger: report.ledger })
    }

    /// The rows that all records leave.
    pub(crate) fn expected_rows(&self) -> u64 {
        let totals = &self.ledger.totals;
        match (self.variant.is_append(), self.variant.deletes > 0.0) {
            (true, _) => totals.orders,
            (false, false) => totals.distinct_order_ids,
            (false, true) => totals.live_order_ids,
        }
    }

    /// An empty table, and nothing left to write of what was there before.
    fn create_table(&self) -> Result<()> {
        let more = self.variant.constraint;
        self.client.execute(&format!("DROP TABLE IF EXISTS {TABLE}"))?;
        self.client.execute(&format!("CREATE TABLE {TABLE} ({COLUMNS}{more})"))?;
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
