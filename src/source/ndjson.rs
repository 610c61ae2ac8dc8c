//! Records from lines: a file, or standard input. One partition, number 0; the offset is the number
//! of the line, from 0.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use super::{
    Source,
    claim::claim,
    first_route,
    kafka::Fetched,
    line_reader::{Input, LineReader, look},
};
use crate::{
    batch::Original,
    error::Error,
    record::Record,
    route::{Context, LaneStart, Route},
    sink::{Claimant, Claimed, Group, Rank, TopicIds},
    status::SourceState,
    watchdog::Heart,
};

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
                    let topic_ids = TopicIds::new();
                    let claimant = Claimant { group, rank: Rank::Latest, topic_ids: &topic_ids };
                    let claimed = claim(checkpoints, claimant, &[(key, 0)], context, heart)?;
                    let start = |claimed: &Claimed| LaneStart {
                        position: claimed.next_offset,
                        claim: Some(claimed.claim),
                    };
                    claimed.first().map_or(fresh, start)
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
        let mut wanted = count;
        look(self.open()?, &self.name, &mut wanted, visit)
            .map_err(|error| Error::config(format!("sources.{}: {error}", self.name)))
    }

    fn start(
        self: Box<Self>,
        routes: Vec<Arc<Route>>,
        context: Context,
    ) -> Result<JoinHandle<()>, Error> {
        let reader = self.open()?;
        let route = first_route(&routes, &self.name)?;
        let watchdog = context.watchdog.clone();
        watchdog.spawn(&format!("read-{}", self.name), move |heart| {
            if let Err(error) = self.run(reader, &route, &context, heart) {
                context.shutdown.fail(error);
            }
            context.status.set_source(&self.name, SourceState::Finished);
        })
    }
}

impl NdjsonSource {
    fn run(
        &self,
        reader: Input,
        route: &Route,
        context: &Context,
        heart: &Heart,
    ) -> Result<(), Error> {
        let group = Arc::new(self.group()?);
        let starts = self.starts(route, &group, context, heart)?;
        context.status.set_source(&self.name, SourceState::Running { partitions: 1 });
        let name = format!("sources.{}", self.name);
        let topic = Arc::from(self.name.as_str());
        let lines = LineReader { name: &name, topic, group, route, context };
        lines.run(reader, &starts, heart).map(drop)
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
