//! The frame that a schema registry's serializers put around a payload: a zero, and the number of its
//! schema in four bytes.

use crate::{
    record::Record,
    rejection::{Reason, Rejection},
};

/// The number of the schema, and what it describes; `None` for what has no such frame.
pub(super) fn split(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (&[magic, id @ ..], rest) = bytes.split_first_chunk::<5>()?;
    (magic == 0).then_some((u32::from_be_bytes(id), rest))
}

/// What of a record is read: its payload, or of a tombstone its key.
pub(super) fn part<'a>(record: &Record<'a>) -> &'a [u8] {
    record.value.or(record.key).unwrap_or_default()
}

/// As [`split`], for a payload that must have a frame.
pub(super) fn require(payload: &[u8]) -> Result<(u32, &[u8]), Rejection> {
    split(payload).ok_or_else(|| {
        let found = match payload.first() {
            None => "nothing".to_owned(),
            Some(byte) => format!("{} bytes that begin with 0x{byte:02x}", payload.len()),
        };
        let message = format!(
            "expected the frame of a schema registry (a zero and the schema's number in 4 bytes), found \
             {found}"
        );
        Rejection::record(Reason::Malformed, message)
    })
}
