//! Where records come from.
//!
//! A source knows nothing of sinks: it pushes records into a [`Partition`](crate::partition) and
//! does with the lanes' frontiers what its kind of position needs. To add a source: one module that
//! implements [`Source`], and one line in `Engine::source`.

pub mod kafka;
pub mod lines;
pub mod ndjson;

use std::{sync::Arc, thread::JoinHandle};

use crate::{
    detect::Sample,
    error::Error,
    route::{Context, Route},
};

/// A system that records come from.
pub trait Source: Send {
    /// The topics that there are.
    ///
    /// # Errors
    /// When the source cannot be asked.
    fn topics(&self) -> Result<Vec<String>, Error>;

    /// Gives up to `count` payloads of `topics`, to judge the fields by; waits until there is at
    /// least one, or the engine stops.
    ///
    /// # Errors
    /// When the source cannot be read.
    fn sample(&self, topics: &[String], count: usize) -> Result<Vec<Sample>, Error>;

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
