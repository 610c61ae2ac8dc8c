//! Asks a program's HTTP server, such as the service's admin server.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Status code and body of a page; each step may take as long as `limit`.
///
/// # Errors
/// When nobody listens on `address`, or what is there does not answer in time or not in HTTP.
pub fn http_get(address: &str, path: &str, limit: Duration) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    // HTTP/1.0, whose answers come in one piece and end with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let parsed = || {
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let code = head.strip_prefix("HTTP/1.0 ")?.get(..3)?.parse().ok()?;
        Some((code, body.to_owned()))
    };
    parsed().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, answer.clone()))
}
