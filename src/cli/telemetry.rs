//! Logs: for people on a terminal, JSON otherwise.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    config::{Log, LogFormat},
    error::Error,
};

/// Installs the log, on standard error: standard output may carry rows.
pub(super) fn install(log: &Log) -> Result<(), Error> {
    let level = log.level.to_string();
    // librdkafka's own lines come through the client's callbacks.
    let filter = EnvFilter::try_new(format!("{level},rdkafka=error"))
        .map_err(|error| Error::config(format!("log.level: {error}")))?;
    let human = match log.format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let installed = if human {
        let layer = fmt::layer().with_writer(io::stderr).with_target(false);
        registry.with(layer.with_ansi(io::stderr().is_terminal())).try_init()
    } else {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).try_init()
    };
    installed.map_err(|error| Error::software(format!("cannot set up the log: {error}")))
}
