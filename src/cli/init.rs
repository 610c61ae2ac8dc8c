//! `tidegate init`

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use clap::Args;

use crate::{
    config::{KafkaSource as Config, Secret, Start, TableName},
    error::Error,
    memory::Memory,
    shape::Shape,
    shutdown::Shutdown,
    sink::postgres::ddl,
    source::{Source as _, kafka::KafkaSource},
};

const SAMPLE_RECORDS: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Brokers, comma-separated.
    #[arg(long, default_value = "localhost:9092")]
    brokers: String,
    /// The topic to look at.
    #[arg(long)]
    topic: String,
    /// The table to write to; the topic's name by default.
    #[arg(long)]
    table: Option<String>,
    /// Print only the CREATE TABLE.
    #[arg(long)]
    ddl: bool,
    /// A property for the Kafka client, for example security.protocol=SASL_SSL.
    #[arg(long = "property", value_name = "NAME=VALUE")]
    properties: Vec<String>,
}

pub(super) fn run(arguments: &InitArgs) -> Result<(), Error> {
    let properties = arguments
        .properties
        .iter()
        .map(|property| {
            let pair = property.split_once('=').map(|(k, v)| (k.to_owned(), Secret::new(v)));
            pair.ok_or_else(|| Error::config(format!("--property {property}: expected NAME=VALUE")))
        })
        .collect::<Result<BTreeMap<_, _>, _>>()?;
    let config = Config {
        brokers: arguments.brokers.clone(),
        group: "tidegate-init".to_owned(),
        start: Start::Earliest,
        commit_interval: Duration::from_secs(1),
        properties,
    };
    let memory = Arc::new(Memory::new(64 << 20, 4 << 20));
    let source = KafkaSource::new("init", config, memory, Shutdown::default(), PATIENCE);
    let samples = source.sample(std::slice::from_ref(&arguments.topic), SAMPLE_RECORDS)?;
    let shape = Shape::of_json(&samples);
    if shape.fields.is_empty() {
        return Err(Error::config(format!(
            "{} records of {} were looked at and none is a JSON object",
            samples.len(),
            arguments.topic
        )));
    }
    let name = arguments.table.clone().unwrap_or_else(|| arguments.topic.replace(['.', '-'], "_"));
    let table = match name.split_once('.') {
        Some((schema, name)) => {
            TableName { schema: Some(schema.to_owned()), name: name.to_owned() }
        }
        None => TableName { schema: None, name },
    };
    let sql = ddl::create_table(&table, &shape, &BTreeMap::new(), None)?;
    if arguments.ddl {
        println!("{sql}");
    } else {
        print!("{}", starter(arguments, &table, &sql, samples.len(), shape.fields.len()));
    }
    Ok(())
}

fn starter(
    arguments: &InitArgs,
    table: &TableName,
    sql: &str,
    samples: usize,
    count: usize,
) -> String {
    let InitArgs { brokers, topic, .. } = arguments;
    let commented = sql.replace('\n', "\n# ");
    let mut properties = String::new();
    if !arguments.properties.is_empty() {
        properties.push_str("[sources.kafka.properties]\n");
        for property in &arguments.properties {
            let (name, value) = property.split_once('=').unwrap_or((property, ""));
            // A password belongs into the environment, not into a file.
            let value = if name.contains("password") { "${env:KAFKA_PASSWORD}" } else { value };
            properties.push_str(&format!("{name:?} = {value:?}\n"));
        }
        properties.push('\n');
    }
    format!(
        r#"# {samples} records of {topic} show {count} fields. The table that fits them, which tidegate makes
# itself where it is missing (on_missing_table below):
#
# {commented}

[sources.kafka]
kind = "kafka"
brokers = "{brokers}"

{properties}[sinks.postgres]
kind = "postgres"
url = "${{env:DATABASE_URL}}"

[[routes]]
source = "kafka"
topics = ["{topic}"]

[[routes.to]]
sink = "postgres"
table = "{table}"
on_missing_table = "create"
"#
    )
}
