//! `make torture`: real servers, several instances, a producer with a ledger, and faults at random
//! from a seed; then the proof that nothing was lost and nothing doubled.

mod arguments;
mod audit;
mod chance;
mod error;
mod faults;
mod findings;
mod fleet;
mod flow;
mod instance;
mod kind;
mod plan;
mod report;
mod run;
mod servers;
mod wait;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;

fn main() -> ExitCode {
    match run::run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("torture: {}", stack::with_causes(&error));
            ExitCode::FAILURE
        }
    }
}
