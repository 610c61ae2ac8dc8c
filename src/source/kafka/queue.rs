//! The queue of one partition, read many messages at a time.
//!
//! The binding takes one message at a time, each as an event: with two looks at the clock, a reference
//! count and librdkafka's own statistics of polls for each. The C library's batch call has these once
//! a call.
#![allow(unsafe_code)]

use std::{
    ffi::CString,
    ptr::{self, NonNull},
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    Offset, TopicPartitionList, bindings as c,
    consumer::{BaseConsumer, Consumer as _},
    error::RDKafkaErrorCode,
    types::RDKafkaMessage,
};

use super::{client::Client, message::Message, native::Owned};

/// The most messages of one call.
const READ_MAX: usize = 256;

pub(super) struct PartitionQueue {
    queue: Owned<c::rd_kafka_queue_t>,
    /// Where the C library writes them; what is not null is still to be destroyed.
    messages: Box<[*mut RDKafkaMessage; READ_MAX]>,
    topic: String,
    partition: i32,
    /// After the queue, which must be gone before its client is.
    consumer: Arc<BaseConsumer<Client>>,
}

// SAFETY: librdkafka's queues may be used from any thread, and between two reads `messages` is empty.
unsafe impl Send for PartitionQueue {}

impl PartitionQueue {
    /// Splits the queue of a partition from the main queue.
    pub(super) fn split(
        consumer: &Arc<BaseConsumer<Client>>,
        topic: &str,
        partition: i32,
    ) -> Option<Self> {
        let name = CString::new(topic).ok()?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client is valid while `consumer` is borrowed; the queue is a reference of ours, or
        // null.
        let queue = unsafe { c::rd_kafka_queue_get_partition(client, name.as_ptr(), partition) };
        let queue = Owned::new(queue, c::rd_kafka_queue_destroy)?;
        // SAFETY: the queue is valid; without a destination its messages stay in it.
        unsafe { c::rd_kafka_queue_forward(queue.ptr(), ptr::null_mut()) };
        let messages = Box::new([ptr::null_mut(); READ_MAX]);
        let (topic, consumer) = (topic.to_owned(), Arc::clone(consumer));
        Some(Self { queue, messages, topic, partition, consumer })
    }

    /// The offset behind all that was read, also behind marks of transactions, which are not given.
    pub(super) fn position(&self) -> Option<i64> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, self.partition);
        // SAFETY: both are valid while they are borrowed; the call looks up numbers, and does not wait.
        unsafe { c::rd_kafka_position(self.consumer.client().native_ptr(), list.ptr()) };
        match list.find_partition(&self.topic, self.partition)?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// The messages that are there, without waiting; or else the next one, if it comes within `wait`.
    pub(super) fn read(&mut self, wait: Duration) -> Messages<'_> {
        // The call waits until it has as many as it may take (rd_kafka_q_serve_rkmessages): who waits
        // for the next one takes no more.
        let most = if wait.is_zero() { READ_MAX } else { 1 };
        let wait_ms = wait.as_micros().div_ceil(1000) as i32;
        let messages = self.messages.as_mut_ptr();
        // SAFETY: the queue is valid, and `messages` has room for as many.
        let read =
            unsafe { c::rd_kafka_consume_batch_queue(self.queue.ptr(), wait_ms, messages, most) };
        // -1 is an error of the call, of which there is none for a queue.
        Messages { messages: &mut self.messages, given: 0, read: read.max(0) as usize }
    }
}

/// Messages of one read; what is not asked for is destroyed with it, and is delivered to whoever reads
/// the partition next from its position.
pub(super) struct Messages<'a> {
    messages: &'a mut [*mut RDKafkaMessage; READ_MAX],
    given: usize,
    read: usize,
}

impl Messages<'_> {
    /// The next message, which lives until the one after it is asked for; or an error with its offset.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Result<Message<'_>, (RDKafkaErrorCode, i64)>> {
        self.destroy_given();
        let message = NonNull::new(*self.messages.get(..self.read)?.get(self.given)?)?;
        self.given += 1;
        // SAFETY: the C library has just given it, and it is destroyed by `&mut self` alone.
        Some(unsafe { Message::new(message) })
    }

    fn destroy_given(&mut self) {
        let last = self.given.checked_sub(1).and_then(|last| self.messages.get_mut(last));
        if let Some(message) = last
            && !message.is_null()
        {
            // SAFETY: the C library has given it, nothing borrows from it, and it is destroyed once.
            unsafe { c::rd_kafka_message_destroy(*message) };
            *message = ptr::null_mut();
        }
    }
}

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}
