//! Drives the asynchronous clients behind the blocking API.

use std::{
    future::Future,
    sync::{OnceLock, mpsc},
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};

use crate::{Error, Result};

fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("stack")
        .enable_all()
        .build()
        .map_err(Error::io("start the runtime of", "stack"))?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// Runs `future` on the stack's own thread and waits for it. Unlike `Runtime::block_on`, this may
/// be called inside another runtime too, where it blocks the calling thread.
pub(crate) fn wait_for<T: Send + 'static>(
    action: &str,
    limit: Duration,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let task = runtime()?.spawn(async move {
        // The receiver is gone when the limit has passed.
        sender.send(future.await).ok();
    });
    receiver.recv_timeout(limit).map_err(|_| {
        task.abort();
        Error::TimedOut { action: action.to_owned(), limit_s: limit.as_secs() }
    })
}

pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    runtime()?.spawn(future);
    Ok(())
}
