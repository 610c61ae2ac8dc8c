//! Single records, and questions to the broker.

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    time::Duration,
};

use loadgen::{Orders, Profile, Record, Renderer};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList, bindings as c,
    consumer::{BaseConsumer, Consumer as _},
    message::{Header, Headers as _, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
    types::RDKafkaRespErr,
};

use super::{
    wait::{LIMIT, eventually},
    world::World,
};

const ANSWER_MAX: Duration = Duration::from_secs(20);

/// One record to produce.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) headers: Vec<(&'static str, Option<Vec<u8>>)>,
}

impl Message {
    pub(crate) fn json(value: &str) -> Self {
        Self { value: Some(value.as_bytes().to_vec()), ..Self::default() }
    }
}

/// Produces the records in order, and returns when the broker has them.
pub(crate) fn produce(world: &World, messages: &[Message]) {
    produce_to(&world.brokers, &world.name, messages);
}

pub(crate) fn produce_to(brokers: &str, topic: &str, messages: &[Message]) {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    for message in messages {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(message.partition);
        record.key = message.key.as_deref();
        record.payload = message.value.as_deref();
        record.timestamp = message.timestamp_ms;
        if !message.headers.is_empty() {
            let headers = message.headers.iter().fold(OwnedHeaders::new(), |list, (key, value)| {
                list.insert(Header { key, value: value.as_deref() })
            });
            record = record.headers(headers);
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

/// Produces one record with a header whose name may be any bytes, which the binding cannot.
#[allow(unsafe_code)]
pub(crate) fn produce_with_header(world: &World, value: &str, name: &CStr, header: &[u8]) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &world.brokers).create().unwrap();
    let topic = CString::new(world.name.as_str()).unwrap();
    // SAFETY: the arguments are those that each tag wants; the library copies value and header.
    let error = unsafe {
        c::rd_kafka_producev(
            producer.client().native_ptr(),
            c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC,
            topic.as_ptr(),
            c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
            c::RD_KAFKA_MSG_F_COPY,
            c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
            value.as_ptr(),
            value.len(),
            c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADER,
            name.as_ptr(),
            header.as_ptr(),
            header.len() as isize,
            c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
        )
    };
    assert_eq!(error, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
    producer.flush(LIMIT).unwrap();
}

fn consumer(brokers: &str, group: &str) -> BaseConsumer {
    ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).create().unwrap()
}

/// One record as a consumer gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Received {
    /// The text of the last header of that name; `-` if there is none.
    pub(crate) fn header(&self, name: &str) -> String {
        let header = self.headers.iter().rev().find(|(key, _)| key == name);
        let value = header.and_then(|(_, value)| value.clone());
        value.map_or_else(|| "-".to_owned(), |value| String::from_utf8(value).unwrap())
    }
}

/// All records of a topic, partition after partition.
pub(crate) fn read_topic(brokers: &str, topic: &str, partitions: i32) -> Vec<Received> {
    let consumer = consumer(brokers, "reads-all");
    let mut received = Vec::new();
    for partition in 0..partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, ANSWER_MAX).unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(low)).unwrap();
        consumer.assign(&list).unwrap();
        for _ in low..high {
            let message = consumer.poll(ANSWER_MAX).expect("a record in time").unwrap();
            let headers = message.headers().map_or_else(Vec::new, |headers| {
                let owned = |header: Header<'_, &[u8]>| {
                    (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
                };
                headers.iter().map(owned).collect()
            });
            received.push(Received {
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers,
            });
        }
    }
    received
}

/// What the group has committed, by partition.
pub(crate) fn committed(world: &World, partitions: i32) -> BTreeMap<i32, Option<i64>> {
    let mut list = TopicPartitionList::new();
    list.add_partition_range(&world.name, 0, partitions - 1);
    let consumer = consumer(&world.brokers, &world.name);
    let committed = consumer.committed_offsets(list, ANSWER_MAX).unwrap();
    let offset = |offset| match offset {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    };
    let elements = committed.elements();
    elements.iter().map(|element| (element.partition(), offset(element.offset()))).collect()
}

pub(crate) fn watermarks(world: &World, partition: i32) -> (i64, i64) {
    let consumer = consumer(&world.brokers, "watermarks");
    consumer.fetch_watermarks(&world.name, partition, ANSWER_MAX).unwrap()
}

/// The id of the broker that leads a partition; -1 while none does.
pub(crate) fn leader_of(brokers: &str, topic: &str, partition: i32) -> i32 {
    let metadata = consumer(brokers, "leader").fetch_metadata(Some(topic), ANSWER_MAX).unwrap();
    let partitions = metadata.topics()[0].partitions();
    partitions.iter().find(|found| found.id() == partition).unwrap().leader()
}

/// The id of the broker that coordinates the group: the leader of the group's partition of the
/// offsets topic, by the hash of its name (GroupMetadataManager.partitionFor; java.lang.String).
/// There are four such partitions in every cluster of the stack.
pub(crate) fn coordinator_of(world: &World) -> i32 {
    let add = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(unit.into());
    let hash = world.name.encode_utf16().fold(0, add);
    leader_of(&world.brokers, "__consumer_offsets", (hash & i32::MAX) % 4)
}

/// What retention does: removes all records of a partition below `offset`.
pub(crate) fn delete_records_before(world: &World, partition: i32, offset: i64) {
    use rdkafka::admin::{AdminClient, AdminOptions};
    let admin: AdminClient<_> =
        ClientConfig::new().set("bootstrap.servers", &world.brokers).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&world.name, partition, Offset::Offset(offset)).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_MAX));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deleted = runtime.block_on(admin.delete_records(&list, &options)).unwrap();
    for element in deleted.elements() {
        element.error().unwrap();
    }
}

/// Records that cannot become a row, as the load produces them: partition and offset to key and
/// value. `count` records were produced into an empty topic.
pub(crate) fn expected_poison(
    profile: &Profile,
    partitions: u32,
    count: u64,
    is_poison: impl Fn(&Record) -> bool,
) -> BTreeMap<(i32, i64), Record> {
    let profile = Profile { partitions, ..profile.clone() };
    let (mut orders, mut renderer) = (Orders::new(&profile), Renderer::new(&profile));
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for _ in 0..count {
        let event = orders.plan();
        let mut record = Record::default();
        renderer.render(&event, &mut record);
        let partition = event.partition as i32;
        let offset = next.entry(partition).or_default();
        if is_poison(&record) {
            found.insert((partition, *offset), record);
        }
        *offset += 1;
    }
    found
}

/// Deletes the group, which has no members now, with what it has committed.
pub(crate) fn delete_group(world: &World) {
    use rdkafka::admin::{AdminClient, AdminOptions};
    let admin: AdminClient<_> =
        ClientConfig::new().set("bootstrap.servers", &world.brokers).create().unwrap();
    let options = AdminOptions::new();
    let deleted = admin.delete_groups(&[world.name.as_str()], &options);
    let deleted = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(deleted);
    deleted.unwrap().into_iter().for_each(|group| drop(group.unwrap()));
}

/// A member of the world's group by this client id, until it is dropped.
pub(crate) fn join_group(world: &World, client_id: &str) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &world.brokers)
        .set("group.id", &world.name)
        .set("client.id", client_id)
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    consumer.subscribe(&[&world.name]).unwrap();
    eventually("an assignment", || {
        let _ = consumer.poll(Duration::from_millis(50));
        let assigned = consumer.assignment().unwrap().count();
        if assigned > 0 { Ok(()) } else { Err("none yet".to_owned()) }
    });
    consumer
}
