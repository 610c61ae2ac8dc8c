//! Everything that the demo, the tests and the benches rely on, against the real servers. Needs
//! what `scripts/setup.sh` installs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod kafka;
mod owner;
mod postgres;
mod program;
mod proxy;
mod standby;
mod tablespace;
