//! Batches: the encoded rows of one lane for a half-open range of offsets.
//!
//! Pure: no I/O, and the clock is passed in.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

pub use crate::{
    dead_letter::{DeadLetter, Place},
    original::Original,
};
use crate::{
    lane::Held,
    memory::Hold,
    record::Record,
    rejection::{Reason, Rejection},
};

/// When a batch closes: at whichever bound comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// Rows, dead letters included.
    pub rows: usize,
    /// Bytes held: encoded rows, original records, dead letters.
    pub bytes: usize,
    /// Time since its first record; `None` adapts it to the sink.
    pub age: Option<Duration>,
}

/// Why a batch was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// It held enough rows.
    Rows,
    /// It held enough bytes.
    Bytes,
    /// Its first record had waited long enough.
    Age,
    /// Its target changes before the next record.
    Adapt,
    /// Its partition was taken away.
    Revoke,
    /// The process, or the input, came to its end.
    Shutdown,
}

impl Trigger {
    /// Every trigger, for the metrics.
    pub const ALL: [Self; 6] =
        [Self::Rows, Self::Bytes, Self::Age, Self::Adapt, Self::Revoke, Self::Shutdown];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Age => "age",
            Self::Adapt => "adapt",
            Self::Revoke => "revoke",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Rows of one layout are streamed together: a layout is the set of columns that they carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Layout(pub u64);

impl Layout {
    /// Of rows that are to be deleted: they carry what names them.
    pub const DELETE: Self = Self(u64::MAX);
}

/// The rows of one layout, one behind the other, as the sink's encoder wrote them.
#[derive(Debug, Default)]
pub struct Segment {
    /// The set of columns that these rows carry.
    pub layout: Layout,
    /// The encoded rows.
    pub bytes: Vec<u8>,
    /// Where each row's record stands in [`Batch::originals`]; one entry a row. Empty where they are
    /// not kept.
    pub origins: Vec<u32>,
    /// Number of rows.
    pub rows: u32,
}

impl Segment {
    /// Takes rows out, which are given by their places, in order, with their encoded bytes. Gives their
    /// origins.
    fn take_out(&mut self, rows: impl Iterator<Item = (usize, Range<usize>)> + Clone) -> Vec<u32> {
        let (mut kept, mut read) = (0, 0);
        for (_, range) in rows.clone() {
            self.bytes.copy_within(read..range.start, kept);
            kept += range.start - read;
            read = range.end;
        }
        self.bytes.drain(kept..read);
        let (mut row, mut next, mut taken) = (0, rows.peekable(), Vec::new());
        self.origins.retain(|place| {
            let is_out = next.next_if(|(out, _)| *out == row).is_some();
            row += 1;
            taken.extend(is_out.then_some(*place));
            !is_out
        });
        self.rows -= taken.len() as u32;
        taken
    }
}

/// A stored dead letter that a batch is made of, when dead letters are replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Its record's offset.
    pub offset: i64,
    /// Which version of the stored row was read: it must still be this one.
    pub version: String,
}

/// The encoded rows of one lane for the offsets `[begin, end)`; there may be gaps in between.
#[derive(Debug)]
pub struct Batch {
    /// First offset covered: the end of the batch before.
    pub begin: i64,
    /// Last delivered offset + 1.
    pub end: i64,
    /// Records taken in: rows + dead letters + filtered.
    pub records: u64,
    /// Records that were passed over: they concern no row, or none that is wanted.
    pub filtered: u64,
    /// Of the rows, those that a later one of the same key stands for.
    pub coalesced: u64,
    /// The rows, by layout. The first segment is the one that most rows go to.
    pub segments: Vec<Segment>,
    /// Rows that do not go to their table, but are added to its summaries: they are too late.
    pub late: Vec<Segment>,
    /// Whether the summaries do not take them either.
    pub late_is_refused: bool,
    /// The records behind the rows, framed; kept so that a row which the sink refuses can be
    /// dead-lettered with its bytes. Empty where they are read again for that.
    pub originals: Vec<u8>,
    /// The records that did not become rows.
    pub dead_letters: Vec<DeadLetter>,
    /// The stored dead letters that its records come from: they are removed in the transaction of
    /// the rows. Empty for a batch of a source.
    pub replayed: Vec<Replayed>,
    /// Record timestamps (ms) with the number of records that carry them, in order of arrival.
    pub timestamps_ms: Vec<(i64, u32)>,
    /// Why it was closed.
    pub trigger: Trigger,
    /// What it holds of the memory while it is on its way.
    pub hold: Option<Hold>,
    opened_at: Option<Instant>,
    dead_letter_bytes: usize,
}

/// The records behind rows that a batch had.
#[derive(Debug)]
pub struct Unencoded {
    places: Vec<u32>,
    originals: Vec<u8>,
}

impl Unencoded {
    /// The records, in order of arrival.
    pub fn originals(&self) -> impl Iterator<Item = Original<'_>> {
        self.places.iter().filter_map(|place| {
            Original::read(self.originals.get(*place as usize..)?).map(|(original, _)| original)
        })
    }
}

/// Runs of equal timestamps that a batch tells apart. Beyond it, records count as old as the last
/// one told: 1,024 distinct milliseconds are more than ten times the default batch age.
const TIMESTAMP_RUNS_MAX: usize = 1024;

impl Batch {
    /// An empty batch whose first offset will be `begin`.
    pub fn new(begin: i64) -> Self {
        Self {
            begin,
            end: begin,
            records: 0,
            filtered: 0,
            coalesced: 0,
            segments: vec![Segment::default()],
            late: Vec::new(),
            late_is_refused: false,
            originals: Vec::new(),
            dead_letters: Vec::new(),
            replayed: Vec::new(),
            timestamps_ms: Vec::new(),
            trigger: Trigger::Age,
            hold: None,
            opened_at: None,
            dead_letter_bytes: 0,
        }
    }

    /// Empties it for reuse from `begin` on, with its buffers.
    pub fn reset(&mut self, begin: i64) {
        self.begin = begin;
        self.end = begin;
        self.records = 0;
        self.filtered = 0;
        self.coalesced = 0;
        self.opened_at = None;
        self.dead_letter_bytes = 0;
        self.dead_letters.clear();
        self.replayed.clear();
        self.timestamps_ms.clear();
        self.late.clear();
        self.late_is_refused = false;
        self.segments.truncate(4);
        for segment in &mut self.segments {
            segment.rows = 0;
            segment.origins.clear();
            segment.bytes.clear();
        }
        self.originals.clear();
        self.hold = None;
    }

    /// Bytes that its buffers take, used or not.
    pub fn capacity(&self) -> usize {
        let segments = self.segments.iter().map(|s| s.bytes.capacity() + 4 * s.origins.capacity());
        let late = self.late.iter().map(|s| s.bytes.capacity() + 4 * s.origins.capacity());
        segments.chain(late).sum::<usize>()
            + self.originals.capacity()
            + 16 * self.timestamps_ms.capacity()
            + self.dead_letter_bytes
    }

    /// The segment for rows of `layout`.
    pub fn segment(&mut self, layout: Layout) -> &mut Segment {
        let index = match self.segments.iter().position(|s| s.layout == layout) {
            Some(index) => index,
            // An empty segment left from an earlier use serves any layout.
            None => match self.segments.iter().position(|s| s.rows == 0) {
                Some(index) => index,
                None => {
                    self.segments.push(Segment::default());
                    self.segments.len() - 1
                }
            },
        };
        let segment = &mut self.segments[index];
        segment.layout = layout;
        segment
    }

    /// Counts `record` as taken in: the batch now covers it.
    pub fn cover(&mut self, record: &Record<'_>, now: impl FnOnce() -> Instant) {
        if self.opened_at.is_none() {
            self.opened_at = Some(now());
        }
        self.records += 1;
        self.end = record.offset + 1;
        let Some(timestamp_ms) = record.timestamp_ms else { return };
        let full = self.timestamps_ms.len() >= TIMESTAMP_RUNS_MAX;
        match self.timestamps_ms.last_mut() {
            Some((last, count)) if *last == timestamp_ms || full => *count += 1,
            _ => self.timestamps_ms.push((timestamp_ms, 1)),
        }
    }

    /// Keeps a copy of `record` and gives its place for [`Segment::origins`].
    pub fn keep_original(&mut self, record: &Record<'_>) -> u32 {
        let place = self.originals.len() as u32;
        Original::keep(record, &mut self.originals);
        place
    }

    /// Whether the record behind each row is there.
    pub fn is_kept(&self) -> bool {
        let mut segments = self.segments.iter().chain(&self.late);
        segments.all(|segment| segment.origins.len() == segment.rows as usize)
    }

    /// Puts `record` aside as a dead letter.
    pub fn reject(&mut self, record: &Record<'_>, rejection: Rejection) {
        self.add_dead_letter(DeadLetter::of_record(record, rejection));
    }

    /// Takes row `row` of segment `segment`, whose encoded bytes are `range`, out of the batch and
    /// keeps its record as a dead letter: the sink refused it.
    pub fn refuse(
        &mut self,
        segment: usize,
        row: usize,
        range: Range<usize>,
        sqlstate: &str,
        message: &str,
    ) {
        let segment = &mut self.segments[segment];
        segment.bytes.drain(range);
        let place = segment.origins.remove(row) as usize;
        segment.rows -= 1;
        let Some((original, _)) = Original::read(&self.originals[place..]) else { return };
        let rejection = Rejection::record(Reason::Refused, message);
        let letter = DeadLetter::of_original(&original, rejection, sqlstate);
        self.add_dead_letter(letter);
    }

    /// Moves rows of segment `segment` to those that are too late. `rows` are their places, in order, with
    /// their encoded bytes.
    pub fn set_late(&mut self, segment: usize, rows: &[(usize, Range<usize>)]) {
        let Some(segment) = self.segments.get_mut(segment).filter(|_| !rows.is_empty()) else {
            return;
        };
        let mut late = Segment { layout: segment.layout, ..Segment::default() };
        for (_, range) in rows {
            late.bytes.extend_from_slice(&segment.bytes[range.clone()]);
        }
        late.origins = segment.take_out(rows.iter().cloned());
        late.rows = late.origins.len() as u32;
        self.late.push(late);
    }

    /// Takes rows that were too late back among the others.
    pub fn take_late_back(&mut self) {
        for mut late in std::mem::take(&mut self.late) {
            let segment = self.segment(late.layout);
            segment.bytes.append(&mut late.bytes);
            segment.origins.append(&mut late.origins);
            segment.rows += late.rows;
        }
    }

    /// Takes rows out of segment `segment` and keeps their records as dead letters. `rows` are their
    /// places, in order, with their encoded bytes.
    pub fn set_aside(&mut self, segment: usize, rows: Vec<(usize, Range<usize>, Rejection)>) {
        let Some(segment) = self.segments.get_mut(segment).filter(|_| !rows.is_empty()) else {
            return;
        };
        let places = segment.take_out(rows.iter().map(|(row, range, _)| (*row, range.clone())));
        for (place, (.., rejection)) in places.into_iter().zip(rows) {
            let original = self.originals.get(place as usize..).and_then(Original::read);
            if let Some((original, _)) = original {
                let mut letter = DeadLetter::of_original(&original, rejection, "");
                letter.sqlstate = None;
                self.add_dead_letter(letter);
            }
        }
    }

    /// Takes its rows out, and gives the records behind them; the rest of the batch stays.
    pub fn take_back(&mut self) -> Unencoded {
        self.take_late_back();
        let mut places = Vec::new();
        for segment in &mut self.segments {
            places.append(&mut segment.origins);
            segment.bytes.clear();
            segment.rows = 0;
        }
        places.sort_unstable();
        self.coalesced = 0;
        Unencoded { places, originals: std::mem::take(&mut self.originals) }
    }

    /// The records kept, in order of arrival.
    pub fn originals(&self) -> impl Iterator<Item = Original<'_>> {
        let mut rest = self.originals.as_slice();
        std::iter::from_fn(move || {
            let (original, behind) = Original::read(rest)?;
            rest = behind;
            Some(original)
        })
    }

    fn add_dead_letter(&mut self, letter: DeadLetter) {
        self.dead_letter_bytes += letter.held_bytes();
        self.dead_letters.push(letter);
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.segments.iter().chain(&self.late).map(|s| u64::from(s.rows)).sum()
    }

    /// Bytes of encoded rows.
    pub fn encoded_bytes(&self) -> usize {
        self.segments.iter().map(|s| s.bytes.len()).sum()
    }

    /// What it holds, for whoever looks at its lane.
    pub fn held(&self) -> Held {
        let first_ms = self.timestamps_ms.first().map(|(ms, _)| *ms);
        Held { first_ms, bytes: self.held_bytes() }
    }

    /// Bytes held against the memory budget.
    pub fn held_bytes(&self) -> usize {
        self.encoded_bytes() + self.originals.len() + self.dead_letter_bytes
    }

    /// Whether it covers no record.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Which bound it has reached, apart from its age.
    pub fn is_full(&self, policy: &BatchPolicy) -> Option<Trigger> {
        if self.records >= policy.rows as u64 {
            Some(Trigger::Rows)
        } else if self.held_bytes() >= policy.bytes {
            Some(Trigger::Bytes)
        } else {
            None
        }
    }

    /// When its first record came.
    pub fn opened_at(&self) -> Option<Instant> {
        self.opened_at
    }
}

#[cfg(test)]
mod histories;

#[cfg(test)]
mod tests;
