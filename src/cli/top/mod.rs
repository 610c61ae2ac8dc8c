//! `tidegate top`: the status page in the terminal.

mod frame;
mod terminal;

use std::{
    io::IsTerminal as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};
use ureq::Agent;

use super::{ConfigArgs, say};
use crate::{
    error::{Error, ErrorKind},
    snapshot::Snapshot,
};
use frame::Frame;
use terminal::Terminal;

const PERIOD: Duration = Duration::from_secs(1);
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Bounded: whoever listens there may not be a tidegate.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
const CTRL_C: u8 = 3;

#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// The tidegate to look at.
    #[arg(long, default_value = "http://127.0.0.1:9187", value_name = "URL")]
    url: String,
    /// Look at the tidegate that runs on this machine with this configuration.
    #[arg(short, long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// Overrides one key of the file, and its TIDEGATE__ variable.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "config")]
    overrides: Vec<String>,
    /// Show it once and end; so it is without a terminal.
    #[arg(long)]
    once: bool,
}

pub(super) fn run(arguments: &TopArgs) -> Result<(), Error> {
    let instance = Instance::new(base_url(arguments)?);
    let first = instance.ask()?;
    if arguments.once || !std::io::stdout().is_terminal() {
        return say(&Frame::whole(&instance.url).draw(&first, None));
    }
    let runtime = runtime::Builder::new_current_thread().enable_io().build().map_err(unwatched)?;
    runtime.block_on(watch(instance, first))
}

fn unwatched(error: std::io::Error) -> Error {
    Error::software(format!("cannot watch the terminal: {error}"))
}

/// Draws until it is told to stop: q, Ctrl-C, or a signal.
async fn watch(instance: Instance, first: Snapshot) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(unwatched)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unwatched)?;
    let mut resized = signal(SignalKind::window_change()).map_err(unwatched)?;
    let url = instance.url.clone();
    let mut answers = instance.ask_on();
    let (terminal, mut keys) = Terminal::open()?;
    let (mut seen, mut answered, mut trouble) = (first, Instant::now(), None);
    loop {
        let frame = Frame::of(&url, terminal.size());
        let trouble_for = trouble.as_ref().map(|error| (answered.elapsed(), error));
        terminal.show(&frame.draw(&seen, trouble_for))?;
        tokio::select! {
            Some(answer) = answers.recv() => match answer {
                Ok(new) => (seen, answered, trouble) = (new, Instant::now(), None),
                Err(error) => trouble = Some(error),
            },
            key = keys.recv() => if matches!(key, None | Some(b'q' | b'Q' | CTRL_C)) { return Ok(()) },
            _ = resized.recv() => {}
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// A running tidegate.
struct Instance {
    agent: Agent,
    url: String,
}

impl Instance {
    fn new(url: String) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(ANSWER_MAX));
        Self { agent: config.build().into(), url }
    }

    /// Asks again and again, on a thread that ends with the process: an answer may take its time, a key
    /// may not.
    fn ask_on(self) -> UnboundedReceiver<Result<Snapshot, Error>> {
        let (sender, answers) = unbounded_channel();
        thread::spawn(move || {
            while sender.send(self.ask()).is_ok() {
                thread::sleep(PERIOD);
            }
        });
        answers
    }

    fn ask(&self) -> Result<Snapshot, Error> {
        let url = format!("{}/status", self.url);
        let away = |error: ureq::Error| {
            Error::unavailable(format!(
                "no tidegate answers on {url}: {error}; is it running, and can its admin.listen be \
                 reached from here? --url names another"
            ))
        };
        let mut answer = self.agent.get(&url).call().map_err(away)?;
        let code = answer.status().as_u16();
        if code != 200 {
            return Err(Error::unavailable(format!(
                "{url} answers with HTTP {code}; is this the admin address of a tidegate?"
            )));
        }
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        serde_json::from_slice(&body.map_err(away)?).map_err(|error| {
            Error::unavailable(format!(
                "{url} does not answer as a tidegate does ({error}); is it one, of this version?"
            ))
        })
    }
}

fn base_url(arguments: &TopArgs) -> Result<String, Error> {
    let Some(file) = &arguments.config else { return named(&arguments.url) };
    let (config, overrides) = (file.clone(), arguments.overrides.clone());
    let listen = ConfigArgs { config, overrides }.load()?.admin.listen;
    Ok(format!("http://{}", reachable(listen)))
}

fn named(url: &str) -> Result<String, Error> {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix("/status").unwrap_or(url);
    match url.split_once("://") {
        None => Ok(format!("http://{url}")),
        Some(("http", _)) => Ok(url.to_owned()),
        Some((scheme, _)) => Err(Error::new(
            ErrorKind::Usage,
            format!("--url {url}: {scheme} is not supported; give http://host:port"),
        )),
    }
}

/// Where to reach what listens on all addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_may_be_named_in_several_ways() {
        for url in ["http://a:1", "a:1", "http://a:1/", "http://a:1/status"] {
            assert_eq!(named(url).unwrap(), "http://a:1", "{url}");
        }
        assert_eq!(named("http://gate/tide/").unwrap(), "http://gate/tide");
        assert!(named("https://a").unwrap_err().message.contains("http://host:port"));
        for (listen, expected) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:2", "10.0.0.1:2")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        }
    }
}
