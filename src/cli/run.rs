//! `tidegate run`

use super::{
    ConfigArgs,
    process::{die_of_panics, listen_to_signals},
    telemetry,
};
use crate::{Engine, admin, config::Config, error::Error, metrics};

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
    tracing::info!("admin server on http://{address} (/ /status /metrics /readyz /livez)");
    engine.run()?;
    tracing::info!("ended; everything that was read is durable or will be read again");
    Ok(())
}

fn describe(config: &Config) {
    tracing::info!("tidegate {}", env!("CARGO_PKG_VERSION"));
    for route in &config.routes {
        for target in &route.to {
            let table =
                target.table.as_ref().map_or_else(String::new, |table| format!(" table {table}"));
            let topics = route.topics.join(", ");
            tracing::info!(
                "route {}: {} [{topics}] to {}{table}, {}",
                route.name,
                route.source,
                target.sink,
                target.delivery
            );
        }
    }
}
