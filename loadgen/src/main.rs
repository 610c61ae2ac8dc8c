//! The binary `loadgen`: parses the flags, runs the load, reports, and sets the exit code.

use std::error::Error;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use clap::error::ErrorKind;
use loadgen::cli::Arguments;
use loadgen::{FindLimit, Ledger, LoadError, Report, dry_run};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let is_help =
                matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // A closed terminal is no reason for another exit code.
            drop(error.print());
            return ExitCode::from(if is_help { 0 } else { USAGE });
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // `loadgen --dry-run 1M | head` has what it wanted.
        Err(LoadError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("loadgen: {}", with_causes(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), LoadError> {
    if let Some(find) = arguments.find_limit() {
        return find_limit(arguments, &find);
    }
    if let Some(path) = &arguments.ledger {
        // A ledger of an earlier run must not pass for this one's, and a path that cannot be
        // written should not show only after an hour.
        let seed = arguments.profile().seed;
        Ledger::new(arguments.topic(), seed, false, Vec::new()).write(path)?;
    }
    let report = match arguments.dry_run {
        Some(count) => dry_run(arguments, count)?,
        None => arguments.load(io::stderr().is_terminal()).run(&*stop_on_signals()?)?,
    };
    if let Some(path) = &arguments.ledger {
        report.ledger.write(path)?;
    }
    let seconds = report.elapsed.as_secs_f64();
    let rate = report.ledger.produced as f64 / seconds.max(1e-9);
    if !arguments.quiet {
        let produced = report.ledger.produced;
        eprintln!("loadgen: produced={produced} seconds={seconds:.3} rate={rate:.0}/s");
    }
    if arguments.json {
        writeln!(io::stdout(), "{}", json_report(&report, rate))?;
    }
    report.error.map_or(Ok(()), Err)
}

fn find_limit(arguments: &Arguments, find: &FindLimit) -> Result<(), LoadError> {
    let write = |path: &Path, text: &str| {
        let shown = path.display().to_string();
        std::fs::write(path, text).map_err(|source| LoadError::File { path: shown, source })
    };
    if let Some(path) = &arguments.svg {
        // A path that cannot be written should not show only at the end.
        write(path, "")?;
    }
    let report = find.run(&*stop_on_signals()?)?;
    if let Some(path) = &arguments.svg {
        write(path, &report.svg())?;
    }
    if !arguments.quiet {
        eprintln!("loadgen: {report}");
    }
    if arguments.json {
        writeln!(io::stdout(), "{}", report.json())?;
    }
    report.error.map_or(Ok(()), Err)
}

fn dry_run(arguments: &Arguments, count: u64) -> Result<Report, LoadError> {
    let mut out = BufWriter::with_capacity(1 << 18, io::stdout().lock());
    dry_run::write(&arguments.profile(), arguments.topic(), count, &mut out)
}

/// The first Ctrl-C or SIGTERM ends the run cleanly, the second one at once.
fn stop_on_signals() -> Result<Arc<AtomicBool>, LoadError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Registered first, so that it does not yet see what the same signal sets next.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(|source| LoadError::System { source })?;
    }
    Ok(stop)
}

fn json_report(report: &Report, rate: f64) -> serde_json::Value {
    let seconds = report.elapsed.as_secs_f64();
    serde_json::json!({
        "topic": report.ledger.topic,
        "seed": report.ledger.seed,
        "complete": report.ledger.complete,
        "produced": report.ledger.produced,
        "seconds": seconds,
        "records_per_second": rate as u64,
        "bytes": report.bytes,
        "megabytes_per_second": report.bytes as f64 / 1e6 / seconds.max(1e-9),
        "totals": report.ledger.totals,
    })
}

/// The error and what caused it; Kafka's errors tell their own cause again, which is left out.
fn with_causes(error: &LoadError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}
