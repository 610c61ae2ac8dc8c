//! Runs the engine with a sink of its own: a function that gets each record.
//!
//! ```sh
//! cargo run --release --example handler -- examples/handler.toml
//! ```
//!
//! Prints one line a record, until Ctrl-C; then it drains, commits and says how many there were.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tidegate::{
    Engine,
    config::{Config, Environment},
    error::Error,
    record::Record,
    sink::{WriteError, handler::HandlerSink},
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("handler: {error}");
            ExitCode::from(&error)
        }
    }
}

fn run() -> Result<(), Error> {
    // Standard output carries the records.
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    let path =
        std::env::args_os().nth(1).map_or_else(|| "examples/handler.toml".into(), PathBuf::from);
    let config = Config::load(&path, &[], &Environment::of_process())
        .map_err(|error| Error::config(error.to_string()))?;

    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    // The name is that of the sink in the file which has `kind = "handler"`.
    let engine = Engine::new(config)?.with_sink(
        "printer",
        HandlerSink::new(move |record| {
            print(record)?;
            counted.fetch_add(1, Relaxed);
            Ok(())
        }),
    );

    let shutdown = engine.shutdown();
    engine.runtime().spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            shutdown.request();
        }
    });
    let ended = engine.run();
    eprintln!("handler: {} records", count.load(Relaxed));
    ended
}

/// An answer of `WriteError::Outage` instead would have the batch handed in again, for ever.
fn print(record: &Record<'_>) -> Result<(), WriteError> {
    let text = |bytes: Option<&[u8]>| {
        bytes.map_or_else(|| "-".into(), |bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let timestamp_ms = record.timestamp_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
    writeln!(
        io::stdout().lock(),
        "{}[{}]@{} timestamp_ms={timestamp_ms} key={} value={}",
        record.topic,
        record.partition,
        record.offset,
        text(record.key),
        text(record.value),
    )
    .map_err(|error| WriteError::Halt(Error::software(format!("standard output: {error}"))))
}
