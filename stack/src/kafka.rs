//! A Kafka cluster in KRaft mode: one broker, or three that survive the loss of any one.

mod admin;
mod broker;
mod jars;
mod properties;

use std::{path::PathBuf, thread};

pub use broker::Broker;
pub(crate) use jars::class_path;
pub use jars::{VERSION as KAFKA_VERSION, cache};

use crate::{Error, Proxy, Result, State, home::Home, port::free_port};
use admin::Admin;
use properties::Node;

#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// 1, or 3: a quorum of three controllers, replication factor 3, `min.insync.replicas` 2.
    pub brokers: u16,
    /// Where the data stays when the owner ends; a temporary folder when there is none.
    pub data_dir: Option<PathBuf>,
    /// Added to `server.properties` of every broker; the later of two equal keys counts.
    pub settings: Vec<(String, String)>,
    /// Puts a [`Proxy`] before each broker, for clients that start from
    /// [`Kafka::proxied_bootstrap_servers`]: to them the brokers advertise the proxies.
    pub proxied: bool,
    /// Heap of each broker; 1 GiB for one, 512 MiB for each of three when there is none.
    pub heap_mib: Option<u32>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self { brokers: 1, data_dir: None, settings: Vec::new(), proxied: false, heap_mib: None }
    }
}

#[derive(Debug)]
pub struct Kafka {
    // Dropped first: its keeper ends the brokers, which are then reaped.
    home: Home,
    brokers: Vec<Broker>,
    proxies: Vec<Proxy>,
    admin: Admin,
}

impl Kafka {
    /// Starts the brokers and returns when each of them answers and knows of all the others.
    pub fn start(options: KafkaOptions) -> Result<Self> {
        if !matches!(options.brokers, 1 | 3) {
            return Err(Error::BrokerCount { brokers: options.brokers });
        }
        let jars = jars::find()?;
        let home = Home::open("kafka", options.data_dir.as_deref())?;
        let mut proxies = Vec::new();
        let nodes = (1..=options.brokers)
            .map(|id| {
                let mut node = Node::new(id)?;
                if options.proxied {
                    let proxy = Proxy::start(([127, 0, 0, 1], free_port()?).into())?;
                    node.proxied = Some((proxy.target().port(), proxy.port()));
                    proxies.push(proxy);
                }
                Ok(node)
            })
            .collect::<Result<Vec<_>>>()?;
        let brokers = broker::set_up(home.path(), &jars, &nodes, &options)?;
        let admin = Admin::new(&addresses(nodes.iter().map(|node| node.client_port)))?;

        let kafka = Self { home, brokers, proxies, admin };
        kafka.brokers.iter().try_for_each(Broker::spawn)?;
        let all: Vec<i32> = kafka.brokers.iter().map(Broker::id).collect();
        kafka.brokers.iter().try_for_each(|broker| broker.wait_until_ready(&all))?;
        Ok(kafka)
    }

    /// `host:port` of every broker, separated by commas.
    pub fn bootstrap_servers(&self) -> String {
        addresses(self.brokers.iter().map(Broker::port))
    }

    /// `host:port` of every broker's proxy; empty without [`KafkaOptions::proxied`].
    pub fn proxied_bootstrap_servers(&self) -> String {
        addresses(self.proxies.iter().map(Proxy::port))
    }

    /// The broker with the id `id`, which counts from 1.
    ///
    /// # Panics
    /// When there is no such broker.
    pub fn broker(&self, id: usize) -> &Broker {
        &self.brokers[id - 1]
    }

    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// The proxy before the broker with the id `id`.
    ///
    /// # Panics
    /// When there is no such broker, or without [`KafkaOptions::proxied`].
    pub fn proxy(&self, id: usize) -> &Proxy {
        &self.proxies[id - 1]
    }

    /// Creates a topic with as many replicas as there are brokers, and returns when every
    /// partition has a leader.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<()> {
        self.admin.create_topic(name, partitions, self.brokers.len() as i32, settings)
    }

    /// Gives a topic so many partitions in all, and returns when every one has a leader.
    pub fn add_partitions(&self, name: &str, partitions: i32) -> Result<()> {
        self.admin.add_partitions(name, partitions)
    }

    /// Deletes a topic and returns when the brokers no longer list it.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        self.admin.delete_topic(name)
    }

    /// CPU time of the brokers since their last start.
    pub fn cpu_seconds(&self) -> f64 {
        self.brokers.iter().map(Broker::cpu_seconds).sum()
    }

    /// Starts the brokers that are not running.
    pub fn start_again(&self) -> Result<()> {
        self.at_once(|broker| match broker.state() {
            State::Stopped => broker.start(),
            _ => Ok(()),
        })
    }

    /// Stops the brokers that are running, in an orderly way.
    pub fn stop(&self) -> Result<()> {
        self.at_once(|broker| match broker.state() {
            State::Stopped => Ok(()),
            _ => broker.stop(),
        })
    }

    /// One after the other does not do: neither the first nor the last broker of three has a
    /// quorum to come up with or to take leave of.
    fn at_once(&self, act: impl Fn(&Broker) -> Result<()> + Sync) -> Result<()> {
        let act = &act;
        let ends: Vec<Result<()>> = thread::scope(|scope| {
            let threads: Vec<_> =
                self.brokers.iter().map(|broker| scope.spawn(move || act(broker))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        ends.into_iter().collect()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if !self.home.is_temporary() {
            // The keeper kills what does not stop.
            self.stop().ok();
        }
    }
}

fn addresses(ports: impl Iterator<Item = u16>) -> String {
    ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}
