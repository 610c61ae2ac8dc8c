//! A message of the C library, as a record.
#![allow(unsafe_code)]

use std::{ffi::c_void, marker::PhantomData, ptr, slice};

use rdkafka::{
    bindings as c,
    error::RDKafkaErrorCode,
    message::BorrowedMessage,
    types::{RDKafkaMessage, RDKafkaRespErr},
};

use super::headers;
use crate::record::{Headers, Record};

/// A message that lives for `'a`.
pub(super) struct Message<'a>(ptr::NonNull<RDKafkaMessage>, PhantomData<&'a RDKafkaMessage>);

impl<'a> Message<'a> {
    /// One that the binding has read.
    pub(super) fn of(message: &'a BorrowedMessage<'_>) -> Option<Self> {
        ptr::NonNull::new(message.ptr()).map(|message| Self(message, PhantomData))
    }

    /// The message behind `message`; or the error that came in its place, with its offset.
    ///
    /// # Safety
    /// It is a message of the C library, and is destroyed after `'a`.
    pub(super) unsafe fn new(
        message: ptr::NonNull<RDKafkaMessage>,
    ) -> Result<Self, (RDKafkaErrorCode, i64)> {
        // SAFETY: the caller says that it is a message.
        let found = unsafe { message.as_ref() };
        match found.err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(Self(message, PhantomData)),
            error => Err((error.into(), found.offset)),
        }
    }

    /// The record of `topic` that it holds.
    #[inline]
    pub(super) fn record<'r>(&'r self, topic: &'r str) -> Record<'r> {
        // SAFETY: `new` was told that the message lives for `'a`, which is longer than `'r`; payload and
        // key belong to it, and have these lengths.
        let (message, value, key) = unsafe {
            let message = self.0.as_ref();
            (message, bytes(message.payload, message.len), bytes(message.key, message.key_len))
        };
        Record {
            topic,
            partition: message.partition,
            offset: message.offset,
            timestamp_ms: self.timestamp_ms(),
            key,
            value,
            headers: Some(self),
        }
    }

    #[inline]
    fn timestamp_ms(&self) -> Option<i64> {
        let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid, see `record`; `kind` is written to.
        let time = unsafe { c::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        let is_there = kind != c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        (is_there && time != -1).then_some(time)
    }
}

/// Parsed by librdkafka when they are first asked for (rd_kafka_message_headers): a record whose
/// headers nobody wants costs nothing.
impl Headers for Message<'_> {
    fn for_each(&self, visit: &mut dyn FnMut(&str, Option<&[u8]>)) {
        // SAFETY: the message is valid as long as `self`.
        unsafe { headers::for_each(self.0.as_ptr(), visit) }
    }
}

/// `None` for null, which is not the same as empty.
unsafe fn bytes<'a>(start: *mut c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller knows that there are so many bytes, and how long they live.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), length) })
}
