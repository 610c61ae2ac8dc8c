//! The command line: one file a command, or a folder for one that has several.

mod check;
mod chosen;
mod dlq;
mod documents;
mod healthcheck;
mod init;
mod lag;
mod load;
mod plan;
mod positions;
mod process;
mod progress;
mod replay;
mod rollup;
mod run;
mod telemetry;
mod top;
mod trace;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, error::ErrorKind as ClapKind};

use crate::{
    config::{Config, Environment},
    error::{Error, ErrorKind},
    headers,
};

/// How long a command waits for an answer: long enough for a slow one, short enough to wait for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Kafka into Postgres: fast, exactly once, and able to say where the time goes.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Move records until told to stop (SIGTERM or Ctrl-C drains; a second one ends at once).
    Run(ConfigArgs),
    /// Look at everything that can be wrong before a record is read; changes nothing.
    Check(check::CheckArgs),
    /// Show what feeds which column, the tables that would be made, and the first records as the rows
    /// that they would become; writes nothing.
    Plan(plan::PlanArgs),
    /// Look at a topic's records and print the table and the configuration that fit them.
    Init(init::InitArgs),
    /// Load files of records through a route, each line once: what was interrupted goes on, and what was
    /// loaded is not loaded again.
    Load(load::LoadArgs),
    /// Read a route's history again, with the configuration of now, into a new table beside the live one;
    /// and let it take its place.
    Replay(replay::ReplayArgs),
    /// Look at the dead letters in the table, send them again, or drop them.
    Dlq(dlq::DlqArgs),
    /// Say what became of one record: its bytes, and for each target the row that it becomes, whether it
    /// is durable, and where.
    Trace(trace::TraceArgs),
    /// Make, refresh and look at summaries by time (`[[rollups]]`).
    Rollup(rollup::RollupArgs),
    /// Show how far each partition is behind, from Kafka and the databases alone: no tidegate need run.
    Lag(lag::LagArgs),
    /// Look at a running tidegate: what is slow, since when, and what to do about it.
    Top(top::TopArgs),
    /// Ask a running tidegate whether it is ready: for containers and supervisors.
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Print what makes a shell complete the commands and options.
    Completions(documents::CompletionsArgs),
    /// Write the manual pages, one for each command.
    Man(documents::ManArgs),
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file.
    #[arg(short, long, default_value = "tidegate.toml", value_name = "FILE")]
    config: PathBuf,
    /// Overrides one key of the file, and its TIDEGATE__ variable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, Error> {
        Config::load(&self.config, &self.overrides, &Environment::of_process())
            .map_err(|error| Error::config(error.to_string()))
    }
}

/// Runs the command that the process was started with.
///
/// # Errors
/// What ended it; its kind is the exit code.
pub fn run() -> Result<(), Error> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(shown) if matches!(shown.kind(), ClapKind::DisplayHelp | ClapKind::DisplayVersion) => {
            return shown.print().map_err(|error| Error::software(error.to_string()));
        }
        Err(wrong) => {
            let text = wrong.render().to_string();
            return Err(Error::new(ErrorKind::Usage, text.trim_end().to_owned()));
        }
    };
    match cli.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Load(arguments) => load::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Dlq(arguments) => dlq::run(&arguments),
        Command::Trace(arguments) => trace::run(&arguments),
        Command::Rollup(arguments) => rollup::run(&arguments),
        Command::Lag(arguments) => lag::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments),
        Command::Completions(arguments) => documents::complete(&arguments),
        Command::Man(arguments) => documents::man(&arguments),
    }
}

/// Prints. That nobody reads on (`| head`) is no error.
fn say(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::unavailable(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// A text without what would disturb a terminal.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// A text as it is, anything else in hexadecimal digits.
fn bytes(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "(none)".to_owned(),
        Some((_, Ok(text))) if !text.contains('\0') => text.to_owned(),
        Some((bytes, _)) => format!("\\x{}", headers::hex(bytes)),
    }
}

/// Columns as wide as their widest cell; the last is as long as it is.
fn table<R: AsRef<[String]>>(head: &[&str], rows: impl Iterator<Item = R>) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let mut lines = vec![head];
    lines.extend(rows.map(|row| row.as_ref().iter().map(|cell| printable(cell)).collect()));
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line: &Vec<String>| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let shown = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_record_holds_reaches_the_terminal_as_an_order() {
        assert_eq!(printable("a\x1b[2J\nb\u{9b}é"), "a\\u{1b}[2J\\nb\\u{9b}é");
    }
}
