//! The servers that all tests share.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use stack::{Kafka, KafkaOptions, Postgres, PostgresOptions, State};

/// A broker on which a dead member is gone after the shortest time that a test may ask for.
pub(crate) fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| start_kafka(KafkaOptions::default()))
}

/// Three brokers that one test at a time may stop, kill or cut off.
pub(crate) type FragileKafka = MutexGuard<'static, Kafka>;

/// Three brokers, each with a proxy before it that only clients of
/// [`Kafka::proxied_bootstrap_servers`] pass.
pub(crate) fn fragile_kafka() -> FragileKafka {
    static KAFKA: OnceLock<Mutex<Kafka>> = OnceLock::new();
    let kafka = KAFKA.get_or_init(|| {
        let options = KafkaOptions { brokers: 3, proxied: true, ..KafkaOptions::default() };
        Mutex::new(start_kafka(options))
    });
    // A test that failed may have left them in any state.
    let kafka = kafka.lock().unwrap_or_else(PoisonError::into_inner);
    kafka.start_again().unwrap();
    for broker in kafka.brokers() {
        kafka.proxy(broker.id() as usize).pass().unwrap();
    }
    kafka
}

fn start_kafka(options: KafkaOptions) -> Kafka {
    let settings = [
        ("group.min.session.timeout.ms", "1000"),
        ("group.consumer.min.session.timeout.ms", "1000"),
        ("group.consumer.session.timeout.ms", "4000"),
        ("group.consumer.min.heartbeat.interval.ms", "200"),
        ("group.consumer.heartbeat.interval.ms", "500"),
        // A test of compaction need not wait for 15 s, the default.
        ("log.cleaner.backoff.ms", "500"),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    Kafka::start(KafkaOptions { settings, ..options }).unwrap()
}

/// The Postgres that nobody disturbs.
pub(crate) fn postgres() -> &'static Postgres {
    static POSTGRES: OnceLock<Postgres> = OnceLock::new();
    POSTGRES.get_or_init(start)
}

/// A Postgres that one test at a time may stop, kill or suspend.
pub(crate) type FragilePostgres = MutexGuard<'static, Postgres>;

pub(crate) fn fragile_postgres() -> FragilePostgres {
    static POSTGRES: OnceLock<Mutex<Postgres>> = OnceLock::new();
    let postgres = POSTGRES.get_or_init(|| Mutex::new(start()));
    // A test that failed may have left it in any state.
    let postgres = postgres.lock().unwrap_or_else(PoisonError::into_inner);
    match postgres.state() {
        State::Running => {}
        State::Suspended => postgres.resume().unwrap(),
        State::Stopped => postgres.start_again().unwrap(),
    }
    postgres
}

fn start() -> Postgres {
    let settings = vec![("shared_buffers".to_owned(), "64MB".to_owned())];
    Postgres::start(PostgresOptions { settings, ..PostgresOptions::default() }).unwrap()
}
