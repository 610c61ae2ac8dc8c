//! `tidegate healthcheck`

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use clap::Args;

use crate::error::Error;

const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct HealthcheckArgs {
    /// The admin address of the tidegate to ask.
    #[arg(long, default_value = "127.0.0.1:9187", value_name = "HOST:PORT")]
    address: SocketAddr,
    /// Ask only whether it is alive, not whether it is ready.
    #[arg(long)]
    live: bool,
}

pub(super) fn run(arguments: &HealthcheckArgs) -> Result<(), Error> {
    let path = if arguments.live { "/livez" } else { "/readyz" };
    let answer = ask(arguments.address, path).map_err(|error| {
        Error::unavailable(format!("no tidegate answers on {}: {error}", arguments.address))
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.0 200") {
        println!("{}", body.trim());
        return Ok(());
    }
    Err(Error::unavailable(format!("{}: {}", arguments.address, body.trim())))
}

fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    // Bounded: whoever listens there may not be a tidegate.
    stream.take(64 << 10).read_to_string(&mut answer)?;
    Ok(answer)
}
