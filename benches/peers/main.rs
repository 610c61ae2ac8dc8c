//! Others beside tidegate: the same orders, from the same topic into the same table without an index, one
//! after the other, with a drain by tidegate before each of theirs.
//!
//! Run it by `make bench-peers`, which builds them first; writes `target/bench/peers.json`,
//! `benches/RESULTS.md` and the chart in it. Ends with an error when tidegate loses or doubles a row.

mod chart;
#[path = "../common/mod.rs"]
mod common;
mod machine;
mod peer;
mod report;
mod run;
mod servers;

use std::process::ExitCode;

use crate::{
    common::{COLUMNS, Result, end, missed, setting, write},
    peer::{Peer, TIDEGATE},
    report::{Report, Setting},
    servers::{Filled, PARTITIONS},
};

const CHART: &str = "benches/peers.svg";
const RESULTS: &str = "benches/RESULTS.md";

fn main() -> ExitCode {
    end("peers", run())
}

fn run() -> Result<Vec<String>> {
    let rows = setting("ROWS", 2_000_000)?;
    let rounds = setting("ROUNDS", 3)?;
    let peers = Peer::select(&std::env::var("PEERS").unwrap_or_default())?;
    let contenders = [&[&TIDEGATE], &*peers].concat();
    let contenders = contenders.into_iter().map(Peer::contender).collect::<Result<Vec<_>>>()?;
    println!("peers: starting Kafka and Postgres, producing {rows} records");
    let filled = Filled::start(rows)?;
    let machine = vec![machine::describe(), filled.describe()?];
    let (partitions, columns) = (PARTITIONS, COLUMNS);
    let setting = Setting { rows, rounds, partitions, columns, machine };

    let mut number = 0;
    let mut measure = |peer: &Peer, round: u64| {
        number += 1;
        run::measure(&filled, peer, round, number)
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
    write("peers", &report.json())?;
    std::fs::write(CHART, report.chart())?;
    std::fs::write(RESULTS, report.markdown())?;
    print!("{}", report.table());
    println!("peers: written to {RESULTS} and {CHART}");
    Ok(missed([(report.is_exact(), "tidegate lost or doubled a row".to_owned())]))
}
