//! A table is filled, and takes another one's place: the engine reads and writes, and this leads it.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::Place;
use crate::{
    Engine,
    cli::{chosen, process, progress::Progress},
    config::{OnMissingTable, Sink, TableName, Target},
    error::{Error, ErrorKind},
    lane::Counts,
    shutdown::Shutdown,
    sink::postgres::{
        PostgresSink,
        versions::{Positions, Settle, State, Swap, Version},
    },
    source::kafka::{
        KafkaSource,
        range::{Edge, Range, Stretch},
        range_source::RangeSource,
    },
};

/// How long a start waits for a database or for brokers that do not answer.
const START_MAX: Duration = Duration::from_secs(30);
const TURN: Duration = Duration::from_millis(50);
/// A version that is so little behind is swapped: writers wait for about as long.
const NEAR: Duration = Duration::from_secs(1);

/// A table that is filled.
pub(super) struct Filling<'a> {
    pub(super) place: &'a Place,
    pub(super) version: &'a Version,
    /// Its name.
    pub(super) table: &'a str,
    /// Where it begins and ends.
    pub(super) edges: [Edge; 2],
    pub(super) rate: Option<u32>,
    pub(super) swap: bool,
}

impl Filling<'_> {
    /// Fills the table, and swaps it if that is wanted. Gives what became of the records.
    pub(super) fn run(&self) -> Result<String, Error> {
        let [from, to] = self.edges;
        let range = Arc::new(Range::new(from, to, self.rate));
        let engine = self.engine(&range)?;
        let shutdown = engine.shutdown();
        process::listen_to_signals(engine.runtime(), shutdown.clone())?;
        let (ran, led) = thread::scope(|scope| {
            let engine = scope.spawn(|| {
                let ended = engine.run();
                // It may have failed before anybody was told to stop.
                shutdown.request();
                ended
            });
            let led = self.lead(&range, &shutdown);
            shutdown.request();
            // A panic has ended the process.
            (engine.join(), led)
        });
        if let Ok(Err(error)) = ran {
            return Err(error);
        }
        led?;
        let counts = range.counts();
        let Counts { consumed, written, coalesced, filtered, dead_lettered, in_flight } = counts;
        if consumed != counts.settled() || in_flight > 0 {
            return Err(Error::software(format!("the counts do not add up: {counts:?}")));
        }
        Ok(format!(
            "{consumed} records read, {written} rows, {coalesced} replaced by a later one, {filtered} \
             passed over, {dead_lettered} dead letters"
        ))
    }

    /// An engine that reads the range into the table.
    fn engine(&self, range: &Arc<Range>) -> Result<Engine, Error> {
        let Place { config, route, target, kafka, .. } = self.place;
        let schema = Some(self.version.schema.clone());
        let table = Some(TableName { schema, name: self.table.to_owned() });
        let target = Target { table, on_missing_table: OnMissingTable::Fail, ..target.clone() };
        let (name, group) = (route.source.clone(), self.version.group.clone());
        let (kafka, range) = (kafka.clone(), Arc::clone(range));
        let engine = Engine::new(chosen::only(config, route, vec![target]))?;
        Ok(engine.with_source(&route.source, move |context| {
            let (memory, shutdown) = (Arc::clone(&context.memory), context.shutdown.clone());
            let kafka = KafkaSource::new(&name, kafka.clone(), memory, shutdown, START_MAX);
            Box::new(RangeSource::new(kafka, &group, &range))
        }))
    }

    /// Leads the engine to the end of the range, and through the swap.
    fn lead(&self, range: &Range, shutdown: &Shutdown) -> Result<(), Error> {
        let Place { config, target, live, runtime, .. } = self.place;
        let Sink::Postgres(postgres) = &config.sinks[&target.sink] else {
            return Err(Error::software("a table without a database"));
        };
        // It gives up when the engine does.
        let handle = runtime.handle().clone();
        let sink = PostgresSink::new(&target.sink, postgres, handle, shutdown.clone(), START_MAX)?;
        let (cluster_id, stretches) = loop {
            match range.found() {
                Some(found) => break found,
                None if shutdown.sleep(TURN) => return Err(stopped()),
                None => {}
            }
        };
        let group = config.sources[&self.place.route.source].group(&self.place.route.source);
        let mapping = target.mapping();
        let swap = Swap {
            version: self.version,
            sink: &target.sink,
            group: &group,
            cluster_id,
            mapping: &mapping,
        };
        if self.version.state == State::Serving {
            sink.check_rollback(&swap)?;
        }
        let positions = sink.positions(&swap)?;
        for stretch in stretches {
            let live = positions.get(&key(stretch)).copied();
            stretch.raise(stretch.to.or(live).unwrap_or(stretch.high));
        }
        await_settled(range, stretches, shutdown)?;
        sink.finish_version(live, self.version, self.table)?;
        if !self.swap {
            return Ok(());
        }
        range.hurry();
        loop {
            let since = Instant::now();
            raise(stretches, &sink.positions(&swap)?)?;
            await_settled(range, stretches, shutdown)?;
            if since.elapsed() < NEAR {
                break;
            }
        }
        let settle = Settle {
            raise: &|positions: &Positions| raise(stretches, positions),
            is_settled: &|| stretches.iter().all(|stretch| stretch.is_settled()),
        };
        sink.swap(&swap, &settle)
    }
}

fn stopped() -> Error {
    let message = "stopped before the end; the same command goes on from there";
    Error::new(ErrorKind::Temporary, message)
}

fn key(stretch: &Stretch) -> (String, i32) {
    let (topic, partition) = &stretch.key;
    (topic.to_string(), *partition)
}

/// Lets the stretches go on to where the live table is. Each of its lanes must be one of them: what it
/// has of others would be missing.
fn raise(stretches: &[Arc<Stretch>], live: &Positions) -> Result<(), Error> {
    let lacks = |message: String| Err(Error::new(ErrorKind::Data, message));
    for stretch in stretches {
        let (topic, partition) = &stretch.key;
        let Some(position) = live.get(&key(stretch)) else {
            return lacks(format!(
                "the live table has no position in {topic}[{partition}]: let its route run first"
            ));
        };
        if stretch.bound() > *position {
            return lacks(format!(
                "the live table is at {position} of {topic}[{partition}], and was at {} before: its \
                 database has gone back in time",
                stretch.bound()
            ));
        }
        stretch.raise(*position);
    }
    match live.keys().find(|lane| stretches.iter().all(|stretch| key(stretch) != **lane)) {
        None => Ok(()),
        Some((topic, partition)) => lacks(format!(
            "the live table has records of {topic}[{partition}], which came after the replay was \
             started; start it again"
        )),
    }
}

/// Waits until all that is below the bounds is durable, and tells how far it is.
fn await_settled(
    range: &Range,
    stretches: &[Arc<Stretch>],
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let mut progress = Progress::new(Instant::now());
    while !stretches.iter().all(|stretch| stretch.is_settled()) {
        let done = |stretch: &Arc<Stretch>| (stretch.durable() - stretch.from).max(0) as u64;
        let all = |stretch: &Arc<Stretch>| (stretch.bound() - stretch.from).max(0) as u64;
        let part = (stretches.iter().map(done).sum(), stretches.iter().map(all).sum());
        if let Some(line) = progress.tell(Instant::now(), part, range.counts().consumed) {
            tracing::info!("{line}");
        }
        if shutdown.sleep(TURN / 10) {
            return Err(stopped());
        }
    }
    Ok(())
}
