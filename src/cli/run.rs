//! `tidegate run`

use std::process;

use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};

use super::{ConfigArgs, telemetry};
use crate::{Engine, admin, config::Config, error::Error, metrics, shutdown::Shutdown};

pub(super) fn run(arguments: &ConfigArgs) -> Result<(), Error> {
    let config = arguments.load()?;
    telemetry::install(&config.log)?;
    die_of_panics();
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let recorder = metrics::install()?;
    describe(&config);
    let listen = config.admin.listen;
    let engine = Engine::new(config)?;
    // Before anything tells the outside that it runs: what it is sent from then on is an order.
    listen_to_signals(engine.runtime(), engine.shutdown())?;
    let address = admin::serve(listen, engine.status(), recorder, engine.runtime())?;
    tracing::info!("admin server on http://{address} (/metrics /status /readyz /livez)");
    engine.run()?;
    tracing::info!("ended; everything that was read is durable or will be read again");
    Ok(())
}

/// A thread that panicked leaves an engine that is half dead: the process ends instead. Ending is
/// safe at any moment.
fn die_of_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        process::exit(70);
    }));
}

fn describe(config: &Config) {
    tracing::info!("tidegate {}", env!("CARGO_PKG_VERSION"));
    for route in &config.routes {
        for target in &route.to {
            let table =
                target.table.as_ref().map_or_else(String::new, |table| format!(" table {table}"));
            let topics = route.topics.join(", ");
            tracing::info!(
                "route {}: {} [{topics}] to {}{table}, {:?}",
                route.name,
                route.source,
                target.sink,
                target.delivery
            );
        }
    }
}

fn listen_to_signals(runtime: &Handle, shutdown: Shutdown) -> Result<(), Error> {
    let _guard = runtime.enter();
    let failed = |error| Error::software(format!("cannot listen to signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    runtime.spawn(async move {
        let mut asked = false;
        loop {
            let code = tokio::select! {
                _ = terminate.recv() => 143,
                _ = interrupt.recv() => 130,
            };
            if asked {
                process::exit(code);
            }
            asked = true;
            tracing::info!("stopping: draining what is in flight; a second signal ends at once");
            shutdown.request();
        }
    });
    Ok(())
}
