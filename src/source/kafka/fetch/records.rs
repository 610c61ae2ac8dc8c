//! Records out of the record batches of a fetch response, where they lie.
//!
//! The format is that of Kafka 0.11 and later ("magic" 2). Nothing is copied but what is compressed.

use rdkafka::error::RDKafkaErrorCode;

use super::compression::Decompressor;
use crate::record::{Headers, Record};

/// Bytes of a batch before its length ends: the length counts what follows it.
const LENGTH_END: usize = 12;
/// Bytes of a batch before its first record.
const HEADER: usize = 61;
const MAGIC: u8 = 2;
const NO_TIMESTAMP: i64 = -1;

/// What cannot be read on; the bytes are not what a broker sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Torn, or not of Kafka's format.
    Corrupt,
    /// Of the format before Kafka 0.11, or compressed in a way that is not known.
    Unknown,
}

impl Unreadable {
    pub(super) fn code(self) -> RDKafkaErrorCode {
        match self {
            Self::Corrupt => RDKafkaErrorCode::BadMessage,
            Self::Unknown => RDKafkaErrorCode::NotImplemented,
        }
    }
}

/// A transaction that was aborted: what `producer_id` has written from `first_offset` on, up to its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aborted {
    pub(super) first_offset: i64,
    pub(super) producer_id: i64,
}

/// The header of one record batch.
#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    base_offset: i64,
    /// Of the whole batch, header included.
    bytes: usize,
    leader_epoch: i32,
    attributes: i16,
    last_offset: i64,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    records: i32,
}

impl Batch {
    /// The batch at the beginning of `bytes`; `None` if it is not there to its end, as at the end of a
    /// response, which brokers cut by size.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Unreadable> {
        if bytes.len() < LENGTH_END {
            return Ok(None);
        }
        let length = usize::try_from(int32(bytes, 8)).map_err(|_| Unreadable::Corrupt)?;
        if bytes.len() - LENGTH_END < length {
            return Ok(None);
        }
        // In the older formats, the byte stands in the same place.
        match bytes.get(16) {
            Some(&MAGIC) if length >= HEADER - LENGTH_END => {}
            Some(0 | 1) => return Err(Unreadable::Unknown),
            _ => return Err(Unreadable::Corrupt),
        }
        let base_offset = int64(bytes, 0);
        let (last_delta, records) = (int32(bytes, 23), int32(bytes, 57));
        if base_offset < 0 || last_delta < 0 || records < 0 {
            return Err(Unreadable::Corrupt);
        }
        Ok(Some(Self {
            base_offset,
            bytes: LENGTH_END + length,
            leader_epoch: int32(bytes, 12),
            attributes: int16(bytes, 21),
            last_offset: base_offset
                .checked_add(i64::from(last_delta))
                .filter(|last| *last < i64::MAX)
                .ok_or(Unreadable::Corrupt)?,
            base_timestamp: int64(bytes, 27),
            max_timestamp: int64(bytes, 35),
            producer_id: int64(bytes, 43),
            records,
        }))
    }

    fn compression(&self) -> u8 {
        (self.attributes & 0b111) as u8
    }

    /// The broker has set the time of all its records.
    fn is_append_time(&self) -> bool {
        self.attributes & 0b1000 != 0
    }

    fn is_transactional(&self) -> bool {
        self.attributes & 0b1_0000 != 0
    }

    /// It holds marks of transactions.
    fn is_control(&self) -> bool {
        self.attributes & 0b10_0000 != 0
    }
}

/// What whole batches say of themselves, without a look at their records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Bytes of the whole batches.
    pub(super) bytes: usize,
    /// Records in them, those among them that are none for us.
    pub(super) records: u64,
    /// The offset behind them; `None` without a batch.
    pub(super) end: Option<i64>,
    /// The epoch of the leader that appended the last one.
    pub(super) leader_epoch: i32,
}

/// Looks at the batches of a response.
pub(super) fn summarize(bytes: &[u8]) -> Result<Summary, Unreadable> {
    let mut summary = Summary { leader_epoch: -1, ..Summary::default() };
    while let Some(batch) = Batch::read(&bytes[summary.bytes..])? {
        summary.bytes += batch.bytes;
        summary.records += batch.records as u64;
        summary.end = Some(batch.last_offset + 1);
        summary.leader_epoch = batch.leader_epoch;
    }
    Ok(summary)
}

/// The batches of one partition in one response.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// Whole batches, from the beginning; behind `length`, what is left of an earlier use.
    pub(super) bytes: Vec<u8>,
    pub(super) length: usize,
    /// The first offset that was asked for: the first batch may begin before it.
    pub(super) from: i64,
    pub(super) records: u64,
    /// In the order of their first offsets; empty where aborted transactions are read as well.
    pub(super) aborted: Vec<Aborted>,
}

/// Gives the records of what was fetched, one after the other.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    fetched: Fetched,
    /// Where the next batch begins.
    next_batch: usize,
    batch: Batch,
    /// Of the present batch: where its next record begins, where its records end, and how many are left.
    at: usize,
    end: usize,
    left: i32,
    /// The records of a batch that was compressed; else they are read where they lie.
    plain: Vec<u8>,
    is_plain: bool,
    decompressor: Decompressor,
    /// How many of `fetched.aborted` have begun, and who is inside of one.
    begun: usize,
    aborting: Vec<i64>,
    position: i64,
}

impl Cursor {
    pub(super) fn at(position: i64) -> Self {
        Self { position, ..Self::default() }
    }

    /// Begins with what was fetched next; gives back what is done with.
    pub(super) fn turn_to(&mut self, fetched: Fetched) -> Fetched {
        self.next_batch = 0;
        self.left = 0;
        self.begun = 0;
        self.aborting.clear();
        if fetched.length == 0 {
            // Of hundreds of partitions, those that have nothing hold nothing.
            (self.plain, self.decompressor) = (Vec::new(), Decompressor::default());
        }
        std::mem::replace(&mut self.fetched, fetched)
    }

    /// Bytes that it holds of what was compressed.
    pub(super) fn unpacked_bytes(&self) -> usize {
        self.plain.capacity()
    }

    /// The offset behind all that was given or passed over.
    pub(super) fn position(&self) -> i64 {
        self.position
    }

    /// The next record, or why there is none; `None` at the end of what was fetched.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Result<Message<'_>, Unreadable>> {
        let parts = loop {
            if self.left == 0 {
                match self.open_batch() {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(unreadable) => return Some(Err(unreadable)),
                }
                continue;
            }
            let Some(parts) = self.read() else {
                self.give_up();
                return Some(Err(Unreadable::Corrupt));
            };
            // The first batch may begin before what was asked for.
            if parts.offset >= self.fetched.from {
                break parts;
            }
        };
        let bytes = if self.is_plain { &self.plain } else { &self.fetched.bytes };
        Some(Ok(Message {
            offset: parts.offset,
            timestamp_ms: (parts.timestamp_ms != NO_TIMESTAMP).then_some(parts.timestamp_ms),
            key: parts.key.map(|key| &bytes[key.begin..key.end]),
            value: parts.value.map(|value| &bytes[value.begin..value.end]),
            headers: MessageHeaders(&bytes[parts.headers.begin..parts.headers.end]),
        }))
    }

    /// Reads the next record of the present batch. `None` if it is torn.
    #[inline]
    fn read(&mut self) -> Option<Parts> {
        let batch = &self.batch;
        let bytes = if self.is_plain { &self.plain } else { &self.fetched.bytes };
        let mut reader = Reader { bytes: bytes.get(..self.end)?, at: self.at };
        let length = reader.length()??;
        let end = reader.at.checked_add(length).filter(|end| *end <= self.end)?;
        reader.bytes = &reader.bytes[..end];
        // Attributes, of which there are none yet.
        reader.skip(1)?;
        let timestamp_delta = reader.varint()?;
        let offset = batch.base_offset.checked_add(reader.varint()?)?;
        let key = reader.block()?;
        let value = reader.block()?;
        let timestamp_ms = if batch.is_append_time() {
            batch.max_timestamp
        } else {
            batch.base_timestamp.wrapping_add(timestamp_delta)
        };
        self.at = end;
        self.left -= 1;
        self.position = if self.left == 0 { batch.last_offset + 1 } else { offset + 1 };
        let headers = Block { begin: reader.at, end };
        Some(Parts { offset, timestamp_ms, key, value, headers })
    }

    /// Opens the next batch that has records for us. False at the end of what was fetched.
    fn open_batch(&mut self) -> Result<bool, Unreadable> {
        loop {
            let whole = self.fetched.bytes.get(self.next_batch..self.fetched.length);
            let Some(batch) =
                Batch::read(whole.unwrap_or_default()).inspect_err(|_| self.give_up())?
            else {
                self.next_batch = self.fetched.length;
                return Ok(false);
            };
            let begin = self.next_batch;
            self.next_batch += batch.bytes;
            let is_passed_over = self.is_passed_over(&batch, begin);
            self.batch = batch;
            if is_passed_over || batch.records == 0 {
                self.position = self.position.max(batch.last_offset + 1);
                continue;
            }
            self.is_plain = batch.compression() != 0;
            (self.at, self.end) = (begin + HEADER, self.next_batch);
            if self.is_plain {
                let packed = &self.fetched.bytes[self.at..self.end];
                self.plain.clear();
                let unpacked =
                    self.decompressor.decompress(batch.compression(), packed, &mut self.plain);
                unpacked.inspect_err(|_| self.give_up())?;
                (self.at, self.end) = (0, self.plain.len());
            }
            self.left = batch.records;
            return Ok(true);
        }
    }

    /// Nothing is read any more of what was fetched.
    fn give_up(&mut self) {
        self.left = 0;
        self.next_batch = self.fetched.length;
    }

    /// Whether the records of a batch are none for us: marks of transactions, and what aborted ones wrote.
    fn is_passed_over(&mut self, batch: &Batch, begin: usize) -> bool {
        while let Some(aborted) = self.fetched.aborted.get(self.begun)
            && aborted.first_offset <= batch.last_offset
        {
            self.aborting.push(aborted.producer_id);
            self.begun += 1;
        }
        if batch.is_control() {
            if self.is_abort_mark(begin + HEADER) {
                self.aborting.retain(|id| *id != batch.producer_id);
            }
            return true;
        }
        batch.is_transactional() && self.aborting.contains(&batch.producer_id)
    }

    /// Whether the record at `at`, of a control batch, ends a transaction by an abort: the second number of
    /// its key is 0 then.
    fn is_abort_mark(&self, at: usize) -> bool {
        let mut reader = Reader { bytes: &self.fetched.bytes[..self.fetched.length], at };
        let mut key = || {
            reader.length()?;
            reader.skip(1)?;
            reader.varint()?;
            reader.varint()?;
            reader.block()?
        };
        let key = key().and_then(|key| self.fetched.bytes.get(key.begin..key.end));
        key.is_some_and(|key| key.len() >= 4 && int16(key, 2) == 0)
    }
}

#[derive(Clone, Copy)]
struct Block {
    begin: usize,
    end: usize,
}

/// A record, by where its parts lie.
struct Parts {
    offset: i64,
    timestamp_ms: i64,
    key: Option<Block>,
    value: Option<Block>,
    headers: Block,
}

/// A record where it lies.
pub(super) struct Message<'a> {
    offset: i64,
    timestamp_ms: Option<i64>,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: MessageHeaders<'a>,
}

impl<'a> Message<'a> {
    #[inline]
    pub(super) fn record(&'a self, topic: &'a str, partition: i32) -> Record<'a> {
        Record {
            topic,
            partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key,
            value: self.value,
            headers: Some(&self.headers),
        }
    }
}

/// Read when they are asked for.
struct MessageHeaders<'a>(&'a [u8]);

impl Headers for MessageHeaders<'_> {
    fn for_each(&self, visit: &mut dyn FnMut(&str, Option<&[u8]>)) {
        let mut reader = Reader { bytes: self.0, at: 0 };
        for _ in 0..reader.varint().unwrap_or_default() {
            let (Some(Some(name)), Some(value)) = (reader.block(), reader.block()) else { return };
            let name = String::from_utf8_lossy(&self.0[name.begin..name.end]);
            visit(&name, value.map(|value| &self.0[value.begin..value.end]));
        }
    }
}

/// Reads numbers of variable length and what they measure.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    /// Zigzag, seven bits a byte.
    #[inline]
    fn varint(&mut self) -> Option<i64> {
        let first = *self.bytes.get(self.at)?;
        self.at += 1;
        let raw = if first < 0x80 { u64::from(first) } else { self.long_varint(first)? };
        Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    fn long_varint(&mut self, first: u8) -> Option<u64> {
        let mut raw = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            raw |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(raw);
            }
        }
        None
    }

    /// A length; the inner `None` is for null, which is -1.
    #[inline]
    fn length(&mut self) -> Option<Option<usize>> {
        match self.varint()? {
            -1 => Some(None),
            length => usize::try_from(length).ok().map(Some),
        }
    }

    /// Bytes behind their length; the inner `None` is for null.
    #[inline]
    fn block(&mut self) -> Option<Option<Block>> {
        let Some(length) = self.length()? else { return Some(None) };
        let begin = self.at;
        self.skip(length)?;
        Some(Some(Block { begin, end: self.at }))
    }
}

fn int16(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(array(bytes, at))
}

fn int32(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(array(bytes, at))
}

fn int64(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(array(bytes, at))
}

/// The caller knows that they are there; else zeros.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
}

#[cfg(test)]
pub(super) mod tests;
