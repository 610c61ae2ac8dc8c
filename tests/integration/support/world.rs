//! What one test has to itself: a topic, a group, a database, a folder.

use std::{fs, path::PathBuf, process::Stdio};

use stack::{Client, Kafka, Postgres, Proxy};
use tempfile::TempDir;

use super::{
    servers::{kafka, postgres},
    tidegate::Tidegate,
    wait::eventually,
};

/// A member that died is gone from its group after this time, in place of 45 s.
const SESSION: &str = "\"session.timeout.ms\" = \"2000\"\n\"heartbeat.interval.ms\" = \"300\"";

const ORDERS: &str = "CREATE TABLE orders (order_id bigint NOT NULL, customer_id bigint, \
    status text, amount numeric(12,2) NOT NULL, currency char(3), item_count integer, \
    express boolean, created_at timestamptz, note text, \
    kafka_partition integer NOT NULL, kafka_offset bigint NOT NULL)";

pub(crate) struct World {
    /// Names its topic, its group and its database.
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) sql: Client,
    pub(crate) folder: TempDir,
    pub(crate) brokers: String,
}

impl World {
    /// A topic of so many partitions, and a database with an empty table `orders`.
    pub(crate) fn new(name: &str, partitions: i32) -> Self {
        Self::on(kafka(), postgres(), name, partitions).with_orders()
    }

    /// As `new`, on brokers that may be disturbed.
    pub(crate) fn on_brokers(kafka: &Kafka, name: &str, partitions: i32) -> Self {
        Self::on(kafka, postgres(), name, partitions).with_orders()
    }

    /// As `new`, on a Postgres that may be disturbed.
    pub(crate) fn on_fragile(postgres: &Postgres, name: &str, partitions: i32) -> Self {
        Self::on(kafka(), postgres, name, partitions).with_orders()
    }

    /// A topic and an empty database.
    pub(crate) fn bare(name: &str, partitions: i32) -> Self {
        Self::on(kafka(), postgres(), name, partitions)
    }

    fn on(kafka: &Kafka, postgres: &Postgres, name: &str, partitions: i32) -> Self {
        kafka.create_topic(name, partitions, &[]).unwrap();
        let url = postgres.create_database(name).unwrap();
        let sql = Client::connect(&url).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let brokers = kafka.bootstrap_servers();
        Self { name: name.to_owned(), url, sql, folder, brokers }
    }

    fn with_orders(self) -> Self {
        self.sql.execute(ORDERS).unwrap();
        self
    }

    /// The configuration, with a proxy between tidegate and Postgres.
    pub(crate) fn behind_proxy(&self, config: &str) -> (Proxy, String) {
        let port = postgres().port();
        let proxy = Proxy::start(([127, 0, 0, 1], port).into()).unwrap();
        let (direct, proxied) = (port, proxy.port());
        let config =
            config.replace(&format!("127.0.0.1:{direct}/"), &format!("127.0.0.1:{proxied}/"));
        (proxy, config)
    }

    /// A new connection, where the old one was cut.
    pub(crate) fn reconnect(&mut self) {
        self.sql = Client::connect(&self.url).unwrap();
    }

    /// The configuration that most tests run: the topic into `orders`.
    pub(crate) fn orders_config(&self) -> String {
        format!(
            "{}{}{}",
            self.source_config(""),
            self.sink_config("serving"),
            self.route_config(
                "\"serving\"\ntable = \"orders\"\n[routes.to.columns]\n\
                 kafka_partition = { metadata = \"partition\" }\n\
                 kafka_offset = { metadata = \"offset\" }"
            )
        )
    }

    /// The admin server, small batches, and the source; `more` stands inside the source's table.
    pub(crate) fn source_config(&self, more: &str) -> String {
        format!(
            "[admin]\nlisten = \"127.0.0.1:0\"\n[batch]\nrows = 500\nage = \"50ms\"\n\
             [sources.shop]\nkind = \"kafka\"\nbrokers = \"{}\"\ngroup = \"{}\"\n\
             commit_interval = \"200ms\"\n{more}\n[sources.shop.properties]\n{SESSION}\n",
            self.brokers, self.name
        )
    }

    pub(crate) fn sink_config(&self, name: &str) -> String {
        format!("[sinks.{name}]\nkind = \"postgres\"\nurl = \"{}\"\nwriters = 2\n", self.url)
    }

    /// A route of the topic; `to` is what stands behind `sink = `.
    pub(crate) fn route_config(&self, to: &str) -> String {
        format!(
            "[[routes]]\nname = \"orders\"\nsource = \"shop\"\ntopics = [\"{}\"]\n\
             [[routes.to]]\nsink = {to}\n",
            self.name
        )
    }

    pub(crate) fn write_config(&self, config: &str) -> PathBuf {
        let path = self.folder.path().join("tidegate.toml");
        // In one step: another instance may be reading it.
        let unfinished = path.with_extension("new");
        fs::write(&unfinished, config).unwrap();
        fs::rename(unfinished, &path).unwrap();
        path
    }

    /// Runs [`Self::orders_config`], with `sets` in place of what it says.
    pub(crate) fn run_orders(&self, sets: &[&str]) -> Tidegate {
        self.run(&self.orders_config(), sets)
    }

    pub(crate) fn run(&self, config: &str, sets: &[&str]) -> Tidegate {
        self.run_with(config, sets, Stdio::null())
    }

    /// Runs [`Self::orders_config`] up to a failpoint: `name=action@passage`. For tests/failpoints.
    #[allow(dead_code)]
    pub(crate) fn run_orders_to(&self, failpoint: &str, sets: &[&str]) -> Tidegate {
        self.run_to(&self.orders_config(), failpoint, sets)
    }

    #[allow(dead_code)]
    pub(crate) fn run_to(&self, config: &str, failpoint: &str, sets: &[&str]) -> Tidegate {
        self.write_config(config);
        let mut arguments = vec!["run"];
        arguments.extend(sets.iter().flat_map(|set| ["--set", *set]));
        Tidegate::spawn_at(self.folder.path(), &arguments, Stdio::null(), failpoint)
    }

    pub(crate) fn run_with(&self, config: &str, sets: &[&str], stdin: Stdio) -> Tidegate {
        self.write_config(config);
        let mut arguments = vec!["run"];
        arguments.extend(sets.iter().flat_map(|set| ["--set", *set]));
        Tidegate::spawn(self.folder.path(), &arguments, stdin)
    }

    /// All rows of a query as text; NULL is `~`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let text = |cell: Option<String>| cell.unwrap_or_else(|| "~".to_owned());
        let rows = self.sql.query_text(sql).unwrap();
        rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect()
    }

    pub(crate) fn count_orders(&self) -> i64 {
        self.number("SELECT count(*) FROM orders")
    }

    /// Waits until there are more than `before` orders.
    pub(crate) fn await_more_orders_than(&self, before: i64) -> i64 {
        eventually("new orders", || {
            let count = self.count_orders();
            if count > before { Ok(count) } else { Err(format!("still {count}")) }
        })
    }

    /// Holds off every new writer of a table until it is told to roll back.
    pub(crate) fn lock(&self, table: &str) -> Client {
        let client = Client::connect(&self.url).unwrap();
        client.execute(&format!("BEGIN; LOCK TABLE {table} IN SHARE MODE")).unwrap();
        client
    }

    /// Waits until a backend waits for a lock with a statement like that.
    pub(crate) fn await_waiting(&self, like: &str) {
        eventually(&format!("a '{like}' that waits"), || {
            if self.is_waiting(like) { Ok(()) } else { Err("none".to_owned()) }
        });
    }

    pub(crate) fn is_waiting(&self, like: &str) -> bool {
        self.number(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND wait_event_type = 'Lock' AND query LIKE '{like}'"
        )) > 0
    }

    /// The offsets of a partition that are rows, in order.
    pub(crate) fn offsets(&self, partition: i32) -> Vec<i64> {
        let sql = format!(
            "SELECT kafka_offset FROM orders WHERE kafka_partition = {partition} ORDER BY 1"
        );
        self.rows(&sql).iter().map(|row| row[0].parse().unwrap()).collect()
    }

    /// Where the only lane of a partition stands.
    pub(crate) fn checkpoint(&self, partition: i32) -> i64 {
        self.number(&format!(
            "SELECT next_offset FROM tidegate.checkpoints \
             WHERE topic = '{}' AND partition = {partition}",
            self.name
        ))
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.sql.query_one_i64(sql).unwrap()
    }
}

/// A table of texts, to compare rows with.
pub(crate) fn grid<const N: usize>(rows: &[[&str; N]]) -> Vec<Vec<String>> {
    rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
}
