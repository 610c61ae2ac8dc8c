//! Logs: for people on a terminal, JSON otherwise. Warnings and errors are remembered, and not repeated all
//! the time.

use std::{
    fmt::{self, Debug, Write as _},
    io::{self, IsTerminal as _},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer, layer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::{
    config::{Log, LogFormat},
    error::Error,
    incidents,
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
        let layer = layer().with_writer(io::stderr).with_target(false);
        let layer = layer.with_ansi(io::stderr().is_terminal());
        registry.with(layer.map_event_format(Sparing)).try_init()
    } else {
        let layer = layer().json().flatten_event(true).with_writer(io::stderr);
        registry.with(layer.map_event_format(Sparing)).try_init()
    };
    installed.map_err(|error| Error::software(format!("cannot set up the log: {error}")))
}

/// Writes a warning or an error only where it was not written just now.
struct Sparing<F>(F);

impl<S, N, F> FormatEvent<S, N> for Sparing<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if *metadata.level() <= Level::WARN && metadata.target() != incidents::REPEATED {
            let mut told = Told::default();
            event.record(&mut told);
            if !incidents::note(&told.place(metadata.target()), &told.message, 1) {
                return Ok(());
            }
        }
        self.0.format_event(context, writer, event)
    }
}

/// What an event tells.
#[derive(Default)]
struct Told {
    message: String,
    sink: String,
    source: String,
    topic: String,
    partition: String,
    target: String,
}

impl Told {
    /// What it is about; else the part of the program that tells it.
    fn place(&self, module: &str) -> String {
        let Self { sink, source, topic, partition, target, .. } = self;
        match self {
            _ if !topic.is_empty() && !target.is_empty() => {
                format!("{topic}[{partition}] to {target}")
            }
            _ if !topic.is_empty() => format!("{topic}[{partition}]"),
            _ if !sink.is_empty() => format!("sink {sink}"),
            _ if !source.is_empty() => format!("source {source}"),
            _ => module.trim_start_matches("tidegate::").to_owned(),
        }
    }

    fn field(&mut self, name: &str) -> Option<&mut String> {
        match name {
            "message" => Some(&mut self.message),
            "sink" => Some(&mut self.sink),
            "source" => Some(&mut self.source),
            "topic" => Some(&mut self.topic),
            "partition" => Some(&mut self.partition),
            "target" => Some(&mut self.target),
            _ => None,
        }
    }
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(text) = self.field(field.name()) {
            value.clone_into(text);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if let Some(text) = self.field(field.name()) {
            text.clear();
            let _ = write!(text, "{value:?}");
        }
    }
}
