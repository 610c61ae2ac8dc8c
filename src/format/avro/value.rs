//! Binary values of Avro to JSON text, without anything between.

use std::{fmt, io::Write as _};

use super::schema::{Bytes, Int, Long, Node, Schema};
use crate::format::{
    calendar::{put_date, put_time, put_timestamp},
    decimal::put_decimal,
    json::{put_hex, put_string},
    number::{put_double, put_float, put_integer},
};

/// As deep as JSON may be.
const MAX_DEPTH: u32 = 128;
/// Items that take no bytes, and symbols, let a few bytes stand for any amount of text.
const MAX_TEXT: usize = 256 << 20;

/// Why bytes are not a value of their schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They end inside the value.
    End,
    /// There is more behind it.
    More(usize),
    /// A number that no value has: of a branch, a symbol, a length, a boolean.
    Number(i64),
    /// More levels than JSON may have.
    Depth,
    /// A decimal that no numeric holds.
    Decimal,
    /// It would be too large as a text.
    Size,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("the bytes end inside a value"),
            Self::More(count) => write!(f, "{count} bytes follow the value"),
            Self::Number(number) => {
                write!(f, "{number} is no branch, symbol, length or value of its type")
            }
            Self::Depth => write!(f, "more than {MAX_DEPTH} levels"),
            Self::Decimal => f.write_str("a decimal with more digits than numeric has"),
            Self::Size => write!(f, "more than {MAX_TEXT} bytes as a text"),
        }
    }
}

/// Appends the value that `bytes` are. Its strings are UTF-8 if the bytes' are.
///
/// # Errors
/// When the bytes are no value of the schema; a part of it may have been appended.
pub fn put(schema: &Schema, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut reader = Reader { schema, rest: bytes };
    reader.value(schema.root(), 0, out)?;
    match reader.rest.len() {
        0 => Ok(()),
        count => Err(Fault::More(count)),
    }
}

struct Reader<'a> {
    schema: &'a Schema,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn value(&mut self, place: usize, depth: u32, out: &mut Vec<u8>) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::Depth);
        }
        let schema = self.schema;
        match schema.node(place).ok_or(Fault::Number(place as i64))? {
            Node::Null => out.extend_from_slice(b"null"),
            Node::Boolean => match self.take(1)? {
                [0] => out.extend_from_slice(b"false"),
                [1] => out.extend_from_slice(b"true"),
                other => return Err(Fault::Number(other.first().copied().unwrap_or(0).into())),
            },
            Node::Int(int) => self.int(*int, out)?,
            Node::Long(long) => {
                let value = self.long()?;
                put_long(value, *long, out);
            }
            Node::Float => put_float(f32::from_le_bytes(*self.chunk()?), out),
            Node::Double => put_double(f64::from_le_bytes(*self.chunk()?), out),
            Node::Bytes(kind) => {
                let length = self.length()?;
                put_bytes(self.take(length)?, *kind, out)?;
            }
            Node::Fixed(size, kind) => put_bytes(self.take(*size)?, *kind, out)?,
            Node::String => {
                let length = self.length()?;
                put_string(self.take(length)?, out);
            }
            Node::Enum(symbols) => {
                let number = self.long()?;
                let symbol = usize::try_from(number).ok().and_then(|number| symbols.get(number));
                out.extend_from_slice(symbol.ok_or(Fault::Number(number))?);
            }
            Node::Union(branches) => {
                let number = self.long()?;
                let branch = usize::try_from(number).ok().and_then(|number| branches.get(number));
                // Without a level of its own in JSON, but a union of itself must end.
                self.value(*branch.ok_or(Fault::Number(number))?, depth + 1, out)?;
            }
            Node::Array(items) => {
                out.push(b'[');
                self.blocks(out, |reader, out| reader.value(*items, depth + 1, out))?;
                out.push(b']');
            }
            Node::Map(values) => {
                out.push(b'{');
                self.blocks(out, |reader, out| {
                    let length = reader.length()?;
                    put_string(reader.take(length)?, out);
                    out.push(b':');
                    reader.value(*values, depth + 1, out)
                })?;
                out.push(b'}');
            }
            Node::Record(fields) => {
                out.push(b'{');
                for (index, (key, place)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(key);
                    self.value(*place, depth + 1, out)?;
                }
                out.push(b'}');
            }
        }
        if out.len() > MAX_TEXT { Err(Fault::Size) } else { Ok(()) }
    }

    fn int(&mut self, int: Int, out: &mut Vec<u8>) -> Result<(), Fault> {
        let value = self.long()?;
        i32::try_from(value).map_err(|_| Fault::Number(value))?;
        match int {
            Int::Number => put_integer(value, out),
            Int::Date => quoted(out, |out| put_date(value, out)),
            Int::TimeMillis => quoted(out, |out| put_time(value, 3, out)),
        }
        Ok(())
    }

    /// Reads items in blocks; a negative count has the block's size in bytes behind it.
    fn blocks(
        &mut self,
        out: &mut Vec<u8>,
        mut item: impl FnMut(&mut Self, &mut Vec<u8>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let start = out.len();
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                if out.len() > start {
                    out.push(b',');
                }
                item(self, out)?;
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Fault::End)?;
        self.rest = rest;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], Fault> {
        let (chunk, rest) = self.rest.split_first_chunk::<N>().ok_or(Fault::End)?;
        self.rest = rest;
        Ok(chunk)
    }

    fn length(&mut self) -> Result<usize, Fault> {
        let length = self.long()?;
        usize::try_from(length).map_err(|_| Fault::Number(length))
    }

    /// Reads a number of up to ten groups of seven bits, the lowest first, and its sign in the lowest bit.
    fn long(&mut self) -> Result<i64, Fault> {
        let mut value = 0_u64;
        for (place, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(place + 1..).unwrap_or_default();
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Fault::End)
    }
}

fn quoted(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    put(out);
    out.push(b'"');
}

fn put_long(value: i64, long: Long, out: &mut Vec<u8>) {
    match long {
        Long::Number => put_integer(value, out),
        Long::TimeMicros => quoted(out, |out| put_time(value, 6, out)),
        Long::Timestamp { digits, zoned } => {
            let zone = if zoned { "Z" } else { "" };
            quoted(out, |out| put_timestamp(value, digits, zone, out));
        }
    }
}

fn put_bytes(bytes: &[u8], kind: Bytes, out: &mut Vec<u8>) -> Result<(), Fault> {
    match kind {
        Bytes::Raw => quoted(out, |out| {
            out.extend_from_slice(br"\\x");
            put_hex(bytes, out);
        }),
        Bytes::Uuid => quoted(out, |out| put_hex(bytes, out)),
        Bytes::Decimal { scale } => {
            if !put_decimal(bytes, scale, out) {
                return Err(Fault::Decimal);
            }
        }
        Bytes::Duration => {
            let (parts, _) = bytes.as_chunks::<4>();
            let &[months, days, ms] = parts else { return Err(Fault::End) };
            let [months, days, ms] = [months, days, ms].map(u32::from_le_bytes);
            let (seconds, ms) = (ms / 1_000, ms % 1_000);
            quoted(out, |out| drop(write!(out, "P{months}M{days}DT{seconds}.{ms:03}S")));
        }
    }
    Ok(())
}
