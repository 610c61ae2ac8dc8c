//! Rows as lines of JSON, in a file or on standard output: at least once.
//!
//! Each line is the record's payload. Records that are not JSON go, with their reason, to a second
//! file beside it (`<path>.dead_letters`), or to standard error.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Encoder, Flushed, Sink, Target, TargetId, WriteError, Writer};
use crate::{
    batch::{DeadLetter, Layout},
    config,
    detect::Sample,
    error::Error,
    lane::{LaneKey, Outcome},
    record::Record,
    rejection::{Reason, Rejection},
    row::Row,
    status::SinkStatus,
    watchdog::Heart,
};

/// The sink; one writer, as a file has one end.
#[derive(Clone, Debug)]
pub struct NdjsonSink {
    name: String,
    path: Option<PathBuf>,
    files: Arc<Mutex<Option<Files>>>,
}

#[derive(Debug)]
struct Files {
    rows: Lines,
    dead_letters: Lines,
}

/// A file of whole lines.
#[derive(Debug)]
struct Lines {
    file: File,
    length: u64,
}

const TAIL_BYTES: usize = 64 << 10;

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
                let (rows, dead_letters) = (Lines::open(path)?, Lines::open(Path::new(&beside))?);
                none.insert(Files { rows, dead_letters })
            }
        };
        files.dead_letters.append(dead_letters)?;
        files.rows.append(rows)
    }
}

impl Lines {
    /// Opens a file for appending. What follows the last line break was cut off by a crash, and its
    /// record comes again: it is removed.
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut length = file.seek(SeekFrom::End(0))?;
        let mut block = vec![0; TAIL_BYTES];
        let whole = length;
        while length > 0 {
            let start = length.saturating_sub(TAIL_BYTES as u64);
            let tail = &mut block[..(length - start) as usize];
            file.seek(SeekFrom::Start(start))?;
            file.read_exact(tail)?;
            if let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') {
                length = start + end as u64 + 1;
                break;
            }
            length = start;
        }
        if length < whole {
            file.set_len(length)?;
        }
        Ok(Self { file, length })
    }

    /// Appends whole lines, or nothing.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.write_all(lines).and_then(|()| self.file.sync_data()) {
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += lines.len() as u64;
        Ok(())
    }
}

impl Sink for NdjsonSink {
    fn open(
        &self,
        _target: &config::Target,
        _samples: &mut dyn FnMut() -> Result<Vec<Sample>, Error>,
    ) -> Result<Arc<dyn Target>, Error> {
        self.append(b"", b"").map_err(|error| {
            let path = self.path.as_deref().unwrap_or(Path::new("-")).display();
            Error::config(format!("sinks.{}: cannot write {path}: {error}", self.name))
        })?;
        Ok(Arc::new(self.clone()))
    }

    fn writer(&self, _status: Arc<SinkStatus>) -> Box<dyn Writer> {
        Box::new(self.clone())
    }
}

impl Target for NdjsonSink {
    fn id(&self) -> TargetId {
        TargetId(0)
    }

    fn encoder(&self, _fields: &[String]) -> Result<Box<dyn Encoder>, Error> {
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
            self.append(rows, &dead_letters).map_err(|error| WriteError::Outage {
                class: "io".to_owned(),
                message: format!("sink {}: {error}", self.name),
            })?;
            flushed.outcome = Some(Outcome::Durable);
        }
        Ok(())
    }
}

fn describe(lane: &LaneKey, letter: &DeadLetter) -> String {
    let text =
        |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|b| String::from_utf8_lossy(b).into_owned());
    let hex = |bytes: &Option<Vec<u8>>| {
        bytes.as_ref().map(|b| b.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    serde_json::json!({
        "topic": &*lane.topic, "partition": lane.partition, "offset": letter.offset,
        "timestamp_ms": letter.timestamp_ms, "reason": letter.rejection.reason.as_str(),
        "message": letter.rejection.to_string(), "key_hex": hex(&letter.key),
        "value": text(&letter.value), "value_hex": hex(&letter.value),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_a_crash_cut_off_is_removed_before_the_next() {
        let path = std::env::temp_dir().join(format!("tidegate-lines-{}", std::process::id()));
        let long = vec![b'x'; TAIL_BYTES * 2];
        for (before, after) in [
            (&b"{\"a\":1}\n{\"b\":"[..], &b"{\"a\":1}\n"[..]),
            (b"{}\n", b"{}\n"),
            (b"{\"b\":", b""),
            (&long, b""),
        ] {
            std::fs::write(&path, before).unwrap();
            Lines::open(&path).unwrap().append(b"{\"c\":3}\n").unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), [after, b"{\"c\":3}\n"].concat());
        }
        std::fs::remove_file(&path).unwrap();
    }
}
