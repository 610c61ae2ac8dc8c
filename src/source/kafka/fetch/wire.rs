//! The requests that are sent, and their answers, as Kafka's protocol guide has them: ApiVersions 0,
//! SaslHandshake 1, SaslAuthenticate 0, Fetch 11 (Kafka 2.3) and 12 (Kafka 2.7).

use std::io::{self, BufRead, Read};

use super::records::{Aborted, Fetched};

pub(super) const FETCH: i16 = 1;
const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const SASL_AUTHENTICATE: i16 = 36;
/// Those that are spoken, the best one first.
pub(super) const FETCH_VERSIONS: [i16; 2] = [12, 11];
/// Larger answers than that are none.
const RESPONSE_MAX: usize = 128 << 20;

/// One partition in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Of the record batch before it; -1 where none is known.
    pub(super) leader_epoch: i32,
    pub(super) bytes_max: i32,
}

/// What a broker is asked for: partitions by topic, in the order in which they are to be filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FetchRequest<'a> {
    pub(super) wait_ms: i32,
    pub(super) bytes_min: i32,
    pub(super) bytes_max: i32,
    pub(super) is_read_committed: bool,
    pub(super) topics: Vec<(&'a str, &'a [Asked])>,
}

/// Writes a request with its length in front.
struct Writer {
    bytes: Vec<u8>,
    /// In the flexible versions, lengths are of variable size, and structures end with tagged fields.
    is_flexible: bool,
}

impl Writer {
    fn new(key: i16, version: i16, is_flexible: bool, correlation: i32, client_id: &str) -> Self {
        let mut writer = Self { bytes: vec![0; 4], is_flexible: false };
        writer.int16(key);
        writer.int16(version);
        writer.int32(correlation);
        // Of the old kind in every version.
        writer.string(client_id);
        writer.is_flexible = is_flexible;
        writer.tags();
        writer
    }

    fn int8(&mut self, value: i8) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn int16(&mut self, value: i16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn int32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn int64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn uvarint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn string(&mut self, text: &str) {
        if self.is_flexible {
            self.uvarint(text.len() + 1);
        } else {
            self.int16(text.len() as i16);
        }
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn array(&mut self, length: usize) {
        if self.is_flexible {
            self.uvarint(length + 1);
        } else {
            self.int32(length as i32);
        }
    }

    /// No tagged fields.
    fn tags(&mut self) {
        if self.is_flexible {
            self.bytes.push(0);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() - 4;
        self.bytes[..4].copy_from_slice(&(length as i32).to_be_bytes());
        self.bytes
    }
}

pub(super) fn api_versions_request(correlation: i32, client_id: &str) -> Vec<u8> {
    Writer::new(API_VERSIONS, 0, false, correlation, client_id).finish()
}

pub(super) fn sasl_handshake_request(
    correlation: i32,
    client_id: &str,
    mechanism: &str,
) -> Vec<u8> {
    let mut writer = Writer::new(SASL_HANDSHAKE, 1, false, correlation, client_id);
    writer.string(mechanism);
    writer.finish()
}

pub(super) fn sasl_authenticate_request(
    correlation: i32,
    client_id: &str,
    token: &[u8],
) -> Vec<u8> {
    let mut writer = Writer::new(SASL_AUTHENTICATE, 0, false, correlation, client_id);
    writer.int32(token.len() as i32);
    writer.bytes.extend_from_slice(token);
    writer.finish()
}

impl FetchRequest<'_> {
    pub(super) fn encode(&self, version: i16, correlation: i32, client_id: &str) -> Vec<u8> {
        let is_flexible = version >= 12;
        let mut writer = Writer::new(FETCH, version, is_flexible, correlation, client_id);
        // No replica, but a consumer.
        writer.int32(-1);
        writer.int32(self.wait_ms);
        writer.int32(self.bytes_min);
        writer.int32(self.bytes_max);
        writer.int8(i8::from(self.is_read_committed));
        // No session: each request tells all.
        writer.int32(0);
        writer.int32(-1);
        writer.array(self.topics.len());
        for (topic, partitions) in &self.topics {
            writer.string(topic);
            writer.array(partitions.len());
            for asked in *partitions {
                writer.int32(asked.partition);
                // Which epoch the leader is in: not known. A broker that is not the leader says so.
                writer.int32(-1);
                writer.int64(asked.offset);
                if is_flexible {
                    writer.int32(asked.leader_epoch);
                }
                // Where the log begins: of followers alone.
                writer.int64(-1);
                writer.int32(asked.bytes_max);
                writer.tags();
            }
            writer.tags();
        }
        // Nothing to forget, and no rack.
        writer.array(0);
        writer.string("");
        writer.tags();
        writer.finish()
    }
}

/// Reads one answer, and no byte behind it.
pub(super) struct Answer<'a, R> {
    reader: &'a mut R,
    left: usize,
    is_flexible: bool,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl<'a, R: BufRead> Answer<'a, R> {
    /// The answer to the request of this number.
    pub(super) fn begin(reader: &'a mut R, correlation: i32) -> io::Result<Self> {
        let mut answer = Self { reader, left: 4, is_flexible: false };
        let length = usize::try_from(answer.int32()?).ok().filter(|length| *length <= RESPONSE_MAX);
        answer.left = length.ok_or_else(|| broken("an answer of an impossible length"))?;
        if answer.int32()? != correlation {
            return Err(broken("an answer to another request"));
        }
        Ok(answer)
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.exact(&mut bytes)?;
        Ok(bytes)
    }

    fn exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or_else(|| broken("an answer that ends too early"))?;
        self.reader.read_exact(bytes)
    }

    fn skip(&mut self, count: usize) -> io::Result<()> {
        self.left =
            self.left.checked_sub(count).ok_or_else(|| broken("an answer that ends too early"))?;
        let skipped = io::copy(&mut self.reader.take(count as u64), &mut io::sink())?;
        if skipped == count as u64 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn int16(&mut self) -> io::Result<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn int32(&mut self) -> io::Result<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn int64(&mut self) -> io::Result<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn uvarint(&mut self) -> io::Result<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.take()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(broken("a number that does not end"))
    }

    /// `None` for null.
    fn length(&mut self, is_short: bool) -> io::Result<Option<usize>> {
        if self.is_flexible {
            return Ok(self.uvarint()?.checked_sub(1));
        }
        let length = if is_short { i64::from(self.int16()?) } else { i64::from(self.int32()?) };
        Ok(usize::try_from(length).ok())
    }

    fn array(&mut self) -> io::Result<usize> {
        Ok(self.length(false)?.unwrap_or(0))
    }

    fn string(&mut self) -> io::Result<String> {
        let length = self.length(true)?.unwrap_or(0);
        if length > self.left {
            return Err(broken("an answer that ends too early"));
        }
        let mut bytes = vec![0; length];
        self.exact(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| broken("a name that is not UTF-8"))
    }

    /// Visits the tagged fields: their numbers and sizes. What `visit` does not read is skipped.
    fn tags(
        &mut self,
        mut visit: impl FnMut(&mut Self, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.is_flexible {
            return Ok(());
        }
        for _ in 0..self.uvarint()? {
            let (tag, size) = (self.uvarint()?, self.uvarint()?);
            let behind = self
                .left
                .checked_sub(size)
                .ok_or_else(|| broken("an answer that ends too early"))?;
            visit(self, tag)?;
            let rest = self.left.checked_sub(behind);
            self.skip(rest.ok_or_else(|| broken("a field longer than its size"))?)?;
        }
        Ok(())
    }

    fn no_tags(&mut self) -> io::Result<()> {
        self.tags(|_, _| Ok(()))
    }

    /// The best version of Fetch that the broker and we know.
    pub(super) fn fetch_version(mut self) -> io::Result<Option<i16>> {
        let error = self.int16()?;
        if error != 0 {
            return Err(broken(&format!("ApiVersions is refused with code {error}")));
        }
        let mut best = None;
        for _ in 0..self.array()? {
            let (key, low, high) = (self.int16()?, self.int16()?, self.int16()?);
            if key == FETCH {
                best = FETCH_VERSIONS.into_iter().find(|known| (low..=high).contains(known));
            }
        }
        self.skip(self.left)?;
        Ok(best)
    }

    /// Whether the broker takes the mechanism.
    pub(super) fn sasl_handshake(mut self) -> io::Result<()> {
        let error = self.int16()?;
        self.skip(self.left)?;
        if error == 0 {
            Ok(())
        } else {
            Err(broken("the broker does not take this sasl.mechanism"))
        }
    }

    /// What the broker says to a step of the exchange.
    pub(super) fn sasl_authenticate(mut self) -> io::Result<Vec<u8>> {
        let error = self.int16()?;
        let message = self.string()?;
        let length = self.length(false)?.unwrap_or(0);
        if error != 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        if length > self.left {
            return Err(broken("an answer that ends too early"));
        }
        let mut token = vec![0; length];
        self.exact(&mut token)?;
        self.skip(self.left)?;
        Ok(token)
    }

    /// Reads an answer to Fetch. `visit` is given each partition's facts, and with them a buffer of its
    /// own choice that the batches are read into.
    pub(super) fn fetch(mut self, version: i16, visitor: &mut impl Visitor) -> io::Result<Heading> {
        self.is_flexible = version >= 12;
        self.no_tags()?;
        let throttle_ms = self.int32()?;
        let error = self.int16()?;
        // The session, of which there is none.
        self.int32()?;
        for _ in 0..self.array()? {
            let topic = self.string()?;
            for _ in 0..self.array()? {
                self.partition(&topic, visitor)?;
            }
            self.no_tags()?;
        }
        self.no_tags()?;
        self.skip(self.left)?;
        Ok(Heading { throttle_ms, error })
    }

    fn partition(&mut self, topic: &str, visitor: &mut impl Visitor) -> io::Result<()> {
        let partition = self.int32()?;
        let error = self.int16()?;
        let high_watermark = self.int64()?;
        let last_stable = self.int64()?;
        // The log's beginning.
        self.int64()?;
        let mut fetched = visitor.buffer();
        fetched.aborted.clear();
        for _ in 0..self.array()? {
            let (producer_id, first_offset) = (self.int64()?, self.int64()?);
            fetched.aborted.push(Aborted { first_offset, producer_id });
            self.no_tags()?;
        }
        fetched.aborted.sort_unstable_by_key(|aborted| aborted.first_offset);
        // A replica that is nearer: without a rack there is none.
        self.int32()?;
        fetched.length = self.length(false)?.unwrap_or(0);
        if fetched.length > self.left {
            return Err(broken("an answer that ends too early"));
        }
        if fetched.bytes.len() < fetched.length {
            fetched.bytes.resize(fetched.length, 0);
        }
        let length = fetched.length;
        self.exact(&mut fetched.bytes[..length])?;
        let mut diverging = None;
        self.tags(|answer, tag| {
            if tag == 0 {
                let (epoch, end) = (answer.int32()?, answer.int64()?);
                // Both are -1 where nothing diverges.
                diverging = (epoch >= 0 || end >= 0).then_some(end);
            }
            Ok(())
        })?;
        let facts = Facts { topic, partition, error, high_watermark, last_stable, diverging };
        visitor.partition(&facts, fetched);
        Ok(())
    }
}

/// What is said of the answer as a whole.
pub(super) struct Heading {
    pub(super) throttle_ms: i32,
    pub(super) error: i16,
}

/// What is said of a partition.
pub(super) struct Facts<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) error: i16,
    pub(super) high_watermark: i64,
    /// No transaction that is open has a record before it.
    pub(super) last_stable: i64,
    /// The log has another history than that of the records before the offset: up to here it is the same.
    pub(super) diverging: Option<i64>,
}

/// Who takes the partitions of an answer, one by one, as they come.
pub(super) trait Visitor {
    /// A buffer to read batches into; of `fetched`, `aborted`, `bytes` and `length` are written.
    fn buffer(&mut self) -> Fetched;
    fn partition(&mut self, facts: &Facts<'_>, fetched: Fetched);
}

#[cfg(test)]
mod tests;
