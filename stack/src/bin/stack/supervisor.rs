//! The process that owns Kafka and Postgres and takes orders.

use std::{
    error::Error,
    fs::{self, File},
    io::{self, BufRead, BufReader, IsTerminal, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use stack::{Kafka, KafkaOptions, Postgres, PostgresOptions, State};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Up, describe, key_value,
    service::{Act, Service},
    state_dir::StateDir,
};

/// What a supervisor prints last, when it takes orders.
const READY: &str = "ready";
/// A client sends its order at once, or is no client.
const ORDER_LIMIT: Duration = Duration::from_secs(5);

/// Starts a supervisor in the background and returns when it is ready.
pub(crate) fn detach(state_dir: &StateDir) -> Result<(), Box<dyn Error>> {
    state_dir.create()?;
    state_dir.check_free()?;
    let log = File::create(state_dir.log())?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--detach");
    let mut supervisor = Command::new(std::env::current_exe()?)
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()?;
    let stdout = supervisor.stdout.take().ok_or("the supervisor has no output")?;
    for line in BufReader::new(stdout).lines() {
        match line? {
            line if line == READY => return Ok(()),
            line => println!("{line}"),
        }
    }
    supervisor.wait()?;
    let log = fs::read_to_string(state_dir.log()).unwrap_or_default();
    state_dir.clear();
    Err(log.trim_end().trim_start_matches("stack: ").to_owned().into())
}

/// Starts Kafka and Postgres and serves orders until one is `down`, or a signal comes.
pub(crate) fn run(state_dir: &StateDir, up: Up) -> Result<(), Box<dyn Error>> {
    state_dir.create()?;
    let lock = state_dir.claim()?;
    let (kafka, postgres) = start(up)?;
    let listener = state_dir.listen()?;
    let env =
        format!("KAFKA_BROKERS={}\nDATABASE_URL={}\n", kafka.bootstrap_servers(), postgres.url());
    state_dir.write_env(&env)?;
    end_on_signal(StateDir::new(state_dir.path().to_owned()))?;
    println!("{env}{READY}");

    for stream in listener.incoming() {
        let stream = stream?;
        if is_down(&stream, &kafka, &postgres) {
            drop((kafka, postgres));
            state_dir.clear();
            drop(lock);
            // Whoever asked is told by the answer that all is gone.
            (&stream).write_all(b"ok\n").ok();
            return Ok(());
        }
    }
    Ok(())
}

fn start(up: Up) -> Result<(Kafka, Postgres), Box<dyn Error>> {
    let kafka_options = KafkaOptions {
        brokers: up.brokers,
        data_dir: up.data_dir.as_ref().map(|folder| folder.join("kafka")),
        settings: up.kafka_settings,
        ..KafkaOptions::default()
    };
    let postgres_options = PostgresOptions {
        data_dir: up.data_dir.as_ref().map(|folder| folder.join("postgres")),
        settings: up.postgres_settings,
    };
    thread::scope(|scope| {
        let kafka = scope.spawn(|| Kafka::start(kafka_options));
        let postgres = Postgres::start(postgres_options)?;
        let kafka = kafka.join().map_err(|_| "the start of Kafka panicked")??;
        Ok((kafka, postgres))
    })
}

/// Serves one order; true if it is the last one, which is then still to be answered.
fn is_down(stream: &UnixStream, kafka: &Kafka, postgres: &Postgres) -> bool {
    let mut order = String::new();
    let read = stream
        .set_read_timeout(Some(ORDER_LIMIT))
        .and_then(|()| BufReader::new(stream).read_line(&mut order));
    if read.is_err() {
        return false;
    }
    if order.trim() == "down" {
        return true;
    }
    let reply = match serve(&order, kafka, postgres) {
        Ok(text) => format!("ok\n{text}"),
        Err(error) => format!("error\n{}\n", describe(&*error)),
    };
    // A client that did not wait does not want it.
    (&mut &*stream).write_all(reply.as_bytes()).ok();
    false
}

fn serve(order: &str, kafka: &Kafka, postgres: &Postgres) -> Result<String, Box<dyn Error>> {
    let words: Vec<&str> = order.split_ascii_whitespace().collect();
    match words.as_slice() {
        ["status"] => return Ok(status(kafka, postgres)),
        ["create-topic", name, partitions, settings @ ..] => {
            let settings =
                settings.iter().map(|text| key_value(text)).collect::<Result<Vec<_>, _>>()?;
            let settings: Vec<(&str, &str)> =
                settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            kafka.create_topic(name, partitions.parse()?, &settings)?;
        }
        ["delete-topic", name] => kafka.delete_topic(name)?,
        [act, service] => {
            let (act, service): (Act, Service) = (act.parse()?, service.parse()?);
            if !service.is_in(kafka) {
                return Err(format!("there is no {service} in this stack").into());
            }
            service.act(act, kafka, postgres)?;
        }
        _ => return Err(format!("'{}' is no order", order.trim()).into()),
    }
    Ok(String::new())
}

fn status(kafka: &Kafka, postgres: &Postgres) -> String {
    let mut lines: Vec<String> = kafka
        .brokers()
        .iter()
        .map(|broker| {
            let name = format!("kafka-{}", broker.id());
            let pid = broker.pid().ok();
            status_line(&name, broker.state(), pid, broker.port(), broker.cpu_seconds())
        })
        .collect();
    lines.push(status_line(
        "postgres",
        postgres.state(),
        postgres.pid().ok(),
        postgres.port(),
        postgres.cpu_seconds(),
    ));
    lines.concat()
}

fn status_line(name: &str, state: State, pid: Option<u32>, port: u16, cpu_seconds: f64) -> String {
    let state = state.to_string();
    let pid = pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    format!("{name:<9} {state:<9} pid {pid:<8} 127.0.0.1:{port} {cpu_seconds:.1} s of CPU\n")
}

/// Turns SIGINT and SIGTERM into the order `down`. SIGHUP too where a terminal can hang up; a
/// detached supervisor outlives it.
fn end_on_signal(state_dir: StateDir) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let has_terminal = io::stdin().is_terminal();
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            let (mut interrupt, mut terminate, mut hang_up) = (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            );
            loop {
                tokio::select! {
                    _ = interrupt.recv() => break,
                    _ = terminate.recv() => break,
                    _ = hang_up.recv() => if has_terminal { break },
                }
            }
            io::Result::Ok(())
        })?;
        state_dir.order("down").map(drop).map_err(|error| io::Error::other(error.to_string()))
    })?;
    Ok(())
}
