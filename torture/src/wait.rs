//! Waiting for what has to become true, with a bound.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::error::Error;

const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `probe` gives a value; the `Err` of its last try says why it did not.
pub(crate) fn within<T>(
    limit: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<T, String>,
) -> Result<T, Error> {
    let deadline = Instant::now() + limit;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= deadline => {
                let (what, limit_s) = (what.to_owned(), limit.as_secs());
                return Err(Error::TooLate { what, limit_s, last });
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
