//! Files of lines, plain or compressed, each read once: for `tidegate load`.
//!
//! A file is a lane like a partition: its full path is the topic, and the offset is the number of the
//! line, from 0. What tells it from another file of the same name is the digest of its head, which
//! stands where a topic has its id.

mod head;

use std::{
    fs::File,
    io::{self, Read, Seek as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use flate2::read::MultiGzDecoder;

use self::head::Head;
use super::{
    Source,
    claim::claim,
    first_route,
    line_reader::{Input, LineReader, look},
};
use crate::{
    error::{Error, ErrorKind},
    lane::{Counts, LaneKey},
    record::Record,
    route::{Context, LaneStart, Route},
    sink::{Claimant, Claimed, Group, Rank, TopicIds},
    status::SourceState,
    watchdog::Heart,
};

/// Stands for the cluster in the checkpoints of files.
pub(crate) const CLUSTER: &str = "file";

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const TURN: Duration = Duration::from_millis(20);

/// The files of one load, and how far it is.
#[derive(Debug)]
pub(crate) struct Load {
    files: Vec<(PathBuf, u64)>,
    next: AtomicUsize,
    read_bytes: Arc<AtomicU64>,
    complete: AtomicUsize,
    counts: Mutex<Counts>,
}

impl Load {
    /// A load of these files, each of them once.
    ///
    /// # Errors
    /// When one is not there, or is no file.
    pub(crate) fn new(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut files: Vec<(PathBuf, u64)> = Vec::new();
        for path in paths {
            let unreadable = |error| unreadable(path, &error);
            let whole = std::fs::canonicalize(path).map_err(unreadable)?;
            let metadata = std::fs::metadata(&whole).map_err(unreadable)?;
            if !metadata.is_file() {
                // What cannot be read twice cannot be resumed.
                return Err(Error::config(format!(
                    "{} is not a file; to read a pipe once, run an ndjson source",
                    path.display()
                )));
            }
            if whole.to_str().is_none() {
                return Err(Error::config(format!(
                    "{}: its name is not a text, and cannot be kept as its position's",
                    path.display()
                )));
            }
            if files.iter().all(|(known, _)| *known != whole) {
                files.push((whole, metadata.len()));
            }
        }
        Ok(Self {
            files,
            next: AtomicUsize::new(0),
            read_bytes: Arc::default(),
            complete: AtomicUsize::new(0),
            counts: Mutex::default(),
        })
    }

    /// Number of files.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// Number of files whose lines are all durable.
    pub(crate) fn complete(&self) -> usize {
        self.complete.load(Relaxed)
    }

    /// Bytes read, as they are in the files, and bytes in all.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.read_bytes.load(Relaxed), self.files.iter().map(|(_, bytes)| bytes).sum())
    }

    /// What became of the lines of the files that are done with.
    pub(crate) fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<&Path> {
        let (path, _) = self.files.get(self.next.fetch_add(1, Relaxed))?;
        Some(path)
    }
}

/// A source that is made of files.
pub(crate) struct FilesSource {
    name: String,
    group: String,
    load: Arc<Load>,
    /// How many files are read at once.
    jobs: usize,
}

impl FilesSource {
    /// The files of `load` in place of the source `name`; their positions are kept for `group`.
    pub(crate) fn new(name: &str, group: &str, load: &Arc<Load>, jobs: usize) -> Self {
        let (name, group) = (name.to_owned(), group.to_owned());
        Self { name, group, load: Arc::clone(load), jobs }
    }
}

impl Source for FilesSource {
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
        let mut wanted = count;
        for (path, _) in &self.load.files {
            let looked = open(path, &Arc::default())
                .and_then(|input| look(input, &self.name, &mut wanted, visit));
            looked.map_err(|error| unreadable(path, &error))?;
            if wanted == 0 {
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
        let route = first_route(&routes, &self.name)?;
        let mut readers = Vec::new();
        for number in 0..self.jobs.min(self.load.len()) {
            let group = Group { name: self.group.clone(), cluster_id: CLUSTER.to_owned() };
            let reader = Reader {
                load: Arc::clone(&self.load),
                group: Arc::new(group),
                route: Arc::clone(&route),
                context: context.clone(),
            };
            let name = format!("load-{number}");
            readers.push(context.watchdog.spawn(&name, move |heart| reader.run(heart))?);
        }
        let partitions = readers.len();
        context.status.set_source(&self.name, SourceState::Running { partitions });
        let (watchdog, name) = (context.watchdog.clone(), self.name);
        watchdog.spawn(&format!("read-{name}"), move |heart| {
            // The engine's writers end when nobody holds the route any more.
            drop(route);
            while readers.iter().any(|reader| !reader.is_finished()) {
                heart.beat();
                std::thread::sleep(TURN);
            }
            context.status.set_source(&name, SourceState::Finished);
        })
    }
}

/// A thread that reads one file after the other.
struct Reader {
    load: Arc<Load>,
    group: Arc<Group>,
    route: Arc<Route>,
    context: Context,
}

impl Reader {
    fn run(self, heart: &Heart) {
        while !self.context.shutdown.is_requested()
            && let Some(path) = self.load.take()
        {
            heart.beat();
            if let Err(error) = self.read(path, heart) {
                self.context.shutdown.fail(error);
            }
        }
    }

    fn read(&self, path: &Path, heart: &Heart) -> Result<(), Error> {
        let name = path.display().to_string();
        let unreadable = |error: io::Error| unreadable(path, &error);
        let head = Head::of(open(path, &Arc::default()).map_err(unreadable)?, Head::BYTES);
        let head = head.map_err(unreadable)?;
        let topic: Arc<str> = Arc::from(name.as_str());
        let starts = self.starts(path, &topic, &head, heart)?;
        let input = open(path, &self.load.read_bytes).map_err(unreadable)?;
        let lines = LineReader {
            name: &name,
            topic,
            group: Arc::clone(&self.group),
            route: &self.route,
            context: &self.context,
        };
        let read = lines.run(input, &starts, heart)?;
        let mut counts = self.load.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts = counts.plus(&read.counts);
        drop(counts);
        if read.is_complete {
            self.load.complete.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// Claims the file's lanes.
    fn starts(
        &self,
        path: &Path,
        topic: &Arc<str>,
        head: &Head,
        heart: &Heart,
    ) -> Result<Vec<LaneStart>, Error> {
        let topic_ids = TopicIds::from([(Arc::clone(topic), head.to_string())]);
        let claimant = Claimant { group: &self.group, rank: Rank::Latest, topic_ids: &topic_ids };
        let mut starts = Vec::new();
        for (target, key) in self.route.targets.iter().zip(self.route.lane_keys(topic, 0)) {
            let Some(checkpoints) = target.target.checkpoints() else {
                return Err(Error::software(format!("{} keeps no position", target.name)));
            };
            let lanes = [(key, 0)];
            let claimed = claim(checkpoints, claimant, &lanes, &self.context, heart)?;
            let [(key, _)] = &lanes;
            let Some(claimed) = claimed.first() else {
                return Err(Error::software("a claim without an answer"));
            };
            check(path, key, claimed)?;
            starts.push(LaneStart { position: claimed.next_offset, claim: Some(claimed.claim) });
        }
        Ok(starts)
    }
}

/// A position must be of the file that is there now. It may have grown since.
fn check(path: &Path, key: &LaneKey, claimed: &Claimed) -> Result<(), Error> {
    let Some(known) = claimed.topic_id.as_deref().and_then(Head::parse) else { return Ok(()) };
    let now = open(path, &Arc::default()).and_then(|input| Head::of(input, known.bytes));
    if now.map_err(|error| unreadable(path, &error))? == known {
        return Ok(());
    }
    let path = path.display();
    Err(Error::new(
        ErrorKind::Data,
        format!(
            "{path}: another file of this name was loaded into {} before, {} lines of it. Give this one \
             another name; or, to load it as well, forget the other: DELETE FROM tidegate.checkpoints \
             WHERE cluster_id = '{CLUSTER}' AND topic = '{}'",
            key.target,
            claimed.next_offset,
            key.topic.replace('\'', "''")
        ),
    ))
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Data, format!("cannot read {}: {error}", path.display()))
}

/// Counts what is read of a file.
struct Counted {
    file: File,
    read_bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read_bytes.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

/// The lines of a file; by its first bytes it is seen how they are compressed.
fn open(path: &Path, read_bytes: &Arc<AtomicU64>) -> io::Result<Input> {
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    (&mut file).take(4).read_to_end(&mut magic)?;
    file.rewind()?;
    let counted = Counted { file, read_bytes: Arc::clone(read_bytes) };
    Ok(if magic.starts_with(&GZIP) {
        // Several may stand one behind the other.
        Box::new(MultiGzDecoder::new(counted))
    } else if magic == ZSTD {
        Box::new(zstd::stream::read::Decoder::new(counted)?)
    } else {
        Box::new(counted)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn text_of(path: &Path) -> io::Result<String> {
        let mut text = String::new();
        open(path, &Arc::default())?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn a_file_is_read_whatever_it_is_compressed_by_and_a_torn_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let write = |bytes: &[u8]| std::fs::write(&path, bytes).unwrap();
        write(b"a\nb\n");
        assert_eq!(text_of(&path).unwrap(), "a\nb\n");
        let gzip = |text: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = |text: &[u8]| zstd::stream::encode_all(text, 1).unwrap();
        for compress in [&gzip as &dyn Fn(&[u8]) -> Vec<u8>, &zstd] {
            let whole = [compress(b"a\n"), compress(b"b\n")].concat();
            write(&whole);
            assert_eq!(text_of(&path).unwrap(), "a\nb\n");
            write(&whole[..whole.len() - 3]);
            assert!(text_of(&path).is_err());
        }
        write(b"");
        assert_eq!(text_of(&path).unwrap(), "");
    }

    #[test]
    fn a_file_that_is_named_twice_is_loaded_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "x").unwrap();
        let load = Load::new(&[path.clone(), folder.path().join(".").join("a")]).unwrap();
        assert_eq!((load.len(), load.bytes()), (1, (0, 1)));
        assert!(Load::new(&[folder.path().to_owned()]).is_err());
        assert!(Load::new(&[folder.path().join("b")]).is_err());
    }
}
