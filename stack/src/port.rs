//! Free ports of 127.0.0.1.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{Error, Result};

/// Below the range that the kernel hands out to outgoing connections (32768 and up on Linux):
/// while a server is down, a client that keeps trying would sooner or later be given the server's
/// own port, connect to itself and keep the server from coming back.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port that nobody listens on. Processes started in a row search in different places, so they
/// do not take each other's port before their servers listen.
pub fn free_port() -> Result<u16> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(41);
    for _ in 0..COUNT {
        let offset = start.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % u32::from(COUNT);
        let port = FIRST + offset as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::NoFreePort { first: FIRST, last: FIRST + COUNT - 1 })
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
}
