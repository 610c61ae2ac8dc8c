//! The headers of a record, whatever bytes their names are made of.
//!
//! The binding panics on a name that is not UTF-8, which a producer may send; so they are read here
//! through the C library.
#![allow(unsafe_code)]

use std::{ffi::CStr, ptr};

use rdkafka::{
    bindings as c,
    types::{RDKafkaMessage, RDKafkaRespErr},
};

/// Visits the headers in their order. What of a name is not UTF-8 is replaced by U+FFFD.
///
/// # Safety
/// The message is valid until this returns.
pub(super) unsafe fn for_each(
    message: *const RDKafkaMessage,
    visit: &mut dyn FnMut(&str, Option<&[u8]>),
) {
    let mut headers = ptr::null_mut();
    // SAFETY: the message is valid, says the caller, and so are its headers, which it owns.
    let parsed = unsafe { c::rd_kafka_message_headers(message, &raw mut headers) };
    if parsed != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return;
    }
    for index in 0.. {
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: `headers` is valid, see above; past the last one the call fails and writes nothing.
        let found = unsafe {
            c::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size)
        };
        if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        // SAFETY: the name is a C string and the value has `size` bytes, or is null; both live as
        // long as the message.
        let (name, value) = unsafe {
            let value = ptr::NonNull::new(value.cast_mut())
                .map(|value| std::slice::from_raw_parts(value.cast::<u8>().as_ptr(), size));
            (CStr::from_ptr(name).to_string_lossy(), value)
        };
        visit(&name, value);
    }
}
