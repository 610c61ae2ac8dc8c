//! The instructions that a record costs, step by step, against those that are written down.
//!
//! Counted by valgrind, which gives nearly the same number in each run and on each machine, where a time
//! would not: a slow-down of some percent is seen at once. Compiled code decides, so the numbers hold for
//! the toolchain of rust-toolchain.toml.
//!
//! `BLESS=1 cargo test --release --test instructions` writes down what is measured.

#![allow(clippy::expect_used)]

mod orders;
mod steps;

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    path::Path,
    process::{Command, ExitCode},
};

use crate::{orders::ORDERS, steps::Steps};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const WRITTEN_DOWN: &str = "benches/codec/instructions.json";
const MEASURED: &str = "target/bench/instructions.json";
/// What more a step may cost than what is written down.
const GROWTH_MAX: f64 = 0.05;
const STEPS: [&str; 5] = ["decode", "decode_mapped", "encode", "batch", "all"];

fn main() -> ExitCode {
    let ended = match (env::var("STEP"), env::var("ROUNDS")) {
        (Ok(step), Ok(rounds)) => run(&step, &rounds),
        _ => judge(),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does one step for all orders, so many times.
fn run(step: &str, rounds: &str) -> Result<bool> {
    let mut steps = Steps::new();
    // The first round makes room.
    for _ in 0..=rounds.parse::<u32>()? {
        match step {
            "decode" => steps.decode(),
            "decode_mapped" => steps.decode_mapped(),
            "encode" => steps.encode(),
            "batch" => steps.batch(),
            "all" => steps.all(),
            _ => return Err(format!("no step {step}").into()),
        }
    }
    Ok(true)
}

/// Counts all steps, and says whether none costs much more than what is written down.
fn judge() -> Result<bool> {
    let mut measured = BTreeMap::new();
    for step in STEPS {
        let few = count(step, 1)?;
        let many = count(step, 3)?;
        // What else the process does is in both.
        measured.insert(step, (many - few) / 2.0 / ORDERS as f64);
    }
    let text = format!("{:#}\n", serde_json::to_value(rounded(&measured))?);
    if let Some(folder) = Path::new(MEASURED).parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(MEASURED, &text)?;
    if env::var_os("BLESS").is_some() {
        fs::write(WRITTEN_DOWN, &text)?;
    }
    let written: BTreeMap<String, f64> = serde_json::from_str(&fs::read_to_string(WRITTEN_DOWN)?)?;
    let mut is_kept = true;
    for step in STEPS {
        let (now, before) = (measured[step], *written.get(step).unwrap_or(&0.0));
        let growth = now / before - 1.0;
        let percent = growth * 100.0;
        println!(
            "instructions: {step:<14} {now:>6.0} a record, {before:.0} written down ({percent:+.1} %)"
        );
        // Also false for what is not written down.
        is_kept &= growth <= GROWTH_MAX;
    }
    if !is_kept {
        println!(
            "instructions: more than {} % above {WRITTEN_DOWN}: mend it, or say in the commit what it \
             is worth and write it down by BLESS=1 cargo test --release --test instructions",
            GROWTH_MAX * 100.0
        );
    }
    Ok(is_kept)
}

fn rounded<'a>(measured: &BTreeMap<&'a str, f64>) -> BTreeMap<&'a str, u64> {
    measured.iter().map(|(step, count)| (*step, count.round() as u64)).collect()
}

/// The instructions of a process that does `step` so many times.
fn count(step: &str, rounds: u32) -> Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .envs([("STEP", step), ("ROUNDS", &rounds.to_string())])
        .output()
        .map_err(|error| format!("cannot run valgrind: {error}; run scripts/setup.sh"))?;
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = report.lines().find_map(|line| line.split_once("Collected :"));
    let number = collected.and_then(|(_, number)| number.trim().parse().ok());
    match number {
        Some(number) if output.status.success() => Ok(number),
        _ => Err(format!("valgrind ended with {}:\n{report}", output.status).into()),
    }
}
