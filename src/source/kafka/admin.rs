//! Questions that the binding does not have, asked through the C library: of topics their ids and what
//! this user may do with them; of a group its state, its members, and what this user may do.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString, c_char, c_int},
    time::Duration,
};

use rdkafka::{
    bindings as c,
    client::{Client, ClientContext},
    error::{KafkaError, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};

use super::native::Owned;

/// How the client writes an id of zeros, for brokers that have none.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";
/// How long the client may take to report a time-out of its own.
const MARGIN: Duration = Duration::from_secs(2);

/// What brokers say of a topic.
pub(super) struct TopicDescription {
    pub(super) name: String,
    /// `None` from brokers that have no ids.
    pub(super) id: Option<String>,
    /// What this user may do; `None` if it was not asked for, or is not told.
    pub(super) rights: Option<Vec<Right>>,
}

/// What the coordinator says of a group.
#[derive(Debug)]
pub(crate) struct GroupDescription {
    /// As Kafka calls it: `Empty`, `Stable`, `PreparingRebalance`; `Dead` for a group that is not there.
    pub(crate) state: String,
    pub(crate) members: Vec<Member>,
    /// What this user may do with it; `None` if that is not told.
    pub(crate) rights: Option<Vec<Right>>,
}

/// A member of a group.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) client_id: String,
    pub(crate) host: String,
}

/// What an ACL allows (AclOperation), as far as tidegate needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    Read,
    Write,
    Describe,
    DescribeConfigs,
}

impl Right {
    /// As `kafka-acls.sh` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Describe => "Describe",
            Self::DescribeConfigs => "DescribeConfigs",
        }
    }

    fn of(operation: c::rd_kafka_AclOperation_t) -> Option<Self> {
        use c::rd_kafka_AclOperation_t as Operation;
        match operation {
            Operation::RD_KAFKA_ACL_OPERATION_READ => Some(Self::Read),
            Operation::RD_KAFKA_ACL_OPERATION_WRITE => Some(Self::Write),
            Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE => Some(Self::Describe),
            Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => Some(Self::DescribeConfigs),
            _ => None,
        }
    }
}

/// How topics are asked for.
pub(super) struct TopicsQuestion<'a> {
    pub(super) topics: &'a [&'a str],
    /// Who is to answer. Left to itself the client asks the controller, and waits for the one that it
    /// knows, which may be the broker that has just died.
    pub(super) broker: i32,
    /// Whether to ask for what this user may do.
    pub(super) rights: bool,
    pub(super) timeout: Duration,
}

/// Asks for topics.
///
/// # Errors
/// When the brokers do not answer in time.
pub(super) fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    question: &TopicsQuestion<'_>,
) -> Result<Vec<TopicDescription>, KafkaError> {
    let TopicsQuestion { topics, broker, rights, timeout } = question;
    let names = c_strings(topics)?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the names outlive the call, which copies them.
    let collection = Owned::new(
        unsafe {
            c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len())
        },
        c::rd_kafka_TopicCollection_destroy,
    );
    let collection = collection.ok_or_else(unusable)?;
    let asking = Asking {
        kind: c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        broker: Some(*broker),
        rights: *rights,
        timeout: *timeout,
    };
    // SAFETY: all are live; the collection is copied.
    let event = asking.send(client, |client, options, queue| unsafe {
        c::rd_kafka_DescribeTopics(client, collection.ptr(), options, queue);
    })?;
    let mut count = 0;
    // SAFETY: `event` is live. Its result is null if it is of another kind, and lives as long as it; the
    // library gives an array of `count` pointers, or null with a count of 0.
    let described = unsafe {
        let result = c::rd_kafka_event_DescribeTopics_result(event.ptr());
        if result.is_null() {
            return Err(unusable());
        }
        slice(c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count), count)
    };
    // SAFETY: each description, its name, its id and its rights live as long as `event`; name and id are
    // not null, and the text of an id is kept inside it.
    let read = |topic: &*const c::rd_kafka_TopicDescription_t| unsafe {
        let mut count = 0;
        let rights = c::rd_kafka_TopicDescription_authorized_operations(*topic, &raw mut count);
        let id = text(c::rd_kafka_Uuid_base64str(c::rd_kafka_TopicDescription_topic_id(*topic)));
        TopicDescription {
            name: text(c::rd_kafka_TopicDescription_name(*topic)).unwrap_or_default(),
            id: id.filter(|id| id != NO_ID),
            rights: known_rights(rights, count),
        }
    };
    Ok(described.iter().map(read).collect())
}

/// Asks for a group, and for what this user may do with it.
///
/// # Errors
/// When the coordinator does not answer in time, or refuses.
pub(super) fn describe_group<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    timeout: Duration,
) -> Result<GroupDescription, KafkaError> {
    let names = c_strings(&[group])?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let asking = Asking {
        kind: c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
        broker: None,
        rights: true,
        timeout,
    };
    // SAFETY: all are live; the names are copied.
    let event = asking.send(client, |client, options, queue| unsafe {
        c::rd_kafka_DescribeConsumerGroups(client, pointers.as_mut_ptr(), 1, options, queue);
    })?;
    let mut count = 0;
    // SAFETY: as for topics.
    let described = unsafe {
        let result = c::rd_kafka_event_DescribeConsumerGroups_result(event.ptr());
        if result.is_null() {
            return Err(unusable());
        }
        slice(c::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count), count)
    };
    let Some(&group) = described.first() else { return Err(unusable()) };
    // SAFETY: the description and all that it gives live as long as `event`; the state's name is a
    // constant of the library.
    unsafe {
        match code(c::rd_kafka_ConsumerGroupDescription_error(group)) {
            // Kafka 4 says so of a group that is not there; earlier ones call it dead.
            None | Some(RDKafkaErrorCode::GroupIdNotFound) => {}
            Some(code) => return Err(failed(code)),
        }
        let state = c::rd_kafka_ConsumerGroupDescription_state(group);
        let mut count = 0;
        let rights =
            c::rd_kafka_ConsumerGroupDescription_authorized_operations(group, &raw mut count);
        let rights = known_rights(rights, count);
        let member = |index| {
            let member = c::rd_kafka_ConsumerGroupDescription_member(group, index);
            Member {
                client_id: text(c::rd_kafka_MemberDescription_client_id(member))
                    .unwrap_or_default(),
                host: text(c::rd_kafka_MemberDescription_host(member)).unwrap_or_default(),
            }
        };
        let members = 0..c::rd_kafka_ConsumerGroupDescription_member_count(group);
        Ok(GroupDescription {
            state: text(c::rd_kafka_consumer_group_state_name(state)).unwrap_or_default(),
            members: members.map(member).collect(),
            rights,
        })
    }
}

/// How a question is put.
struct Asking {
    kind: c::rd_kafka_admin_op_t,
    broker: Option<i32>,
    rights: bool,
    timeout: Duration,
}

impl Asking {
    /// Sends the question and waits for the answer.
    fn send<C: ClientContext>(
        &self,
        client: &Client<C>,
        send: impl FnOnce(
            *mut c::rd_kafka_t,
            *const c::rd_kafka_AdminOptions_t,
            *mut c::rd_kafka_queue_t,
        ),
    ) -> Result<Owned<c::rd_kafka_event_t>, KafkaError> {
        let milliseconds = |time: Duration| c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX);
        let client = client.native_ptr();
        // SAFETY: `client` is valid as long as it is borrowed. Queue and options are ours and live
        // through the call. An answer that comes when the queue is gone is dropped by the library, which
        // counts the references to it.
        let event = unsafe {
            let queue = Owned::new(c::rd_kafka_queue_new(client), c::rd_kafka_queue_destroy);
            let queue = queue.ok_or_else(unusable)?;
            let options = c::rd_kafka_AdminOptions_new(client, self.kind);
            let options = Owned::new(options, c::rd_kafka_AdminOptions_destroy);
            let options = options.ok_or_else(unusable)?;
            // Refused only for a time-out beyond an hour, and for a negative broker: then it is left
            // to the client.
            let (text, size) = (std::ptr::null_mut(), 0);
            let limit = milliseconds(self.timeout);
            c::rd_kafka_AdminOptions_set_request_timeout(options.ptr(), limit, text, size);
            if let Some(broker) = self.broker {
                c::rd_kafka_AdminOptions_set_broker(options.ptr(), broker, text, size);
            }
            if self.rights {
                let set = c::rd_kafka_AdminOptions_set_include_authorized_operations;
                drop(Owned::new(set(options.ptr(), 1), c::rd_kafka_error_destroy));
            }
            send(client, options.ptr(), queue.ptr());
            let event = c::rd_kafka_queue_poll(queue.ptr(), milliseconds(self.timeout + MARGIN));
            Owned::new(event, c::rd_kafka_event_destroy)
        };
        let event = event.ok_or_else(|| failed(RDKafkaErrorCode::OperationTimedOut))?;
        // SAFETY: `event` is live.
        let error = unsafe { c::rd_kafka_event_error(event.ptr()) };
        match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(event),
            error => Err(failed(error.into())),
        }
    }
}

fn failed(code: RDKafkaErrorCode) -> KafkaError {
    KafkaError::MetadataFetch(code)
}

fn unusable() -> KafkaError {
    failed(RDKafkaErrorCode::InvalidArgument)
}

fn c_strings(names: &[&str]) -> Result<Vec<CString>, KafkaError> {
    names.iter().map(|name| CString::new(*name).map_err(|_| unusable())).collect()
}

/// # Safety
/// `first` points to so many elements, which live as long as the result; or the count is 0.
unsafe fn slice<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if count == 0 || first.is_null() {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// `None` if the answer does not tell them.
///
/// # Safety
/// `first` is null, or points to so many operations.
unsafe fn known_rights(
    first: *const c::rd_kafka_AclOperation_t,
    count: usize,
) -> Option<Vec<Right>> {
    // SAFETY: as the caller promises.
    let operations = unsafe { slice(first, count) };
    (!first.is_null()).then(|| operations.iter().filter_map(|&right| Right::of(right)).collect())
}

/// # Safety
/// `error` is null or an error of the library that lives through the call.
unsafe fn code(error: *const c::rd_kafka_error_t) -> Option<RDKafkaErrorCode> {
    if error.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    match unsafe { c::rd_kafka_error_code(error) } {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => None,
        code => Some(code.into()),
    }
}

/// # Safety
/// `text` is null or a C string that lives through the call.
unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
