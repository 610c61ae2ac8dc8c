//! The private Kafka of three brokers and the private Postgres with its standby.
//!
//! Postgres has two seats, each a port behind a proxy. Primary and standby change seats at a
//! fail-over, and the next standby takes the seat of the primary that is gone: tidegate is told of
//! both seats once and finds out by itself which of them takes writes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use stack::{Kafka, KafkaOptions, Postgres, PostgresOptions, Proxy, StopMode};

use crate::error::Error;

pub(crate) const TOPIC: &str = "orders";
pub(crate) const TABLE: &str = "orders";
pub(crate) const PARTITION_COLUMN: &str = "kafka_partition";
pub(crate) const OFFSET_COLUMN: &str = "kafka_offset";
/// The tablespace that can be full; an index is in it, so every COPY needs it, and it is small.
const TABLESPACE: &str = "small";

const TABLE_SQL: &str = "CREATE TABLE orders (order_id bigint NOT NULL, customer_id bigint, \
    status text, amount numeric(12,2) NOT NULL, currency char(3), item_count integer, \
    express boolean, created_at timestamptz, note text, \
    kafka_partition integer NOT NULL, kafka_offset bigint NOT NULL)";
const INDEX_SQL: &str = "CREATE INDEX orders_position ON orders (kafka_partition, kafka_offset)";

#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) kafka: Kafka,
    database: Mutex<Database>,
    proxies: Vec<Proxy>,
    /// Why there is no disk that can be full.
    pub(crate) no_disk: Option<String>,
}

#[derive(Debug)]
struct Database {
    primary: Arc<Postgres>,
    standby: Option<Arc<Postgres>>,
}

impl Servers {
    /// `disk_bytes` is the size of the disk that can be full.
    pub(crate) fn start(partitions: u32, disk_bytes: u64) -> Result<Self, Error> {
        let (kafka, postgres) = thread::scope(|scope| {
            let kafka = scope.spawn(start_kafka);
            let postgres = start_postgres(disk_bytes);
            (kafka.join(), postgres)
        });
        let kafka = kafka.map_err(|_| Error::Panicked)??;
        let (primary, no_disk) = postgres?;
        kafka.create_topic(TOPIC, partitions as i32, &[])?;
        let standby = primary.start_standby(None)?;
        let proxies = [primary.port(), standby.port()]
            .map(|port| Proxy::start(([127, 0, 0, 1], port).into()))
            .into_iter()
            .collect::<stack::Result<_>>()?;
        let (primary, standby) = (Arc::new(primary), Some(Arc::new(standby)));
        Ok(Self { kafka, database: Mutex::new(Database { primary, standby }), proxies, no_disk })
    }

    /// For tidegate: both seats, each behind its proxy.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> =
            self.proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port())).collect();
        let (seat, direct) = (self.primary().url(), format!("127.0.0.1:{}", self.primary().port()));
        seat.replace(&direct, &hosts.join(","))
    }

    pub(crate) fn primary(&self) -> Arc<Postgres> {
        Arc::clone(&self.lock().primary)
    }

    /// The proxy before the primary.
    pub(crate) fn proxy(&self) -> Option<&Proxy> {
        let port = self.primary().port();
        self.proxies.iter().find(|proxy| proxy.target().port() == port)
    }

    /// The primary's disk that can be full.
    pub(crate) fn disk(&self) -> Result<Option<stack::Disk>, Error> {
        Ok(self.primary().disk(TABLESPACE)?)
    }

    /// Lets the standby fall behind, runs `meanwhile`, kills the primary and promotes the standby.
    pub(crate) fn fail_over(&self, meanwhile: impl FnOnce()) -> Result<(), Error> {
        self.ensure_standby()?;
        let (primary, standby) = {
            let mut database = self.lock();
            (Arc::clone(&database.primary), database.standby.take())
        };
        let Some(standby) = standby else { return Ok(()) };
        standby.stop_receiving()?;
        meanwhile();
        primary.stop(StopMode::Immediate)?;
        standby.promote()?;
        self.lock().primary = standby;
        Ok(())
    }

    /// Starts a standby on the free seat, if there is none.
    pub(crate) fn ensure_standby(&self) -> Result<(), Error> {
        if self.lock().standby.is_some() {
            return Ok(());
        }
        let primary = self.primary();
        let mut ports = self.proxies.iter().map(|proxy| proxy.target().port());
        let free = ports.find(|port| *port != primary.port());
        let standby = primary.start_standby(free)?;
        self.lock().standby = Some(Arc::new(standby));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Database> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start_kafka() -> stack::Result<Kafka> {
    let settings = [("group.min.session.timeout.ms", "1000")];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    Kafka::start(KafkaOptions { brokers: 3, settings, ..KafkaOptions::default() })
}

fn start_postgres(disk_bytes: u64) -> Result<(Postgres, Option<String>), Error> {
    let settings = vec![("shared_buffers".to_owned(), "64MB".to_owned())];
    let postgres = Postgres::start(PostgresOptions { settings, ..PostgresOptions::default() })?;
    postgres.execute(TABLE_SQL)?;
    match postgres.create_tablespace(TABLESPACE, disk_bytes) {
        Ok(_) => {
            postgres.execute(&format!("{INDEX_SQL} TABLESPACE {TABLESPACE}"))?;
            Ok((postgres, None))
        }
        Err(error @ stack::Error::NotMounted { .. }) => {
            postgres.execute(INDEX_SQL)?;
            Ok((postgres, Some(error.to_string())))
        }
        Err(error) => Err(error.into()),
    }
}

/// Long enough for a statement that has to wait for the transactions of the moment.
pub(crate) const STATEMENT_LIMIT: Duration = Duration::from_secs(30);
