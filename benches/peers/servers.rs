//! Kafka with the orders, and Postgres with an empty table.

use std::{sync::atomic::AtomicBool, thread};

use loadgen::{Ledger, Load, Profile};
use stack::{Client, Kafka, KafkaOptions, Postgres, PostgresOptions};

use crate::Result;

const TOPIC: &str = "orders";
const TABLE: &str = "public.orders";
pub(crate) const PARTITIONS: u32 = 6;
pub(crate) const COLUMNS: &str = "order_id bigint, customer_id bigint, status text, amount numeric(12,2), \
    currency text, item_count int, express boolean, created_at timestamptz, note text";
/// Of Postgres, besides the defaults of the stack.
const SETTINGS: [(&str, &str); 3] =
    [("fsync", "on"), ("shared_buffers", "2GB"), ("max_wal_size", "16GB")];

pub(crate) struct Servers {
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
    client: Client,
    ledger: Ledger,
}

/// What the table holds, beside what the ledger says.
#[derive(Clone)]
pub(crate) struct Proof {
    pub(crate) rows: u64,
    pub(crate) duplicated: u64,
    /// Whether all amounts together are those of the ledger.
    pub(crate) is_sum_right: bool,
    /// A sum over all rows that differs if any value in any of them does; their order does not count.
    pub(crate) fingerprint: String,
}

impl Servers {
    pub(crate) fn start(rows: u64) -> Result<Self> {
        let settings = SETTINGS.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let (kafka, postgres) = thread::scope(|scope| {
            let kafka = scope.spawn(|| Kafka::start(KafkaOptions::default()));
            let postgres = Postgres::start(PostgresOptions { settings, data_dir: None });
            (kafka.join(), postgres)
        });
        let kafka = kafka.map_err(|_| "the start of Kafka panicked")??;
        let postgres = postgres?;
        kafka.create_topic(TOPIC, PARTITIONS as i32, &[])?;
        let load = Load {
            brokers: kafka.bootstrap_servers(),
            topic: TOPIC.to_owned(),
            profile: Profile { partitions: PARTITIONS, ..Profile::default() },
            replication: 1,
            count: Some(rows),
            rate: None,
            duration: None,
            compression: "none".to_owned(),
            threads: None,
            properties: Vec::new(),
            show_progress: false,
        };
        let report = load.run(&AtomicBool::new(false))?;
        if let Some(error) = report.error {
            return Err(error.into());
        }
        let client = postgres.client()?;
        Ok(Self { kafka, postgres, client, ledger: report.ledger })
    }

    /// The rows that all records make.
    pub(crate) fn expected_rows(&self) -> u64 {
        self.ledger.totals.orders
    }

    /// An empty table without an index, and nothing left to write of what was there before.
    pub(crate) fn create_table(&self) -> Result<()> {
        self.client.execute(&format!("DROP TABLE IF EXISTS {TABLE}"))?;
        self.client.execute(&format!("CREATE TABLE {TABLE} ({COLUMNS})"))?;
        self.client.execute("CHECKPOINT")?;
        Ok(())
    }

    /// Costs nothing to ask. It grows with the rows, a moment before their commit.
    pub(crate) fn table_bytes(&self) -> Result<u64> {
        Ok(self.client.query_one_i64(&format!("SELECT pg_relation_size('{TABLE}')"))? as u64)
    }

    pub(crate) fn rows(&self) -> Result<u64> {
        Ok(self.client.query_one_i64(&format!("SELECT count(*) FROM {TABLE}"))? as u64)
    }

    pub(crate) fn prove(&self) -> Result<Proof> {
        let rows = self.rows()?;
        let distinct = format!("SELECT count(DISTINCT order_id) FROM {TABLE}");
        let distinct = self.client.query_one_i64(&distinct)? as u64;
        let amounts = &self.ledger.totals.amount_sum;
        let sum =
            format!("SELECT count(*) FROM (SELECT FROM {TABLE} HAVING sum(amount) = {amounts}) s");
        let is_sum_right = self.client.query_one_i64(&sum)? == 1;
        let fingerprint = format!("SELECT sum(hashtextextended(t::text, 0)) FROM {TABLE} t");
        let fingerprint = self.client.query_text(&fingerprint)?;
        let fingerprint = fingerprint.into_iter().flatten().flatten().next().unwrap_or_default();
        let duplicated = rows.saturating_sub(distinct);
        Ok(Proof { rows, duplicated, is_sum_right, fingerprint })
    }

    /// A line on their versions and settings.
    pub(crate) fn describe(&self) -> Result<String> {
        let version = self.client.query_text("SHOW server_version")?;
        let version = version.into_iter().flatten().flatten().next().unwrap_or_default();
        let kafka = stack::KAFKA_VERSION;
        let settings = SETTINGS.map(|(key, value)| format!("{key} = {value}")).join(", ");
        Ok(format!("Kafka {kafka}, one broker; Postgres {version}, {settings}"))
    }
}
