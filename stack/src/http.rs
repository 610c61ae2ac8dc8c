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
    ask(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"), limit)
}

/// As [`http_get`], with a body of JSON to be posted.
///
/// # Errors
/// As for [`http_get`].
pub(crate) fn http_post(
    address: &str,
    path: &str,
    body: &str,
    limit: Duration,
) -> io::Result<(u16, String)> {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    ask(address, &request, limit)
}

/// HTTP/1.0, whose answers come in one piece and end with the connection.
fn ask(address: &str, request: &str, limit: Duration) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let parsed = || {
        let (head, body) = answer.split_once("\r\n\r\n")?;
        // Some servers tell their own version.
        let code = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
        Some((code, body.to_owned()))
    };
    parsed().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, answer.clone()))
}
