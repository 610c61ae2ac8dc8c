//! One broker, which is also a controller.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use rdkafka::{
    ClientConfig,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer},
};

use super::{
    KafkaOptions,
    jars::Jars,
    properties::{self, Node},
};
use crate::{
    Error, Result,
    process::{Process, State},
};

const START_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Broker {
    id: i32,
    port: u16,
    heap_mib: u32,
    jars: Jars,
    folder: PathBuf,
    process: Process,
}

/// Writes each broker's files and formats its storage, unless a former run did.
pub(super) fn set_up(
    home: &Path,
    jars: &Jars,
    nodes: &[Node],
    options: &KafkaOptions,
) -> Result<Vec<Broker>> {
    let heap_mib = options.heap_mib.unwrap_or(if nodes.len() > 1 { 512 } else { 1024 });
    let mut brokers = Vec::new();
    let mut formats = Vec::new();
    for node in nodes {
        let name = format!("kafka-{}", node.id);
        let folder = home.join(&name);
        let data = folder.join("data");
        // The JVM and its native libraries leave files in java.io.tmpdir.
        fs::create_dir_all(folder.join("tmp")).map_err(Error::io("create", &folder))?;
        let server = properties::render(node, nodes, &data, &options.settings);
        write(&folder.join("server.properties"), &server)?;
        write(&folder.join("log4j2.properties"), properties::LOG4J)?;

        let process = Process::new(&name, folder.clone(), folder.join("kafka.log"));
        let (id, port, jars) = (i32::from(node.id), node.client_port, jars.clone());
        let broker = Broker { id, port, heap_mib, jars, folder, process };
        if !data.join("meta.properties").exists() {
            formats.push((name, broker.format(&cluster_id(home))?));
        }
        brokers.push(broker);
    }
    for (name, format) in formats {
        let output = format.wait_with_output().map_err(Error::io("wait for", "kafka-storage"))?;
        check_format(&name, &output)?;
    }
    Ok(brokers)
}

impl Broker {
    pub fn id(&self) -> i32 {
        self.id
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> Result<u32> {
        self.process.pid()
    }

    pub fn state(&self) -> State {
        self.process.state()
    }

    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// SIGKILL.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// SIGTERM: hands its partitions to the other brokers and leaves.
    pub fn stop(&self) -> Result<()> {
        self.process.stop(Signal::SIGTERM, STOP_LIMIT).map(drop)
    }

    /// Starts a stopped or killed broker on the same data and port; returns when it serves again.
    pub fn start(&self) -> Result<()> {
        self.spawn()?;
        self.wait_until_ready(&[self.id])
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn suspend(&self) -> Result<()> {
        self.process.suspend()
    }

    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// CPU time since the last start.
    pub fn cpu_seconds(&self) -> f64 {
        self.process.cpu_seconds()
    }

    pub(super) fn spawn(&self) -> Result<()> {
        let mut command = self.java();
        command.arg(format!("-Xmx{}m", self.heap_mib));
        command.args(["-cp", &self.jars.class_path, "kafka.Kafka", "server.properties"]);
        self.process.spawn(command)
    }

    /// Waits until this broker itself lists all of `ids` as live.
    pub(super) fn wait_until_ready(&self, ids: &[i32]) -> Result<()> {
        self.process.wait_until_ready(START_LIMIT, || self.check_lists(ids))
    }

    fn check_lists(&self, ids: &[i32]) -> Result<(), String> {
        // A look at the port first: a client that is refused backs off for longer and longer.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).map_err(|error| error.to_string())?;
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", format!("127.0.0.1:{}", self.port))
            .set_log_level(RDKafkaLogLevel::Emerg)
            .create()
            .map_err(|error| error.to_string())?;
        let metadata =
            client.fetch_metadata(None, ANSWER_LIMIT).map_err(|error| error.to_string())?;
        let live: Vec<i32> = metadata.brokers().iter().map(|broker| broker.id()).collect();
        if ids.iter().all(|id| live.contains(id)) {
            Ok(())
        } else {
            Err(format!("it lists the brokers {live:?}"))
        }
    }

    fn format(&self, cluster_id: &str) -> Result<std::process::Child> {
        self.java()
            // The tool ends before the optimising compiler would pay.
            .args(["-XX:TieredStopAtLevel=1", "-cp", &self.jars.class_path])
            .args([
                "kafka.tools.StorageTool",
                "format",
                "-t",
                cluster_id,
                "-c",
                "server.properties",
            ])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io("start", "java"))
    }

    fn java(&self) -> Command {
        let mut command = Command::new("java");
        // Performance data would stay behind in /tmp/hsperfdata_<user> after kill -9.
        command
            .arg("-XX:-UsePerfData")
            .arg(format!("-XX:SharedArchiveFile={}", self.jars.archive.display()))
            .arg(format!("-Djava.io.tmpdir={}", self.folder.join("tmp").display()))
            .arg("-Dlog4j2.configurationFile=log4j2.properties");
        command
    }
}

/// All brokers of a cluster need the same, and no other cluster: one that meets a broker of another
/// has to refuse it. 16 bytes in base64, of which the last character holds two bits.
fn cluster_id(home: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    home.hash(&mut hasher);
    format!("stack{:016x}A", hasher.finish())
}

fn check_format(name: &str, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let tail = [&output.stdout[..], &output.stderr[..]].concat();
    Err(Error::Exited {
        name: format!("the storage tool of {name}"),
        status: output.status,
        log_tail: String::from_utf8_lossy(&tail).into_owned(),
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io("write", path))
}
