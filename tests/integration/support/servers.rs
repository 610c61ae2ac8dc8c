//! The servers that all tests share.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use stack::{Kafka, KafkaOptions, Postgres, PostgresOptions, State};

/// A broker on which a dead member is gone after the shortest time that a test may ask for.
pub(crate) fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| {
        let settings = [
            ("group.min.session.timeout.ms", "1000"),
            ("group.consumer.min.session.timeout.ms", "1000"),
            ("group.consumer.session.timeout.ms", "4000"),
            ("group.consumer.min.heartbeat.interval.ms", "200"),
            ("group.consumer.heartbeat.interval.ms", "500"),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        Kafka::start(KafkaOptions { settings, ..KafkaOptions::default() }).unwrap()
    })
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
