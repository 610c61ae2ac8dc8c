//! `make demo`: from nothing to millions of orders in Postgres, and the proof of each of them.

mod digits;
mod error;
mod interrupt;
mod latency;
mod phase;
mod play;
mod progress;
mod service;
mod summary;

use std::{error::Error as _, process::ExitCode};

use clap::Parser;

use crate::{error::Error, interrupt::Interrupt};

fn main() -> ExitCode {
    let arguments = play::Arguments::parse();
    match Interrupt::listen().and_then(|interrupt| play::run(&arguments, &interrupt)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {}", with_causes(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
