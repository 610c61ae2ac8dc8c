//! Who is measured, each in the fastest configuration in which it loses no record.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    common::{Result, Servers},
    report::{Contender, OURS},
};

/// Where the configurations of the peers are.
const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers");
const DRAIN_CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/drain/tidegate.toml");

pub(crate) struct Peer {
    /// As in `PEERS` and `setup.sh`.
    pub(crate) name: &'static str,
    title: &'static str,
    /// What a reader has to know to judge it.
    how: &'static str,
    /// From its first row on; one that is slower is stopped, and its rate is that of what it wrote.
    pub(crate) limit: Duration,
    command: fn(&Path) -> Command,
}

const LIMIT: Duration = Duration::from_secs(60);
const SLOW_LIMIT: Duration = Duration::from_secs(20);

pub(crate) const TIDEGATE: Peer = Peer {
    name: OURS,
    title: "tidegate",
    how: "exactly once, all defaults (`benches/drain/tidegate.toml`)",
    limit: LIMIT,
    command: tidegate,
};

pub(crate) const PEERS: [Peer; 5] = [
    Peer {
        name: "go",
        title: "Go, COPY loop",
        how: "at least once, written by hand: franz-go, encoding/json, pgx's binary COPY of 10,000 rows on \
            4 connections",
        limit: LIMIT,
        command: go,
    },
    Peer {
        name: "python",
        title: "Python, a row at a time",
        how: "may lose and double: a commit for each row, offsets committed by the client's timer",
        limit: SLOW_LIMIT,
        command: python,
    },
    Peer {
        name: "telegraf",
        title: "Telegraf",
        how: "at least once: COPY of 10,000 rows on one connection; with more it acknowledges what it has \
            not written",
        limit: LIMIT,
        command: telegraf,
    },
    Peer {
        name: "connect",
        title: "Debezium JDBC sink",
        how: "at least once, on Kafka Connect: 2 tasks, batches of 10,000 by unnest, heap of 2 GB",
        limit: LIMIT,
        command: connect,
    },
    Peer {
        name: "flink",
        title: "Flink SQL to JDBC",
        how: "at least once: parallelism 2, rewritten INSERTs of 5,000 rows, timestamps as text, heap of 2 GB",
        limit: LIMIT,
        command: flink,
    },
];

impl Peer {
    /// The peers that `PEERS` names, separated by commas; all if it is empty.
    pub(crate) fn select(names: &str) -> Result<Vec<&'static Self>> {
        const ALL: &[Peer] = &PEERS;
        let names: Vec<&str> = names.split(',').filter(|name| !name.is_empty()).collect();
        if let Some(name) = names.iter().find(|name| ALL.iter().all(|peer| peer.name != **name)) {
            let known = PEERS.map(|peer| peer.name).join(", ");
            return Err(format!("PEERS names '{name}', which is none of {known}").into());
        }
        Ok(ALL.iter().filter(|peer| names.is_empty() || names.contains(&peer.name)).collect())
    }

    /// Starts at the first record of the topic, as the consumer group `group`.
    pub(crate) fn command(&self, servers: &Servers, group: &str) -> Result<Command> {
        let mut command = (self.command)(&self.folder());
        let postgres = &servers.postgres;
        let url = postgres.url();
        let (user, password, address) = url_parts(&url).ok_or("the URL of Postgres is no URL")?;
        command
            .env("KAFKA_BROKERS", servers.kafka.bootstrap_servers())
            .env("KAFKA_GROUP", group)
            .env("JDBC_URL", format!("jdbc:postgresql://{address}"))
            .env("JDBC_USER", user)
            .env("JDBC_PASSWORD", password)
            .env("REST_PORT", stack::free_port()?.to_string())
            .env("TIDEGATE__ADMIN__LISTEN", format!("127.0.0.1:{}", stack::free_port()?))
            .env("DATABASE_URL", url);
        Ok(command)
    }

    pub(crate) fn contender(&self) -> Result<Contender> {
        Ok(Contender {
            name: self.name,
            title: self.title,
            how: self.how,
            version: self.version()?,
            limit_s: self.limit.as_secs(),
        })
    }

    /// As `setup.sh` has written it down.
    fn version(&self) -> Result<String> {
        if self.name == OURS {
            return Ok(format!("tidegate {}", env!("CARGO_PKG_VERSION")));
        }
        let path = self.folder().join("version");
        let text = std::fs::read_to_string(&path).map_err(|error| {
            format!("{}: {error}; run benches/peers/setup.sh {}", path.display(), self.name)
        })?;
        Ok(text.trim().to_owned())
    }

    /// Where `setup.sh` puts it.
    fn folder(&self) -> PathBuf {
        stack::cache(&format!("peers/{}", self.name))
    }
}

/// User, password and what stands behind them.
fn url_parts(url: &str) -> Option<(&str, &str, &str)> {
    let (who, address) = url.strip_prefix("postgres://")?.split_once('@')?;
    let (user, password) = who.split_once(':')?;
    Some((user, password, address))
}

fn tidegate(_: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["run", "--config", DRAIN_CONFIG]);
    command
}

fn go(folder: &Path) -> Command {
    Command::new(folder.join("drain"))
}

fn python(folder: &Path) -> Command {
    let mut command = Command::new(folder.with_file_name("venv").join("bin/python"));
    command.arg(format!("{HERE}/python/row.py"));
    command
}

fn telegraf(folder: &Path) -> Command {
    let mut command = Command::new(folder.join("telegraf"));
    command.arg("--config").arg(format!("{HERE}/telegraf/telegraf.conf"));
    command
}

fn connect(folder: &Path) -> Command {
    let jars = ["worker/*", "plugins/debezium-connector-jdbc/*"];
    let mut command = java(folder, &jars);
    command
        .arg("org.apache.kafka.connect.cli.ConnectStandalone")
        .arg(format!("{HERE}/connect/worker.properties"))
        .arg(format!("{HERE}/connect/sink.properties"));
    command
}

/// Flink's serializers look into these packages of Java.
const OPENED: [&str; 10] = [
    "java.lang",
    "java.util",
    "java.net",
    "java.io",
    "java.nio",
    "java.time",
    "java.text",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "sun.net.util",
];

fn flink(folder: &Path) -> Command {
    let mut command = java(folder, &["classes", "lib/*"]);
    command
        .args(OPENED.map(|package| format!("--add-opens=java.base/{package}=ALL-UNNAMED")))
        .args(["-Duser.timezone=UTC", "Drain"]);
    command
}

/// The parallel collector is the fastest on few cores.
fn java(folder: &Path, jars: &[&str]) -> Command {
    let jars = jars.iter().map(|jars| folder.join(jars).display().to_string());
    let mut command = Command::new("java");
    command
        .args(["-XX:-UsePerfData", "-XX:+UseParallelGC", "-Xms2g", "-Xmx2g"])
        .arg(format!("-Dlog4j2.configurationFile={HERE}/log4j2.properties"))
        .args(["-cp", &jars.collect::<Vec<_>>().join(":")]);
    command
}
