//! `make demo`: from nothing to millions of orders in Postgres, and the proof of each of them.

mod error;
mod interrupt;
mod latency;
mod phase;
mod play;
mod progress;
mod service;
mod summary;

use std::process::ExitCode;

use clap::Parser;

use crate::interrupt::Interrupt;

fn main() -> ExitCode {
    let arguments = play::Arguments::parse();
    match Interrupt::listen().and_then(|interrupt| play::run(&arguments, &interrupt)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {}", stack::with_causes(&error));
            ExitCode::from(error.exit_code())
        }
    }
}
