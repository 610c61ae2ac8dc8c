//! What the benches of a whole run have in common: the servers, a load, instances of tidegate.

// No bench uses all of it.
#![allow(dead_code)]

use std::{
    error::Error,
    path::Path,
    process::{Command, ExitCode},
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use loadgen::{Load, Profile, Report};
use stack::{Client, Kafka, KafkaOptions, Postgres, PostgresOptions, Program};

pub(crate) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

pub(crate) const TABLE: &str = "public.orders";
/// Where results are written, in the package's folder, which cargo runs benches in.
pub(crate) const FOLDER: &str = "target/bench";
pub(crate) const COLUMNS: &str = "order_id bigint, customer_id bigint, status text, amount numeric(12,2), \
    currency text, item_count int, express boolean, created_at timestamptz, note text";
/// Of Postgres, besides the defaults of the stack: it keeps its promises, and has room.
pub(crate) const SETTINGS: [(&str, &str); 3] =
    [("fsync", "on"), ("shared_buffers", "2GB"), ("max_wal_size", "16GB")];
const TURN: Duration = Duration::from_millis(10);
const STALL_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(20);

/// A Kafka, and a Postgres with the settings.
pub(crate) struct Servers {
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
    pub(crate) client: Client,
}

impl Servers {
    pub(crate) fn start(more: &[(&str, &str)]) -> Result<Self> {
        let settings = SETTINGS.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let options = PostgresOptions { settings: settings.collect(), data_dir: None };
        let (kafka, postgres) = thread::scope(|scope| {
            let kafka = scope.spawn(|| Kafka::start(KafkaOptions::default()));
            (kafka.join(), Postgres::start(options))
        });
        let kafka = kafka.map_err(|_| "the start of Kafka panicked")??;
        let postgres = postgres?;
        let client = postgres.client()?;
        Ok(Self { kafka, postgres, client })
    }

    /// An empty table of the orders, with `more` columns, and nothing left to write of what was there.
    pub(crate) fn create_table(&self, more: &str) -> Result<()> {
        self.client.execute(&format!("DROP TABLE IF EXISTS {TABLE}"))?;
        self.client.execute(&format!("CREATE TABLE {TABLE} ({COLUMNS}{more})"))?;
        self.client.execute("CHECKPOINT")?;
        Ok(())
    }

    /// Produces orders to `topic`.
    pub(crate) fn produce(&self, topic: &str, profile: Profile, load: Amount) -> Result<Report> {
        let load = Load {
            brokers: self.kafka.bootstrap_servers(),
            topic: topic.to_owned(),
            profile,
            replication: 1,
            count: load.count,
            rate: load.rate,
            duration: load.duration,
            compression: load.compression.unwrap_or("none").to_owned(),
            threads: None,
            // The default of the C library: the least that a producer waits.
            properties: vec![("linger.ms".to_owned(), "5".to_owned())],
            show_progress: false,
        };
        let report = load.run(&AtomicBool::new(false))?;
        match report.error {
            Some(error) => Err(error.into()),
            None => Ok(report),
        }
    }

    /// The sum of the offsets up to which the rows of `group` are durable: the checkpoints move in the
    /// transactions of the rows, and cost nothing to read.
    pub(crate) fn durable(&self, group: &str) -> Result<i64> {
        let exists = "SELECT count(to_regclass('tidegate.checkpoints'))";
        if self.client.query_one_i64(exists)? == 0 {
            return Ok(0);
        }
        Ok(self.client.query_one_i64(&format!(
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM tidegate.checkpoints \
             WHERE consumer_group = '{group}'"
        ))?)
    }

    /// Waits until so much is durable; gives the first sight of any row, and of all.
    pub(crate) fn wait(
        &self,
        group: &str,
        all: i64,
        programs: &[Program],
    ) -> Result<(Sight, Sight)> {
        let mut first = None;
        let mut last = Sight { at: Instant::now(), durable: 0 };
        loop {
            for program in programs {
                if let Some(status) = program.exit_status() {
                    let log_tail = program.log_tail();
                    return Err(format!("tidegate ended with {status}:\n{log_tail}").into());
                }
            }
            let durable = self.durable(group)?;
            if durable > last.durable {
                last = Sight { at: Instant::now(), durable };
                first.get_or_insert(last);
            } else if last.at.elapsed() > STALL_MAX {
                return Err(format!("no row for 60 s after {durable}").into());
            }
            if let Some(first) = first.filter(|_| durable >= all) {
                return Ok((first, last));
            }
            thread::sleep(TURN);
        }
    }
}

/// How much is produced.
#[derive(Default)]
pub(crate) struct Amount {
    pub(crate) count: Option<u64>,
    pub(crate) rate: Option<f64>,
    pub(crate) duration: Option<Duration>,
    pub(crate) compression: Option<&'static str>,
}

/// A moment at which so much was durable.
#[derive(Clone, Copy)]
pub(crate) struct Sight {
    pub(crate) at: Instant,
    pub(crate) durable: i64,
}

/// Starts an instance of tidegate with a configuration of the folder `benches`, with `sets` and all
/// defaults besides.
pub(crate) fn tidegate(
    servers: &Servers,
    config: &str,
    environment: &[(&str, &str)],
    sets: &[&str],
) -> Result<Program> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .args(["run", "--config", &format!("{}/benches/{config}", env!("CARGO_MANIFEST_DIR"))])
        .args(["--set", &format!("admin.listen=127.0.0.1:{}", stack::free_port()?)])
        .args(sets.iter().flat_map(|set| ["--set", *set]))
        .env("KAFKA_BROKERS", servers.kafka.bootstrap_servers())
        .env("DATABASE_URL", servers.postgres.url())
        .envs(environment.iter().copied());
    Ok(Program::start("tidegate", command)?)
}

/// Ends an instance in an orderly way.
pub(crate) fn stop(program: &Program) -> Result<()> {
    let status = program.terminate(STOP_MAX)?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("tidegate ended with {status}:\n{}", program.log_tail()).into()),
    }
}

/// A number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> Result<u64> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    let number = text.replace('_', "").parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{name}={text} is not a number above 0").into())
}

/// The middle of them.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Writes a result to `target/bench/<name>.json`.
pub(crate) fn write(name: &str, value: &serde_json::Value) -> Result<()> {
    std::fs::create_dir_all(FOLDER)?;
    let path = Path::new(FOLDER).join(format!("{name}.json"));
    std::fs::write(&path, format!("{value:#}\n"))?;
    println!("{name}: written to {}", path.display());
    Ok(())
}

/// The floors that are not kept, of those that are known to be or not.
pub(crate) fn missed(floors: impl IntoIterator<Item = (bool, String)>) -> Vec<String> {
    floors.into_iter().filter(|(is_kept, _)| !is_kept).map(|(_, text)| text).collect()
}

/// The end of a bench whose floors were kept, missed, or not come to.
pub(crate) fn end(name: &str, missed: Result<Vec<String>>) -> ExitCode {
    match missed {
        Ok(missed) => {
            missed.iter().for_each(|floor| println!("{name}: MISSED: {floor}"));
            if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{name}: {}", stack::with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}
