//! Runs against librdkafka's mock cluster: it makes errors on demand and needs no process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use loadgen::{FindLimit, Load, LoadError, Orders, Profile, Record, Renderer, Report};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

const PARTITIONS: i32 = 4;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// Key and value of each record, by partition and in offset order.
type Content = BTreeMap<i32, Vec<(Option<Vec<u8>>, Option<Vec<u8>>)>>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", PARTITIONS, 1).unwrap();
    cluster
}

fn load(cluster: &Cluster) -> Load {
    Load {
        brokers: cluster.bootstrap_servers(),
        topic: "orders".to_owned(),
        profile: Profile { updates: 0.2, deletes: 0.05, poison: 0.03, ..Profile::default() },
        replication: 1,
        count: Some(20_000),
        rate: None,
        duration: None,
        compression: "none".to_owned(),
        threads: Some(1),
        properties: Vec::new(),
        show_progress: false,
    }
}

fn run(load: &Load) -> Result<Report, LoadError> {
    load.run(&AtomicBool::new(false))
}

/// Reads what the report says was written, and nothing beyond it.
fn consume(cluster: &Cluster, report: &Report) -> Content {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "checker")
        .create()
        .unwrap();
    let mut start = TopicPartitionList::new();
    for entry in &report.ledger.partitions {
        let first = Offset::Offset(entry.first_offset);
        start.add_partition_offset("orders", entry.partition, first).unwrap();
    }
    consumer.assign(&start).unwrap();
    let mut content = Content::new();
    for _ in 0..report.ledger.produced {
        let message = consumer.poll(Duration::from_secs(30)).expect("a record").unwrap();
        let entry = &report.ledger.partitions[message.partition() as usize];
        assert!((entry.first_offset..entry.next_offset).contains(&message.offset()));
        let record = (message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec));
        content.entry(message.partition()).or_default().push(record);
    }
    content
}

/// What the stream of the profile puts into each partition.
fn expected(profile: &Profile, count: u64) -> Content {
    let profile = Profile { partitions: PARTITIONS as u32, ..profile.clone() };
    let (mut orders, mut renderer) = (Orders::new(&profile), Renderer::new(&profile));
    let mut record = Record::default();
    let mut content = Content::new();
    for _ in 0..count {
        let event = orders.plan();
        renderer.render(&event, &mut record);
        let bytes = (record.key().map(<[u8]>::to_vec), record.value().map(<[u8]>::to_vec));
        content.entry(event.partition as i32).or_default().push(bytes);
    }
    content
}

#[test]
fn the_topic_holds_the_stream_whatever_the_number_of_threads() {
    for threads in [1, 3] {
        let cluster = cluster();
        let load = Load { threads: Some(threads), ..load(&cluster) };
        let report = run(&load).unwrap();
        assert!(report.error.is_none() && report.ledger.complete, "{:?}", report.error);
        assert_eq!(report.ledger.produced, 20_000);
        assert!(consume(&cluster, &report) == expected(&load.profile, 20_000));
    }
}

#[test]
fn a_second_run_is_recorded_at_its_own_offsets() {
    let cluster = cluster();
    let load = load(&cluster);
    let (first, second) = (run(&load).unwrap(), run(&load).unwrap());
    for (before, after) in first.ledger.partitions.iter().zip(&second.ledger.partitions) {
        assert_eq!(before.first_offset, 0);
        assert_eq!(after.first_offset, before.next_offset);
        assert_eq!(after.next_offset - after.first_offset, after.tally.produced as i64);
    }
    assert!(second.error.is_none() && second.ledger.complete);
}

#[test]
fn a_refused_record_fails_the_run_and_names_the_partition_and_the_reason() {
    let cluster = cluster();
    let refusal = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 1];
    cluster.request_errors(RDKafkaApiKey::Produce, &refusal);
    let report = run(&load(&cluster)).unwrap();
    let error = report.error.unwrap();
    let text = error.to_string();
    assert!(matches!(error, LoadError::Delivery { .. }) && error.exit_code() == 70, "{text}");
    assert!(text.contains("partition ") && text.contains("orders"), "{text}");
    assert!(text.contains("TopicAuthorizationFailed"), "{text}");
    assert!(!report.ledger.complete);
}

#[test]
fn an_error_that_passes_costs_nothing() {
    let cluster = cluster();
    let passing = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 2];
    cluster.request_errors(RDKafkaApiKey::Produce, &passing);
    let load = load(&cluster);
    let report = run(&load).unwrap();
    assert!(report.error.is_none() && report.ledger.complete, "{:?}", report.error);
    assert!(consume(&cluster, &report) == expected(&load.profile, 20_000));
}

#[test]
fn a_stop_ends_all_threads_at_one_position_with_a_complete_ledger() {
    let cluster = cluster();
    let endless = Load { count: None, rate: Some(5_000.0), threads: Some(3), ..load(&cluster) };
    let timed = Load { duration: Some(Duration::from_millis(700)), ..endless.clone() };
    for (load, stop) in [(&timed, false), (&endless, true)] {
        let report = load.run(&AtomicBool::new(stop)).unwrap();
        assert!(report.error.is_none() && report.ledger.complete, "{:?}", report.error);
        let count = report.ledger.produced;
        assert!(consume(&cluster, &report) == expected(&endless.profile, count), "{count}");
    }
}

#[test]
fn the_rate_is_kept() {
    let cluster = cluster();
    let report = run(&Load { count: Some(2_000), rate: Some(4_000.0), ..load(&cluster) }).unwrap();
    let seconds = report.elapsed.as_secs_f64();
    // The last block is due 10 ms before the end; a slow machine may take longer.
    assert!(seconds >= 0.48, "{seconds}");
}

#[test]
fn a_hot_partition_that_the_topic_lacks_is_a_usage_error() {
    let cluster = cluster();
    let mut load = load(&cluster);
    load.profile.hot_partition = Some(loadgen::HotPartition { partition: 6, share: 0.5 });
    let error = run(&load).unwrap_err();
    assert_eq!(error.exit_code(), 64);
    assert!(error.to_string().contains("0 to 3"), "{error}");
}

#[test]
fn an_unreachable_broker_is_named() {
    // Nothing listens on the discard port of a machine that runs tests.
    let brokers = "127.0.0.1:9".to_owned();
    let error = run(&Load { brokers, ..load(&cluster()) }).unwrap_err();
    assert_eq!(error.exit_code(), 69);
    assert!(error.to_string().contains("127.0.0.1:9"), "{error}");
}

#[test]
fn a_tidegate_that_does_not_answer_is_named() {
    let cluster = cluster();
    let find = FindLimit {
        load: load(&cluster),
        status: vec!["127.0.0.1:9".to_owned()],
        start: 1_000.0,
        hold: Duration::from_secs(1),
        show: false,
    };
    let error = find.run(&AtomicBool::new(false)).unwrap_err();
    assert!(matches!(error, LoadError::Status { .. }) && error.exit_code() == 69, "{error}");
    assert!(error.to_string().contains("http://127.0.0.1:9/status"), "{error}");
}
