//! `stack up`, `stack down` and what lies between: one Kafka and one Postgres for the shell.

mod service;
mod state_dir;
mod supervisor;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use service::Service;
use state_dir::StateDir;

#[derive(Debug, Parser)]
#[command(version, about = "A real Kafka and a real Postgres on free ports of 127.0.0.1")]
struct Cli {
    /// Where the addresses (`env`), the log and the control socket are.
    #[arg(long, global = true, default_value = ".stack")]
    state_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start Kafka and Postgres; return when both answer (--detach) or stay until Ctrl-C.
    Up(Up),
    /// Stop both and delete their data.
    Down,
    /// Show what runs, its process and its address.
    Status,
    /// Start what was stopped or killed, on the same data and port.
    Start { service: Service },
    /// Stop in an orderly way.
    Stop { service: Service },
    /// kill -9, with all children.
    Kill { service: Service },
    /// Freeze: connections stay open, nothing answers.
    Suspend { service: Service },
    /// Thaw.
    Resume { service: Service },
    /// Create a topic.
    CreateTopic {
        name: String,
        #[arg(long, default_value_t = 6)]
        partitions: i32,
        /// A topic setting, `key=value`; may be repeated.
        #[arg(long = "setting", value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Delete a topic.
    DeleteTopic { name: String },
    /// Run psql on the database, with these arguments.
    #[command(trailing_var_arg = true)]
    Psql {
        #[arg(allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Up {
    /// 1, or 3 with replication.
    #[arg(long, default_value_t = 1)]
    brokers: u16,
    /// Return when everything answers; `stack down` ends it.
    #[arg(long)]
    detach: bool,
    /// Keep the data in this folder after the end.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// A line of server.properties, `key=value`; may be repeated.
    #[arg(long = "kafka-setting", value_name = "KEY=VALUE", value_parser = key_value)]
    kafka_settings: Vec<(String, String)>,
    /// A line of postgresql.conf, `key=value`; may be repeated.
    #[arg(long = "postgres-setting", value_name = "KEY=VALUE", value_parser = key_value)]
    postgres_settings: Vec<(String, String)>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stack: {}", describe(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    let state_dir = StateDir::new(cli.state_dir);
    let order = match cli.command {
        Command::Up(up) if up.detach => return supervisor::detach(&state_dir),
        Command::Up(up) => return supervisor::run(&state_dir, up),
        Command::Psql { arguments } => return state_dir.psql(&arguments),
        Command::Down => "down".to_owned(),
        Command::Status => "status".to_owned(),
        Command::Start { service } => format!("start {service}"),
        Command::Stop { service } => format!("stop {service}"),
        Command::Kill { service } => format!("kill {service}"),
        Command::Suspend { service } => format!("suspend {service}"),
        Command::Resume { service } => format!("resume {service}"),
        Command::CreateTopic { name, partitions, settings } => {
            format!("create-topic {name} {partitions} {}", settings.join(" "))
        }
        Command::DeleteTopic { name } => format!("delete-topic {name}"),
    };
    print!("{}", state_dir.order(&order)?);
    Ok(())
}

pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The message with all its causes.
pub(crate) fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
