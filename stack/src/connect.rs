//! Kafka Connect with Debezium's connector for Postgres.

use std::{fs, path::Path, process::Command, time::Duration};

use crate::{
    Error, Kafka, Postgres, Result,
    home::Home,
    http::http_get,
    kafka::{cache, class_path},
    port::free_port,
    postgres::{PASSWORD, USER},
    process::Process,
};

const DEBEZIUM_VERSION: &str = "3.3.1.Final";
const START_LIMIT: Duration = Duration::from_secs(90);
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// A worker with one connector, whose task has been started.
#[derive(Debug)]
pub struct Connect {
    // Dropped first: its keeper ends the worker, which is then reaped.
    _home: Home,
    process: Process,
}

impl Connect {
    /// Starts to read the tables of a database, which needs `wal_level = logical`, into topics of the
    /// name `<prefix>.<schema>.<table>`, which must be there. `settings` are added to the connector's;
    /// the later of two equal keys counts.
    pub fn start(
        kafka: &Kafka,
        postgres: &Postgres,
        database: &str,
        prefix: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let jars = cache(&format!("debezium-{DEBEZIUM_VERSION}"));
        if !jars.is_dir() {
            return Err(Error::JarsMissing { folder: jars });
        }
        let class_path = format!("{}:{}", class_path()?, jars.join("*").display());
        let home = Home::open("connect", None)?;
        let (folder, port) = (home.path().to_owned(), free_port()?);
        fs::create_dir_all(folder.join("tmp")).map_err(Error::io("create", &folder))?;
        let worker = worker(kafka, &folder, port);
        write(&folder.join("worker.properties"), &worker)?;
        let connector = connector(postgres, database, prefix, settings);
        write(&folder.join("connector.properties"), &connector)?;
        write(&folder.join("log4j2.properties"), LOG4J)?;

        let mut command = Command::new("java");
        command
            .args(["-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "-Xmx384m"])
            .arg(format!("-Djava.io.tmpdir={}", folder.join("tmp").display()))
            .arg("-Dlog4j2.configurationFile=log4j2.properties")
            .args(["-cp", &class_path, "org.apache.kafka.connect.cli.ConnectStandalone"])
            .args(["worker.properties", "connector.properties"]);
        let process = Process::new("connect", folder.clone(), folder.join("connect.log"));
        process.spawn(command)?;
        process.wait_until_ready(START_LIMIT, || {
            let address = format!("127.0.0.1:{port}");
            let path = format!("/connectors/{prefix}/status");
            match http_get(&address, &path, ANSWER_LIMIT) {
                Ok((200, body)) if body.matches("\"RUNNING\"").count() == 2 => Ok(()),
                Ok((code, body)) => Err(format!("HTTP {code} {body}")),
                Err(error) => Err(error.to_string()),
            }
        })?;
        Ok(Self { _home: home, process })
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

fn worker(kafka: &Kafka, folder: &Path, port: u16) -> String {
    format!(
        "bootstrap.servers={}\n\
         key.converter=org.apache.kafka.connect.json.JsonConverter\n\
         value.converter=org.apache.kafka.connect.json.JsonConverter\n\
         offset.storage.file.filename={}\n\
         offset.flush.interval.ms=1000\n\
         listeners=http://127.0.0.1:{port}\n\
         plugin.discovery=service_load\n",
        kafka.bootstrap_servers(),
        folder.join("offsets").display(),
    )
}

fn connector(
    postgres: &Postgres,
    database: &str,
    prefix: &str,
    settings: &[(&str, &str)],
) -> String {
    let mut text = format!(
        "name={prefix}\n\
         connector.class=io.debezium.connector.postgresql.PostgresConnector\n\
         plugin.name=pgoutput\n\
         slot.name={slot}\n\
         publication.name={slot}\n\
         publication.autocreate.mode=filtered\n\
         database.hostname=127.0.0.1\n\
         database.port={port}\n\
         database.user={user}\n\
         database.password={password}\n\
         database.dbname={database}\n\
         topic.prefix={prefix}\n\
         poll.interval.ms=50\n",
        slot = prefix.replace('-', "_"),
        port = postgres.port(),
        user = USER,
        password = PASSWORD,
    );
    for (key, value) in settings {
        text.push_str(&format!("{key}={value}\n"));
    }
    text
}

const LOG4J: &str = "rootLogger.level = info\n\
    rootLogger.appenderRefs = stdout\n\
    rootLogger.appenderRef.stdout.ref = stdout\n\
    appender.stdout.type = Console\n\
    appender.stdout.name = stdout\n";

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io("write", path))
}
