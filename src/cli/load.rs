//! `tidegate load`

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use super::{ConfigArgs, chosen, process, progress::Progress, say, telemetry};
use crate::{
    Engine,
    config::{Config, Target, WriteMode},
    error::{Error, ErrorKind},
    lane::Counts,
    source::files::{FilesSource, Load},
    status::Status,
};

#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// Files of JSON lines, or of what the route's format reads; plain, or compressed by gzip or zstd.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The route that they take, if the configuration has several.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(arguments: &LoadArgs) -> Result<(), Error> {
    let config = arguments.config.load()?;
    telemetry::install(&config.log)?;
    process::die_of_panics();
    let load = Arc::new(Load::new(&arguments.files)?);
    let (config, source) = of_load(&config, arguments)?;
    let jobs = jobs(&config);
    let group = config.sources[&source].group(&source);
    let engine = Engine::new(config)?.with_source(&source, {
        let (source, load) = (source.clone(), Arc::clone(&load));
        move |_| Box::new(FilesSource::new(&source, &group, &load, jobs))
    });
    process::listen_to_signals(engine.runtime(), engine.shutdown())?;
    let (status, shutdown) = (engine.status(), engine.shutdown());
    let told = thread::spawn({
        let (load, shutdown) = (Arc::clone(&load), shutdown.clone());
        move || {
            let mut progress = Progress::new(Instant::now());
            while !shutdown.sleep(Duration::from_secs(1)) && load.complete() < load.len() {
                let (read, all) = load.bytes();
                let lines = so_far(&load, &status).consumed;
                if let Some(line) = progress.tell(Instant::now(), (read, all), lines) {
                    tracing::info!("{line}");
                }
            }
        }
    });
    let ended = engine.run();
    shutdown.request();
    // It has nothing to tell but progress.
    let _ = told.join();
    ended?;
    report(&load)
}

/// The configuration of the load, and the name of the source that the files stand for.
fn of_load(config: &Config, arguments: &LoadArgs) -> Result<(Config, String), Error> {
    let route = chosen::route(config, arguments.route.as_deref())?;
    let to: Vec<Target> = chosen::exact_targets(route)?.into_iter().cloned().collect();
    let mut config = chosen::only(config, route, to);
    for route in &mut config.routes {
        route.topics = vec![route.source.clone()];
    }
    Ok((config, route.source.clone()))
}

/// How many files are read at once: where a later record replaces an earlier one, the order of the files
/// is the order of their records.
fn jobs(config: &Config) -> usize {
    let mut targets = config.routes.iter().flat_map(|route| &route.to);
    if targets.any(|target| target.write.mode != WriteMode::Append) {
        return 1;
    }
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The counts of the files that are done and of those that are being read.
fn so_far(load: &Load, status: &Status) -> Counts {
    status.lanes().iter().fold(load.counts(), |sum, lane| sum.plus(&lane.counts()))
}

fn report(load: &Load) -> Result<(), Error> {
    let counts = load.counts();
    let Counts { consumed, written, coalesced, filtered, dead_lettered, in_flight } = counts;
    say(&format!(
        "{} of {} files loaded: {consumed} records were new, {written} rows, {coalesced} replaced by \
         a later one, {filtered} passed over, {dead_lettered} dead letters\n",
        load.complete(),
        load.len()
    ))?;
    if load.complete() < load.len() {
        return Err(Error::new(
            ErrorKind::Temporary,
            "stopped before the end; the same command goes on from there",
        ));
    }
    if consumed != counts.settled() || in_flight > 0 {
        return Err(Error::software(format!("the counts do not add up: {counts:?}")));
    }
    Ok(())
}
