//! Where records come from.
//!
//! A source knows nothing of sinks: it pushes records into a [`Partition`](crate::partition) and
//! does with the lanes' frontiers what its kind of position needs. To add a source: one module that
//! implements [`Source`], and one line in `Engine::source`.

mod claim;
pub(crate) mod files;
pub mod kafka;
mod line_reader;
pub mod lines;
pub mod ndjson;

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use crate::{
    detect::Sample,
    error::{Error, ErrorKind},
    record::Record,
    route::{Context, Route},
};

/// A system that records come from.
pub trait Source: Send {
    /// The topics that there are.
    ///
    /// # Errors
    /// When the source cannot be asked.
    fn topics(&self) -> Result<Vec<String>, Error>;

    /// Shows the first records of `topics` until `visit` has said of `count` that they are of use.
    /// Waits for a first one, at most for so long, or until the engine stops.
    ///
    /// # Errors
    /// When the source cannot be read.
    fn look(
        &self,
        topics: &[String],
        count: usize,
        wait: Duration,
        visit: &mut dyn FnMut(&Record<'_>) -> bool,
    ) -> Result<(), Error>;

    /// Gives up to `count` payloads of `topics`, to judge the fields by; waits until there is at
    /// least one, or the engine stops.
    ///
    /// # Errors
    /// When the source cannot be read.
    fn sample(&self, topics: &[String], count: usize) -> Result<Vec<Sample>, Error> {
        let mut samples = Vec::new();
        self.look(topics, count, Duration::MAX, &mut |record| {
            samples.extend(record.value.map(<[u8]>::to_vec));
            record.value.is_some()
        })?;
        if samples.is_empty() {
            let message = "stopped while waiting for a first record";
            return Err(Error::new(ErrorKind::Temporary, message));
        }
        Ok(samples)
    }

    /// Starts to read, until the engine stops or the source is at its end. The thread ends when
    /// everything it has taken in is durable or given up.
    ///
    /// # Errors
    /// When the source cannot be read: names it and the way out.
    fn start(
        self: Box<Self>,
        routes: Vec<Arc<Route>>,
        context: Context,
    ) -> Result<JoinHandle<()>, Error>;
}

/// The route of a source that has but one.
fn first_route(routes: &[Arc<Route>], source: &str) -> Result<Arc<Route>, Error> {
    let missing = || Error::software(format!("source {source} has no route"));
    routes.first().cloned().ok_or_else(missing)
}
