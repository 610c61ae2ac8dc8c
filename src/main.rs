//! The `tidegate` command.

use std::process::ExitCode;

use tidegate::cli;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate: {error}");
            ExitCode::from(&error)
        }
    }
}
