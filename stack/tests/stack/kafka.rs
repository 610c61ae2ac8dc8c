use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use stack::{Error, Kafka, KafkaOptions, State};

const LIMIT: Duration = Duration::from_secs(30);

fn produce(brokers: &str, topic: &str, payload: &str) {
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).set("acks", "all").create().unwrap();
    producer.send(BaseRecord::<str, str>::to(topic).payload(payload).partition(0)).unwrap();
    producer.flush(LIMIT).unwrap();
}

fn first_payload(brokers: &str, topic: &str) -> Option<String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        // An error says that a broker is gone; the consumer goes on with the others.
        if let Some(Ok(record)) = consumer.poll(deadline - Instant::now()) {
            return Some(String::from_utf8(record.payload()?.to_vec()).unwrap());
        }
    }
    None
}

fn answers(brokers: &str, limit: Duration) -> bool {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    client.fetch_metadata(None, limit).is_ok()
}

#[test]
fn one_broker_keeps_its_records_through_kill_and_stop_and_freezes_on_demand() {
    let kafka = Kafka::start(KafkaOptions { proxied: true, ..KafkaOptions::default() }).unwrap();
    let brokers = kafka.bootstrap_servers();
    let broker = kafka.broker(1);
    kafka.create_topic("orders", 2, &[("retention.ms", "-1")]).unwrap();
    let twice = kafka.create_topic("orders", 2, &[]);
    assert!(matches!(twice, Err(Error::Refused { .. })), "{twice:?}");
    produce(&brokers, "orders", "survives");

    let first_pid = broker.pid().unwrap();
    broker.kill().unwrap();
    assert_eq!(broker.state(), State::Stopped);
    assert!(!std::path::Path::new(&format!("/proc/{first_pid}")).exists());
    broker.start().unwrap();
    assert_ne!(broker.pid().unwrap(), first_pid);
    assert_eq!(first_payload(&brokers, "orders").as_deref(), Some("survives"));

    broker.suspend().unwrap();
    assert_eq!(broker.state(), State::Suspended);
    assert!(!answers(&brokers, Duration::from_millis(500)));
    broker.resume().unwrap();
    assert!(answers(&brokers, LIMIT));

    broker.stop().unwrap();
    assert!(!answers(&brokers, Duration::from_millis(200)));
    assert!(matches!(broker.stop(), Err(Error::NotRunning { .. })));
    broker.start().unwrap();
    assert!(matches!(broker.start(), Err(Error::AlreadyRunning { .. })));
    assert!(broker.cpu_seconds() > 0.1);

    clients_of_the_proxy_stay_behind_it(&kafka);
    kafka.delete_topic("orders").unwrap();
    kafka.create_topic("orders", 1, &[]).unwrap();
}

/// A broker that advertised its own port would lead clients past the proxy.
fn clients_of_the_proxy_stay_behind_it(kafka: &Kafka) {
    let brokers = kafka.proxied_bootstrap_servers();
    assert_eq!(first_payload(&brokers, "orders").as_deref(), Some("survives"));
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let metadata = client.fetch_metadata(None, LIMIT).unwrap();
    let ports: Vec<i32> = metadata.brokers().iter().map(|broker| broker.port()).collect();
    assert_eq!(ports, [i32::from(kafka.proxy(1).port())]);
}

#[test]
fn three_brokers_acknowledge_records_while_any_one_of_them_is_dead() {
    let kafka = Kafka::start(KafkaOptions { brokers: 3, ..KafkaOptions::default() }).unwrap();
    let brokers = kafka.bootstrap_servers();
    assert_eq!(brokers.split(',').count(), 3);
    kafka.create_topic("orders", 3, &[]).unwrap();

    kafka.broker(1).kill().unwrap();
    produce(&brokers, "orders", "two of three");
    assert_eq!(first_payload(&brokers, "orders").as_deref(), Some("two of three"));
    kafka.create_topic("made-by-two", 1, &[]).unwrap();
    kafka.broker(1).start().unwrap();
}

#[test]
fn two_brokers_are_refused() {
    let refused = Kafka::start(KafkaOptions { brokers: 2, ..KafkaOptions::default() });
    assert!(matches!(refused, Err(Error::BrokerCount { brokers: 2 })), "{refused:?}");
}
