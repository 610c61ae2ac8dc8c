//! Records from lines: a file, or standard input. One partition, number 0; the offset is the number
//! of the line, from 0.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{
    Source,
    kafka::Fetched,
    lines::{Blocks, lines},
};
use crate::{
    batch::{Original, Trigger},
    error::{Error, ErrorKind},
    lane::{LaneKey, Loss},
    record::Record,
    route::{Context, LaneStart, Route},
    sink::{Checkpoints, Claimant, Claimed, Found, Group, Rank, TopicIds, WriteError},
    status::SourceState,
    stop::Stop,
    watchdog::Heart,
};

type Input = Box<dyn Read + Send>;

/// How soon the thread that waits for the end sees that it is not needed any more.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A file of lines, read once from the first line that is not durable yet.
#[derive(Clone, Debug)]
pub struct NdjsonSource {
    name: String,
    path: Option<PathBuf>,
}

impl NdjsonSource {
    /// Lines of `path`; `-` is standard input.
    pub fn new(name: &str, path: &Path) -> Self {
        Self { name: name.to_owned(), path: (path != Path::new("-")).then(|| path.to_owned()) }
    }

    fn open(&self) -> Result<Input, Error> {
        Ok(match &self.path {
            Some(path) => Box::new(File::open(path).map_err(|error| {
                let path = path.display();
                Error::config(format!("sources.{}: cannot read {path}: {error}", self.name))
            })?),
            None => Box::new(io::stdin()),
        })
    }

    /// The name under which the positions of this file are kept: its full path and its inode, as line
    /// numbers mean nothing in another file.
    fn group(&self) -> Result<Group, Error> {
        let cluster_id = match &self.path {
            Some(path) => {
                let unreadable = |error: io::Error| {
                    let path = path.display();
                    Error::config(format!("sources.{}: cannot read {path}: {error}", self.name))
                };
                let whole = std::fs::canonicalize(path).map_err(unreadable)?;
                let inode = std::fs::metadata(&whole).map_err(unreadable)?.ino();
                format!("{}#{inode}", whole.display())
            }
            None => "stdin".to_owned(),
        };
        Ok(Group { name: format!("tidegate-{}", self.name), cluster_id })
    }

    /// Reads one line.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn fetch(&self, partition: i32, line: i64) -> Result<Fetched, Error> {
        let mut record = None;
        let mut end = 0;
        self.look(&[], 1, Duration::ZERO, &mut |found| {
            end = found.offset + 1;
            let is_it = found.offset == line && partition == found.partition;
            // Empty lines count, but are no records.
            if is_it && found.value.is_some_and(|text| !text.is_empty()) {
                let mut bytes = Vec::new();
                Original::keep(found, &mut bytes);
                record = Some(bytes);
            }
            is_it
        })?;
        // The lines behind the one that was looked for are not counted.
        Ok(Fetched { cluster_id: self.group()?.cluster_id, bounds: (0, end), record })
    }

    /// Where each target of the route begins. Standard input cannot be read twice, so it keeps no
    /// positions.
    fn starts(
        &self,
        route: &Route,
        group: &Group,
        context: &Context,
        heart: &Heart,
    ) -> Result<Vec<LaneStart>, Error> {
        let topic: Arc<str> = Arc::from(self.name.as_str());
        let fresh = LaneStart { position: 0, claim: None };
        let mut starts = Vec::new();
        for (target, key) in route.targets.iter().zip(route.lane_keys(&topic, 0)) {
            let start = match target.target.checkpoints() {
                Some(checkpoints) if self.path.is_some() => {
                    let Claimed { next_offset, claim, .. } =
                        claim(checkpoints, group, &key, context, heart)?;
                    LaneStart { position: next_offset, claim: Some(claim) }
                }
                Some(_) => {
                    tracing::warn!(
                        "standard input keeps no position: rows may double after a restart"
                    );
                    fresh
                }
                None => fresh,
            };
            starts.push(start);
        }
        Ok(starts)
    }
}

fn claim(
    checkpoints: &dyn Checkpoints,
    group: &Group,
    key: &LaneKey,
    context: &Context,
    heart: &Heart,
) -> Result<Claimed, Error> {
    let claimant = Claimant { group, rank: Rank::Latest, topic_ids: &TopicIds::new() };
    loop {
        heart.beat();
        let found = match checkpoints.claim(claimant, std::slice::from_ref(key)) {
            Ok(found) if found.first() == Some(&Found::Missing) => {
                checkpoints.create(claimant, &[(key.clone(), 0)])
            }
            found => found,
        };
        match found {
            Ok(found) => {
                let Some(Found::Claimed(claimed)) = found.first() else {
                    return Err(Error::software("a checkpoint was not returned"));
                };
                return Ok(claimed.clone());
            }
            Err(WriteError::Halt(error)) => return Err(error),
            Err(WriteError::Outage { message, .. }) => {
                tracing::warn!("cannot claim yet, still trying: {message}");
                if context.shutdown.sleep(Duration::from_secs(1)) {
                    return Err(Error::new(ErrorKind::Temporary, "stopped while claiming"));
                }
            }
        }
    }
}

impl Source for NdjsonSource {
    fn topics(&self) -> Result<Vec<String>, Error> {
        Ok(vec![self.name.clone()])
    }

    fn look(
        &self,
        _topics: &[String],
        count: usize,
        _wait: Duration,
        visit: &mut dyn FnMut(&Record<'_>) -> bool,
    ) -> Result<(), Error> {
        if self.path.is_none() {
            return Err(Error::config(format!(
                "sources.{}: standard input cannot be read twice, so nothing can be judged by it \
                 before it is read; create the table first",
                self.name
            )));
        }
        let mut of_use = 0;
        for (offset, line) in (0..).zip(BufReader::new(self.open()?).split(b'\n')) {
            let failed = |error| Error::config(format!("sources.{}: {error}", self.name));
            let line = line.map_err(failed)?;
            of_use += usize::from(visit(&record_of(&self.name, offset, &line)));
            if of_use == count {
                break;
            }
        }
        Ok(())
    }

    fn start(
        self: Box<Self>,
        routes: Vec<Arc<Route>>,
        context: Context,
    ) -> Result<JoinHandle<()>, Error> {
        let reader = self.open()?;
        let Some(route) = routes.first().cloned() else {
            return Err(Error::software(format!("source {} has no route", self.name)));
        };
        let watchdog = context.watchdog.clone();
        watchdog.spawn(&format!("read-{}", self.name), move |heart| {
            if let Err(error) = self.run(reader, &route, &context, heart) {
                context.shutdown.fail(error);
            }
            context.status.set_source(&self.name, SourceState::Finished);
        })
    }
}

/// One line as a record.
fn record_of<'a>(topic: &'a str, offset: i64, text: &'a [u8]) -> Record<'a> {
    Record {
        topic,
        partition: 0,
        offset,
        timestamp_ms: None,
        key: None,
        value: Some(text),
        headers: None,
    }
}

impl NdjsonSource {
    /// Reads whole lines ahead, on a thread that may wait for input as long as it likes: nobody
    /// can take a read of standard input back.
    fn read_ahead(
        &self,
        reader: Input,
        context: &Context,
    ) -> Result<Receiver<io::Result<Vec<u8>>>, Error> {
        let (sender, receiver) = crossbeam_channel::bounded(2);
        let shutdown = context.shutdown.clone();
        let read = move || {
            for block in Blocks::new(reader) {
                if shutdown.is_requested() || sender.send(block).is_err() {
                    return;
                }
            }
        };
        let spawned = std::thread::Builder::new().name(format!("lines-{}", self.name)).spawn(read);
        spawned.map_err(|error| Error::software(format!("cannot start a thread: {error}")))?;
        Ok(receiver)
    }

    /// Orders the partition to stop when the end is asked for: its own thread sees no more than its
    /// orders while it waits for the sink.
    fn order_to_stop(&self, stop: &Arc<Stop>, context: &Context) -> Result<(), Error> {
        let (stop, context) = (Arc::downgrade(stop), context.clone());
        let order = move || {
            // Nobody is left to be ordered about once the partition is gone.
            while stop.strong_count() > 0 {
                if context.shutdown.sleep(LOOK_INTERVAL) {
                    if let Some(stop) = stop.upgrade() {
                        stop.request(Trigger::Shutdown, context.drain_deadline());
                    }
                    return;
                }
            }
        };
        let spawned = std::thread::Builder::new().name(format!("stop-{}", self.name)).spawn(order);
        spawned
            .map(drop)
            .map_err(|error| Error::software(format!("cannot start a thread: {error}")))
    }

    fn run(
        &self,
        reader: Input,
        route: &Route,
        context: &Context,
        heart: &Heart,
    ) -> Result<(), Error> {
        let group = Arc::new(self.group()?);
        let starts = self.starts(route, &group, context, heart)?;
        let topic: Arc<str> = Arc::from(self.name.as_str());
        let mut open = route.open_partition(&topic, 0, &group, &starts, context)?;
        context.status.set_source(&self.name, SourceState::Running { partitions: 1 });
        let first = open.partition.position();
        let blocks = self.read_ahead(reader, context)?;
        let (mut offset, mut ended) = (0, false);
        self.order_to_stop(&open.stop, context)?;
        'input: while !open.partition.must_stop() && !context.shutdown.is_requested() {
            open.partition.tick(heart);
            let block = match blocks.recv_timeout(open.partition.wait()) {
                Ok(block) => block.map_err(|error| {
                    Error::new(ErrorKind::Data, format!("sources.{}: {error}", self.name))
                })?,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    ended = true;
                    break;
                }
            };
            for text in lines(&block) {
                if offset >= first && !text.is_empty() {
                    open.partition.push(&record_of(&topic, offset, text), heart);
                    // A line that was not taken in is a hole below the next one.
                    if open.partition.must_stop() {
                        break 'input;
                    }
                }
                offset += 1;
            }
        }
        if ended && offset < first {
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "sources.{}: {first} lines were written already, but the file has only {offset}: \
                     it is another file than before (see \"positions\" in the README)",
                    self.name
                ),
            ));
        }
        // At the end of the input there is no hurry: an outage of the sink is waited out in rounds.
        loop {
            open.stop.request(Trigger::Shutdown, context.drain_deadline());
            let drained = open.partition.drain(heart);
            if drained
                || context.shutdown.is_requested()
                || open.lanes.iter().any(|l| l.is_closed())
            {
                break;
            }
        }
        let loss = open.lanes.iter().find_map(|lane| lane.loss());
        for lane in &open.lanes {
            lane.cancel();
            context.status.remove_lane(lane);
        }
        if let Some(loss) = loss {
            let name = &self.name;
            let why = match loss {
                Loss::Fenced => "another process reads the same file into the same table",
                Loss::Regressed => {
                    "the database has gone back in time; the next start goes on where it stands"
                }
            };
            return Err(Error::new(ErrorKind::Temporary, format!("sources.{name}: {why}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_of_a_file_goes_by_its_full_path() {
        let directory = std::env::temp_dir();
        let path = directory.join(format!("tidegate-ndjson-{}", std::process::id()));
        std::fs::write(&path, "{}\n").unwrap();
        let group = NdjsonSource::new("backlog", &path).group().unwrap();
        assert_eq!(group.name, "tidegate-backlog");
        assert!(Path::new(&group.cluster_id).is_absolute());
        std::fs::remove_file(&path).unwrap();
    }
}
