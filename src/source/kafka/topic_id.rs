//! The ids of topics: a topic that was deleted and made anew under its old name has another one, and
//! the offsets of the old one mean nothing in it.
//!
//! The binding does not have this question (DescribeTopics), so it is asked here through the C library.
#![allow(unsafe_code)]

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, c_int},
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    bindings as c,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};

use super::{client::Client, native::Owned};
use crate::sink::TopicIds;

/// How the client writes an id of zeros, for brokers that have none.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";
/// How long the client may take to report a time-out of its own.
const MARGIN: Duration = Duration::from_secs(2);

/// Asks for the ids of `topics`; a topic that is not there, or has none, is left out.
///
/// # Errors
/// When the brokers do not answer in time.
pub(super) fn topic_ids(
    consumer: &BaseConsumer<Client>,
    topics: &[Arc<str>],
    timeout: Duration,
) -> Result<TopicIds, KafkaError> {
    let failed = |code| KafkaError::MetadataFetch(code);
    let unusable = || failed(RDKafkaErrorCode::InvalidArgument);
    let Some(first) = topics.first() else { return Ok(TopicIds::new()) };
    // Left to itself the client asks the controller, and waits for the one that it knows, which may
    // be the broker that has just died. Any broker can answer: the one that answers this.
    let broker = consumer.fetch_metadata(Some(first), timeout)?.orig_broker_id();
    let event = ask(consumer, topics, broker, timeout).ok_or_else(unusable)?;
    let event = event.ok_or(failed(RDKafkaErrorCode::OperationTimedOut))?;
    // SAFETY: `event` is a live event. Its result is null if it is of another kind, which the event's
    // error then tells.
    let (error, result) = unsafe {
        (c::rd_kafka_event_error(event.ptr()), c::rd_kafka_event_DescribeTopics_result(event.ptr()))
    };
    if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(failed(error.into()));
    }
    if result.is_null() {
        return Err(unusable());
    }
    let mut count = 0;
    // SAFETY: `result` lives as long as `event`; the library gives an array of `count` pointers, or
    // null with a count of 0.
    let described = unsafe {
        let first = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if count == 0 { &[] } else { std::slice::from_raw_parts(first, count) }
    };
    let mut ids = BTreeMap::new();
    for topic in described {
        // SAFETY: each description, its name and its id live as long as `event`, and are not null in
        // a result without an error; the text of an id is kept inside it.
        let (name, id) = unsafe {
            let id = c::rd_kafka_Uuid_base64str(c::rd_kafka_TopicDescription_topic_id(*topic));
            (text(c::rd_kafka_TopicDescription_name(*topic)), text(id))
        };
        let known = topics.iter().find(|known| name.as_deref() == Some(&***known));
        if let (Some(topic), Some(id)) = (known, id.filter(|id| id != NO_ID)) {
            ids.insert(Arc::clone(topic), id);
        }
    }
    Ok(ids)
}

/// Sends the question and waits for the answer: `None` if the question cannot be put, `Some(None)` if
/// there is no answer.
fn ask(
    consumer: &BaseConsumer<Client>,
    topics: &[Arc<str>],
    broker: i32,
    timeout: Duration,
) -> Option<Option<Owned<c::rd_kafka_event_t>>> {
    let names: Vec<CString> =
        topics.iter().map(|topic| CString::new(&**topic)).collect::<Result<_, _>>().ok()?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let milliseconds = |time: Duration| c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX);
    let client = consumer.client().native_ptr();
    // SAFETY: `client` is valid as long as `consumer` is borrowed; the names outlive the collection,
    // which copies them. Queue, collection and options are ours and live through the call. An answer
    // that comes when the queue is gone is dropped by the library, which counts the references to it.
    unsafe {
        let queue = Owned::new(c::rd_kafka_queue_new(client), c::rd_kafka_queue_destroy)?;
        let collection = Owned::new(
            c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            c::rd_kafka_TopicCollection_destroy,
        )?;
        let kind = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = c::rd_kafka_AdminOptions_new(client, kind);
        let options = Owned::new(options, c::rd_kafka_AdminOptions_destroy)?;
        // Refused only for a time-out beyond an hour, and for a negative broker: then it is left to the
        // client.
        let (text, size) = (std::ptr::null_mut(), 0);
        let limit = milliseconds(timeout);
        c::rd_kafka_AdminOptions_set_request_timeout(options.ptr(), limit, text, size);
        c::rd_kafka_AdminOptions_set_broker(options.ptr(), broker, text, size);
        c::rd_kafka_DescribeTopics(client, collection.ptr(), options.ptr(), queue.ptr());
        let event = c::rd_kafka_queue_poll(queue.ptr(), milliseconds(timeout + MARGIN));
        Some(Owned::new(event, c::rd_kafka_event_destroy))
    }
}

/// # Safety
/// `text` is null or a C string that lives through the call.
unsafe fn text(text: *const std::ffi::c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
