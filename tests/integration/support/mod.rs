//! What the tests stand on.

mod chance;
mod orders;
mod records;
mod servers;
mod tidegate;
mod wait;
mod world;

pub(crate) use chance::Chance;
pub(crate) use orders::{Got, RunningLoad, load, orders_profile, start_load};
pub(crate) use records::{
    Message, cluster_id, committed, delete_records_before, expected_poison, produce, watermarks,
};
pub(crate) use servers::{FragilePostgres, fragile_postgres, kafka, postgres};
pub(crate) use tidegate::{Counts, Exit, Tidegate};
pub(crate) use wait::{LIMIT, eventually, eventually_within};
pub(crate) use world::{World, grid};
