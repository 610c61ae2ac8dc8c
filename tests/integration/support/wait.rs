//! Waiting for what must become true.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Long enough for anything that works, on a machine that does something else as well.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `probe` gives a value; the `Err` of its last try says why it did not.
pub(crate) fn eventually<T>(what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
    eventually_within(LIMIT, what, probe)
}

pub(crate) fn eventually_within<T>(
    limit: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(last) if Instant::now() >= deadline => {
                panic!("{what}: not within {} s: {last}", limit.as_secs_f64())
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
