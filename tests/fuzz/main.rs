//! Every decoder and encoder, on inputs that nobody would send.
//!
//! Each input is made from seeds and tokens of its target's grammar by a few random changes, and from
//! its number alone: `SEED` and the number tell all of it. Beside "no panic", each target knows
//! something that must be true of every input. `INPUTS` says how many (`make fuzz INPUTS=1000000`).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod files;
mod formats;
mod framing;
mod mutator;
mod notations;
mod payloads;
mod protobuf;
mod seeds;
mod sizes;
mod types;
mod values;
mod well_formed;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::Instant,
};

use mutator::Mutator;

/// What every input goes through; it panics if something is not as it must be.
type Try = Box<dyn FnMut(&[u8])>;

/// What is to be tried, and with what.
struct Target {
    name: &'static str,
    seeds: &'static [&'static str],
    tokens: &'static [&'static str],
    start: fn() -> Try,
}

const TARGETS: [Target; 21] = [
    Target { name: "csv", seeds: seeds::ROWS, tokens: seeds::CELLS, start: formats::lines },
    Target {
        name: "debezium",
        seeds: seeds::EVENTS,
        tokens: seeds::JSON,
        start: formats::debezium,
    },
    Target {
        name: "avro",
        seeds: seeds::SCHEMAS,
        tokens: seeds::SCHEMA,
        start: formats::avro_values,
    },
    Target {
        name: "protobuf",
        seeds: protobuf::SEEDS,
        tokens: protobuf::TOKENS,
        start: protobuf::messages,
    },
    Target { name: "json", seeds: seeds::OBJECTS, tokens: seeds::JSON, start: payloads::json },
    Target { name: "raw", seeds: seeds::TEXTS, tokens: seeds::JSON, start: payloads::raw },
    Target { name: "ndjson", seeds: seeds::OBJECTS, tokens: seeds::JSON, start: payloads::ndjson },
    Target { name: "detect", seeds: seeds::OBJECTS, tokens: seeds::TIME, start: payloads::detect },
    Target { name: "number", seeds: seeds::NUMBERS, tokens: seeds::DIGITS, start: values::number },
    Target { name: "time", seeds: seeds::TIMES, tokens: seeds::TIME, start: values::time },
    Target {
        name: "interval",
        seeds: notations::INTERVALS,
        tokens: notations::INTERVAL,
        start: values::interval,
    },
    Target {
        name: "address",
        seeds: notations::ADDRESSES,
        tokens: notations::ADDRESS,
        start: values::address,
    },
    Target {
        name: "structure",
        seeds: notations::STRUCTURES,
        tokens: notations::STRUCTURE,
        start: values::structure,
    },
    Target { name: "text", seeds: seeds::TEXTS, tokens: seeds::TEXT, start: values::text },
    Target {
        name: "document",
        seeds: seeds::OBJECTS,
        tokens: seeds::JSON,
        start: values::document,
    },
    Target { name: "metadata", seeds: seeds::TEXTS, tokens: seeds::TEXT, start: values::metadata },
    Target {
        name: "sqlstate",
        seeds: seeds::CONTEXTS,
        tokens: seeds::CONTEXT,
        start: framing::sqlstate,
    },
    Target {
        name: "original",
        seeds: seeds::TEXTS,
        tokens: seeds::FRAMES,
        start: framing::original,
    },
    Target { name: "rows", seeds: seeds::TEXTS, tokens: seeds::FRAMES, start: framing::rows },
    Target { name: "config", seeds: seeds::CONFIGS, tokens: seeds::CONFIG, start: files::config },
    Target { name: "lines", seeds: seeds::OBJECTS, tokens: seeds::LINES, start: files::lines },
];

/// Inputs a target, where `INPUTS` does not say it: a few seconds in all.
const INPUTS: u64 = 10_000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn main() -> ExitCode {
    // As with every test: a word on the command line chooses, and flags are for the usual harness.
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let is_chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let (seed, inputs) = (setting("SEED", 1), setting("INPUTS", INPUTS));
    println!("fuzz: SEED={seed}");
    let targets: Vec<&Target> = TARGETS.iter().filter(|target| is_chosen(target.name)).collect();
    let (next, panics) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(target) = targets.get(next.fetch_add(1, Relaxed)) {
                    panics.fetch_add(run(target, seed, inputs), Relaxed);
                    if catch_unwind(|| sizes::run(target)).is_err() {
                        panics.fetch_add(1, Relaxed);
                    }
                }
            });
        }
    });
    if panics.into_inner() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tries so many inputs; gives the number of those that broke something.
fn run(target: &Target, seed: u64, inputs: u64) -> usize {
    let mutator = Mutator::new(seed, target.name, target.seeds, target.tokens);
    let mut body = (target.start)();
    let (mut input, mut panics, started) = (Vec::new(), 0, Instant::now());
    for number in 0..inputs {
        mutator.make(number, &mut input);
        if catch_unwind(AssertUnwindSafe(|| body(&input))).is_err() {
            panics += 1;
            println!("fuzz: {} input {number}: {}", target.name, input.escape_ascii());
            // What it remembered may be half changed.
            body = (target.start)();
        }
        if panics >= 5 {
            println!("fuzz: {} is given up", target.name);
            break;
        }
    }
    let (name, took) = (target.name, started.elapsed().as_secs_f64());
    println!("fuzz: {name} inputs={inputs} panics={panics} seconds={took:.1}");
    panics
}
