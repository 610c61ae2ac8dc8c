//! The whole way, measured: records from a real Kafka into a real Postgres that keeps its promises
//! (fsync on), beside the two things that bound it from above on the same machine in the same
//! minutes: binary COPY of the same rows from files, and reading the topic without decoding.
//!
//! Run it by `make bench-drain`. Ends with an error when a floor is missed.

#[path = "../common/mod.rs"]
mod common;
mod copy;
mod drain;
mod merge;
mod raw;
mod report;
mod variant;

use std::{path::Path, process::ExitCode};

use loadgen::{Ledger, Profile};

use crate::{
    common::{Amount, FOLDER, Result, Servers, end, setting, write},
    report::{Report, Round},
    variant::{VARIANTS, Variant},
};

pub(crate) const TOPIC: &str = "orders";
const PARTITIONS: u32 = 6;

/// The servers, and what the topic holds.
pub(crate) struct Bench {
    pub(crate) variant: &'static Variant,
    pub(crate) servers: Servers,
    pub(crate) ledger: Ledger,
    /// Of keys and values, before compression.
    pub(crate) bytes: u64,
}

fn main() -> ExitCode {
    end("drain", run())
}

fn run() -> Result<Vec<String>> {
    let rows = setting("ROWS", 2_000_000)?;
    let rounds = setting("ROUNDS", 3)?;
    std::fs::create_dir_all(FOLDER)?;
    let wanted = std::env::var("VARIANT").unwrap_or_default();
    let is_wanted = |name: &str| match wanted.as_str() {
        "" => true,
        wanted => wanted.split(',').any(|wanted| wanted == name),
    };
    let variants = VARIANTS.iter().filter(|variant| is_wanted(variant.name));
    let mut missed = Vec::new();
    let mut is_any = false;
    for variant in variants {
        is_any = true;
        missed.extend(run_variant(variant, rows.min(variant.rows_max), rounds)?);
    }
    if !is_any {
        let names = VARIANTS.iter().map(|variant| variant.name).collect::<Vec<_>>().join(", ");
        return Err(format!("VARIANT={wanted}: there are {names}").into());
    }
    Ok(missed)
}

/// The floors of the variant that are not kept.
fn run_variant(variant: &'static Variant, rows: u64, rounds: u64) -> Result<Vec<String>> {
    let name = variant.name;
    println!("{name}: starting Kafka and Postgres, producing {rows} records");
    let bench = Bench::start(variant, rows)?;
    let mut report = Report::new(variant, rows, bench.bytes);

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
    let file = if name == "append" { "drain".to_owned() } else { format!("drain-{name}") };
    write(&file, &report.json()?)?;
    Ok(report.missed())
}

impl Bench {
    fn start(variant: &'static Variant, rows: u64) -> Result<Self> {
        let servers = Servers::start(&[])?;
        servers.kafka.create_topic(TOPIC, PARTITIONS as i32, &[])?;
        let profile = Profile {
            partitions: PARTITIONS,
            updates: variant.updates,
            deletes: variant.deletes,
            fields: variant.fields,
            size_bytes: variant.size_bytes,
            ..Profile::default()
        };
        let amount =
            Amount { count: Some(rows), compression: variant.compression, ..Amount::default() };
        let report = servers.produce(TOPIC, profile, amount)?;
        Ok(Self { variant, servers, ledger: report.ledger, bytes: report.bytes })
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

    fn create_table(&self) -> Result<()> {
        self.servers.create_table(self.variant.more)
    }
}
