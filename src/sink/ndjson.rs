//! Rows as lines of JSON, in a file or on standard output: at least once.
//!
//! Each line is the record's payload. Records that are not JSON go, with their reason, to a second
//! file beside it (`<path>.dead_letters`), or to standard error.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Encoder, Flushed, Sink, Target, TargetId, WriteError, Writer};
use crate::{
    batch::{DeadLetter, Layout},
    config,
    error::Error,
    headers,
    lane::{LaneKey, Outcome},
    record::Record,
    rejection::{Reason, Rejection},
    row::Row,
    selector::Selector,
    shape::Shape,
    source::kafka::DeadLetterTopic,
    stage::ThreadClock,
    watchdog::Heart,
};

/// How far back the beginning of a last line is looked for at a time.
const TAIL_BYTES: u64 = 64 << 10;

/// The sink; one writer, as a file has one end.
#[derive(Clone, Debug)]
pub struct NdjsonSink {
    name: String,
    path: Option<PathBuf>,
    files: Arc<Mutex<Option<Files>>>,
}

#[derive(Debug)]
struct Files {
    rows: File,
    dead_letters: File,
}

impl NdjsonSink {
    /// Lines go to `path`; `-` is standard output.
    pub fn new(name: &str, path: &Path) -> Self {
        let path = (path != Path::new("-")).then(|| path.to_owned());
        Self { name: name.to_owned(), path, files: Arc::default() }
    }

    fn append(&self, rows: &[u8], dead_letters: &[u8]) -> io::Result<()> {
        let Some(path) = &self.path else {
            io::stdout().lock().write_all(rows)?;
            io::stdout().lock().flush()?;
            return io::stderr().lock().write_all(dead_letters);
        };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = match &mut *files {
            Some(files) => files,
            none => {
                let mut beside = path.clone().into_os_string();
                beside.push(".dead_letters");
                let (rows, dead_letters) = (open(path)?, open(Path::new(&beside))?);
                none.insert(Files { rows, dead_letters })
            }
        };
        append_whole(&mut files.dead_letters, dead_letters)?;
        append_whole(&mut files.rows, rows)
    }
}

/// Opens a file to append to, without the torn line that a crash may have left at its end: its
/// record was not durable yet and comes again, and would be spoilt by the fragment before it.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    let mut tail = Vec::new();
    let mut begin = length;
    while begin > 0 && !tail.contains(&b'\n') {
        begin = begin.saturating_sub(TAIL_BYTES);
        tail.clear();
        file.seek(io::SeekFrom::Start(begin))?;
        (&file).take(length - begin).read_to_end(&mut tail)?;
    }
    let line = tail.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok() {
        // Whole after all: somebody else's file.
        file.write_all(b"\n")?;
    } else if !line.is_empty() {
        file.set_len(length - line.len() as u64)?;
    }
    Ok(file)
}

/// Appends all of `bytes`, or nothing: what is tried again must not follow half a line.
fn append_whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let length = file.metadata()?.len();
    let written = file.write_all(bytes).and_then(|()| file.sync_data());
    if written.is_err() {
        file.set_len(length)?;
    }
    written
}

impl Sink for NdjsonSink {
    fn open(
        &self,
        _target: &config::Target,
        _shape: &mut dyn FnMut() -> Result<Shape, Error>,
        _dead_letters: Option<Arc<DeadLetterTopic>>,
    ) -> Result<Arc<dyn Target>, Error> {
        self.append(b"", b"").map_err(|error| {
            let path = self.path.as_deref().unwrap_or(Path::new("-")).display();
            Error::config(format!("sinks.{}: cannot write {path}: {error}", self.name))
        })?;
        Ok(Arc::new(self.clone()))
    }

    fn writer(&self, _clock: Arc<ThreadClock>) -> Box<dyn Writer> {
        Box::new(self.clone())
    }
}

impl Target for NdjsonSink {
    fn id(&self) -> TargetId {
        TargetId(0)
    }

    fn encoder(&self, _selectors: &[Selector]) -> Result<Box<dyn Encoder>, Error> {
        Ok(Box::new(self.clone()))
    }
}

impl Encoder for NdjsonSink {
    fn encode(
        &mut self,
        record: &Record<'_>,
        _row: &Row<'_>,
        _layout: Layout,
        out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        let payload = record.value.unwrap_or_default();
        let text = std::str::from_utf8(payload).map_err(|_| {
            Rejection::record(
                Reason::Malformed,
                "the payload is not UTF-8, so it cannot be a line of JSON",
            )
        })?;
        if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
            // In JSON a line break can only stand between tokens: strings must escape it.
            out.extend(payload.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }));
        } else {
            out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
        }
        out.push(b'\n');
        Ok(())
    }
}

impl Writer for NdjsonSink {
    fn write(
        &mut self,
        _target: TargetId,
        batches: &mut [Flushed],
        _heart: &Heart,
    ) -> Result<(), WriteError> {
        for flushed in batches {
            let mut dead_letters = Vec::new();
            for letter in &flushed.batch.dead_letters {
                dead_letters.extend_from_slice(describe(&flushed.lane.key, letter).as_bytes());
                dead_letters.push(b'\n');
            }
            let rows = flushed.batch.segments.first().map_or(&[][..], |s| &s.bytes);
            self.append(rows, &dead_letters).map_err(|error| {
                let message = format!("sink {}: {error}", self.name);
                match error.kind() {
                    // Whoever read standard output will not come back.
                    io::ErrorKind::BrokenPipe => WriteError::Halt(Error::unavailable(message)),
                    _ => WriteError::Outage { class: "io".to_owned(), message },
                }
            })?;
            flushed.outcome = Some(Outcome::Durable);
        }
        Ok(())
    }
}

fn describe(lane: &LaneKey, letter: &DeadLetter) -> String {
    let text =
        |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|b| String::from_utf8_lossy(b).into_owned());
    let hex = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(headers::hex);
    serde_json::json!({
        "topic": &*lane.topic, "partition": lane.partition, "offset": letter.offset,
        "timestamp_ms": letter.timestamp_ms, "reason": letter.rejection.reason.as_str(),
        "message": letter.rejection.to_string(), "key_hex": hex(&letter.key),
        "value": text(&letter.value), "value_hex": hex(&letter.value),
        "headers": headers::to_json(letter.original().headers),
    })
    .to_string()
}
