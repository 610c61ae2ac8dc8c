//! Real Kafka and real Postgres as child processes of the program that needs them: the demo, the
//! tests and the benches.
//!
//! [`Kafka`] runs one or three KRaft brokers, [`Postgres`] one server; both on free ports of
//! 127.0.0.1, in folders of their own. [`Registry`] is a schema
//! registry, and [`Connect`] lets Debezium read a Postgres; [`Prometheus`] scrapes. A [`Postgres`] may have a standby and a [`Disk`] that fills up. [`Proxy`] stands between a client and a server and delays,
//! stalls or cuts what passes, and [`Program`] runs the service itself. Every method blocks, takes `&self` and may be called from any
//! thread, so a test binary can share one stack in a `static`.
//!
//! Nothing outlives the owner. Each server lives in a home, a folder with a *keeper*: a process
//! that waits for the owner's end of a pipe to close, then kills whatever still runs in that home
//! and deletes it. The kernel closes the pipe however the owner dies, by `kill -9` too, and at the
//! exit of a process whose statics are never dropped. A shell that works inside a home goes too.

mod connect;
mod disk;
mod error;
mod home;
mod http;
mod kafka;
mod port;
mod postgres;
mod process;
mod process_table;
mod program;
mod prometheus;
mod proxy;
mod registry;
mod runtime;

pub use connect::Connect;
pub use disk::Disk;
pub use error::{Error, Result, with_causes};
pub use http::http_get;
pub use kafka::{Broker, KAFKA_VERSION, Kafka, KafkaOptions, cache};
pub use port::free_port;
pub use postgres::{Client, Postgres, PostgresOptions, StopMode};
pub use process::State;
pub use process_table::own_cpu_seconds;
pub use program::Program;
pub use prometheus::{Prometheus, promtool};
pub use proxy::Proxy;
pub use registry::Registry;
