//! Others beside tidegate: the same orders, from the same topic into the same table without an index, one
//! after the other, with a drain by tidegate before each of theirs.
//!
//! Run it by `make bench-peers`, which builds them first; writes `target/bench/peers.json`,
//! `benches/RESULTS.md` and the chart in it. Ends with an error when tidegate loses or doubles a row.

mod chart;
mod machine;
mod peer;
mod report;
mod run;
mod servers;

use std::{error::Error, path::Path, process::ExitCode};

use crate::{
    peer::{Peer, TIDEGATE},
    report::{Report, Setting},
    servers::{COLUMNS, PARTITIONS, Servers},
};

pub(crate) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// In the package's folder, which cargo runs benches in.
const FOLDER: &str = "target/bench";
const CHART: &str = "benches/peers.svg";
const RESULTS: &str = "benches/RESULTS.md";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peers: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Whether tidegate lost and doubled nothing.
fn run() -> Result<bool> {
    let rows = setting("ROWS", 2_000_000)?;
    let rounds = setting("ROUNDS", 3)?;
    let peers = Peer::select(&std::env::var("PEERS").unwrap_or_default())?;
    let contenders = [&[&TIDEGATE], &*peers].concat();
    let contenders = contenders.into_iter().map(Peer::contender).collect::<Result<Vec<_>>>()?;
    std::fs::create_dir_all(FOLDER)?;
    println!("peers: starting Kafka and Postgres, producing {rows} records");
    let servers = Servers::start(rows)?;
    let machine = vec![machine::describe(), servers.describe()?];
    let (partitions, columns) = (PARTITIONS, COLUMNS);
    let setting = Setting { rows, rounds, partitions, columns, machine };

    let mut number = 0;
    let mut measure = |peer: &Peer, round: u64| {
        number += 1;
        run::measure(&servers, peer, round, number)
            .map_err(|error| format!("{}: {error}", peer.name))
    };
    println!("peers: a first drain, which does not count");
    measure(&TIDEGATE, 0)?;
    let mut report = Report::new(contenders, setting);
    for round in 1..=rounds {
        for peer in &peers {
            for peer in [&TIDEGATE, peer] {
                let run = measure(peer, round)?;
                println!(
                    "peers: round {round}: {}: {:.0} rows/s{}",
                    peer.name,
                    run.rows_per_s,
                    if run.stopped { ", stopped" } else { "" }
                );
                report.add(run);
            }
        }
    }
    report.write_json(&Path::new(FOLDER).join("peers.json"))?;
    std::fs::write(CHART, report.chart())?;
    std::fs::write(RESULTS, report.markdown())?;
    print!("{}", report.table());
    println!("peers: written to {FOLDER}/peers.json, {RESULTS} and {CHART}");
    Ok(report.is_exact())
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
