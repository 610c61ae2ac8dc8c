//! Kafka with the orders, and Postgres with an empty table.

use loadgen::{Ledger, Profile};

use crate::common::{Amount, Result, SETTINGS, Servers, TABLE};

const TOPIC: &str = "orders";
pub(crate) const PARTITIONS: u32 = 6;

/// The servers, and what the topic holds.
pub(crate) struct Filled {
    pub(crate) servers: Servers,
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

impl Filled {
    pub(crate) fn start(rows: u64) -> Result<Self> {
        let servers = Servers::start(&[])?;
        servers.kafka.create_topic(TOPIC, PARTITIONS as i32, &[])?;
        let profile = Profile { partitions: PARTITIONS, ..Profile::default() };
        let amount = Amount { count: Some(rows), ..Amount::default() };
        let ledger = servers.produce(TOPIC, profile, amount)?.ledger;
        Ok(Self { servers, ledger })
    }

    /// The rows that all records make.
    pub(crate) fn expected_rows(&self) -> u64 {
        self.ledger.totals.orders
    }

    /// Costs nothing to ask. It grows with the rows, a moment before their commit.
    pub(crate) fn table_bytes(&self) -> Result<u64> {
        Ok(self.servers.client.query_one_i64(&format!("SELECT pg_relation_size('{TABLE}')"))?
            as u64)
    }

    pub(crate) fn rows(&self) -> Result<u64> {
        Ok(self.servers.client.query_one_i64(&format!("SELECT count(*) FROM {TABLE}"))? as u64)
    }

    pub(crate) fn prove(&self) -> Result<Proof> {
        let rows = self.rows()?;
        let distinct = format!("SELECT count(DISTINCT order_id) FROM {TABLE}");
        let distinct = self.servers.client.query_one_i64(&distinct)? as u64;
        let amounts = &self.ledger.totals.amount_sum;
        let sum =
            format!("SELECT count(*) FROM (SELECT FROM {TABLE} HAVING sum(amount) = {amounts}) s");
        let is_sum_right = self.servers.client.query_one_i64(&sum)? == 1;
        let fingerprint = format!("SELECT sum(hashtextextended(t::text, 0)) FROM {TABLE} t");
        let fingerprint = self.servers.client.query_text(&fingerprint)?;
        let fingerprint = fingerprint.into_iter().flatten().flatten().next().unwrap_or_default();
        let duplicated = rows.saturating_sub(distinct);
        Ok(Proof { rows, duplicated, is_sum_right, fingerprint })
    }

    /// A line on their versions and settings.
    pub(crate) fn describe(&self) -> Result<String> {
        let version = self.servers.client.query_text("SHOW server_version")?;
        let version = version.into_iter().flatten().flatten().next().unwrap_or_default();
        let kafka = stack::KAFKA_VERSION;
        let settings = SETTINGS.map(|(key, value)| format!("{key} = {value}")).join(", ");
        Ok(format!("Kafka {kafka}, one broker; Postgres {version}, {settings}"))
    }
}
