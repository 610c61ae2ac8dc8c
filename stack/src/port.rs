//! Free ports of 127.0.0.1.

use std::{
    net::TcpListener,
    os::{linux::net::SocketAddrExt, unix::net},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{Error, Result};

/// Below the range that the kernel hands out to outgoing connections (32768 and up on Linux):
/// while a server is down, a client that keeps trying would sooner or later be given the server's
/// own port, connect to itself and keep the server from coming back.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port that nobody listens on and that nobody else is given while this process lives: not before
/// its server listens, and not while a test has that server killed. A broker whose port belongs to
/// another cluster meanwhile would talk to it.
pub fn free_port() -> Result<u16> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    static TAKEN: Mutex<Vec<net::UnixListener>> = Mutex::new(Vec::new());
    let start = std::process::id().wrapping_mul(41);
    for _ in 0..COUNT {
        let offset = start.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % u32::from(COUNT);
        let port = FIRST + offset as u16;
        let Some(name) = take_name(port) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(name);
            return Ok(port);
        }
    }
    Err(Error::NoFreePort { first: FIRST, last: FIRST + COUNT - 1 })
}

/// An abstract socket has a name that one process of the machine can hold, until it ends.
fn take_name(port: u16) -> Option<net::UnixListener> {
    let name = format!("tidegate-stack-port-{port}");
    let address = net::SocketAddr::from_abstract_name(name).ok()?;
    net::UnixListener::bind_addr(&address).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_gives_the_same_port_twice_nor_one_in_use() {
        let first = free_port().unwrap();
        let taken = TcpListener::bind(("127.0.0.1", first + 1));
        let second = free_port().unwrap();
        assert_ne!(first, second);
        if taken.is_ok() {
            assert_ne!(second, first + 1);
        }
    }

    #[test]
    fn a_port_is_nobody_elses_although_nobody_listens() {
        let port = free_port().unwrap();
        assert!(take_name(port).is_none());
        drop(TcpListener::bind(("127.0.0.1", port)).unwrap());
        assert!(take_name(port).is_none());
    }
}
