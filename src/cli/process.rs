//! How a command that runs an engine ends: by a signal, or by a thread that dies.

use std::process;

use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};

use crate::{error::Error, shutdown::Shutdown};

/// A thread that panicked leaves an engine that is half dead: the process ends instead. Ending is
/// safe at any moment.
pub(super) fn die_of_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        process::exit(70);
    }));
}

/// Makes SIGTERM and SIGINT orders to stop.
pub(super) fn listen_to_signals(runtime: &Handle, shutdown: Shutdown) -> Result<(), Error> {
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
