//! Brokers that want TLS and a log-in: rows come, over connections of tidegate's own; and where only the
//! client knows how to obey a property, by the client.

#![allow(unsafe_code)]

use std::{ffi::CString, fs, path::Path, process::Command};

use rdkafka::{
    bindings as c,
    config::ClientConfig,
    producer::{BaseProducer, Producer as _},
    types::RDKafkaRespErr,
};
use stack::{Kafka, KafkaOptions};

use crate::support::{Message, Tidegate, World, eventually, produce_to};

const PASSWORD: &str = "pass,word=1";

/// A key store for `localhost`, and its certificate as PEM.
fn make_certificate(folder: &Path) {
    let run = |arguments: &[&str]| {
        let output = Command::new("keytool").current_dir(folder).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let store = ["-keystore", "store.p12", "-storepass", "changeit", "-alias", "broker"];
    let names = "SAN=dns:localhost,ip:127.0.0.1";
    let make = ["-genkeypair", "-keyalg", "RSA", "-dname", "CN=localhost", "-ext", names];
    run(&[&make[..], &store].concat());
    run(&[&["-exportcert", "-rfc", "-file", "ca.pem"][..], &store].concat());
}

/// Brokers whose proxied listener wants both.
fn secured(folder: &Path) -> Kafka {
    make_certificate(folder);
    let jaas = |mechanism: &str, class: &str, users: &str| {
        let key = format!("listener.name.proxied.{mechanism}.sasl.jaas.config");
        (key, format!("org.apache.kafka.common.security.{class} required {users};"))
    };
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let settings = vec![
        set(
            "listener.security.protocol.map",
            "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:SASL_SSL",
        ),
        set("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"),
        set("ssl.keystore.location", folder.join("store.p12").to_str().unwrap()),
        set("ssl.keystore.password", "changeit"),
        set("ssl.keystore.type", "PKCS12"),
        set("group.min.session.timeout.ms", "1000"),
        jaas("plain", "plain.PlainLoginModule", &format!("user_alice=\"{PASSWORD}\"")),
        jaas("scram-sha-256", "scram.ScramLoginModule", ""),
        jaas("scram-sha-512", "scram.ScramLoginModule", ""),
    ];
    let (proxied, heap_mib) = (true, Some(384));
    Kafka::start(KafkaOptions { proxied, heap_mib, settings, ..KafkaOptions::default() }).unwrap()
}

/// Gives `alice` her password for SCRAM.
fn set_password(brokers: &str) {
    use c::rd_kafka_ScramMechanism_t as Mechanism;
    let client: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let client = client.client().native_ptr();
    let user = CString::new("alice").unwrap();
    for mechanism in
        [Mechanism::RD_KAFKA_SCRAM_MECHANISM_SHA_256, Mechanism::RD_KAFKA_SCRAM_MECHANISM_SHA_512]
    {
        // SAFETY: the strings outlive the calls that copy them; each object is destroyed once, after its
        // last use; the client lives to the end.
        unsafe {
            let mut alteration = c::rd_kafka_UserScramCredentialUpsertion_new(
                user.as_ptr(),
                mechanism,
                4096,
                PASSWORD.as_ptr(),
                PASSWORD.len(),
                std::ptr::null(),
                0,
            );
            let queue = c::rd_kafka_queue_new(client);
            let none = std::ptr::null();
            c::rd_kafka_AlterUserScramCredentials(client, &raw mut alteration, 1, none, queue);
            let event = c::rd_kafka_queue_poll(queue, 20_000);
            assert!(!event.is_null(), "no answer");
            assert_eq!(c::rd_kafka_event_error(event), RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
            c::rd_kafka_event_destroy(event);
            c::rd_kafka_queue_destroy(queue);
            c::rd_kafka_UserScramCredentialAlteration_destroy(alteration);
        }
    }
}

/// Whether it has connections of its own to fetch by.
fn fetches_itself(tidegate: &Tidegate) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", tidegate.pid())).unwrap();
    tasks.flatten().any(|task| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("fetch-"))
    })
}

#[test]
fn rows_come_over_tls_with_each_kind_of_log_in() {
    let folder = tempfile::tempdir().unwrap();
    let kafka = secured(folder.path());
    let world = World::on_brokers(&kafka, "secured", 1);
    set_password(&world.brokers);
    let ca = folder.path().join("ca.pem");
    let config = |mechanism: &str, more: &str| {
        let properties = format!(
            "\"security.protocol\" = \"SASL_SSL\"\n\"sasl.mechanism\" = \"{mechanism}\"\n\
             \"sasl.username\" = \"alice\"\n\"sasl.password\" = \"{PASSWORD}\"\n\
             \"ssl.ca.location\" = \"{}\"\n{more}\n[sinks.serving]",
            ca.display()
        );
        world
            .orders_config()
            .replace(&world.brokers, &kafka.proxied_bootstrap_servers())
            .replace("[sinks.serving]", &properties)
    };
    // The last one asks for what the client alone can do.
    let cases = [
        ("PLAIN", "", true),
        ("SCRAM-SHA-256", "", true),
        ("SCRAM-SHA-512", "", true),
        ("SCRAM-SHA-512", "\"check.crcs\" = true", false),
    ];
    for (number, (mechanism, more, itself)) in cases.into_iter().enumerate() {
        let order = format!(r#"{{"order_id":{number},"amount":1}}"#);
        produce_to(&world.brokers, &world.name, &[Message::json(&order)]);
        let tidegate = world.run(&config(mechanism, more), &[]);
        eventually("the order", || match world.count_orders() {
            count if count as usize == number + 1 => Ok(()),
            count => Err(format!("{count} with {mechanism} {more}")),
        });
        assert_eq!(fetches_itself(&tidegate), itself, "{mechanism} {more}");
        let exit = tidegate.stop();
        assert!(!exit.log.contains(PASSWORD), "{}", exit.log);
    }
    assert_eq!(world.offsets(0), [0, 1, 2, 3]);
}
