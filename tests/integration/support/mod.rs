//! What the tests stand on.

mod acls;
mod browser;
mod chance;
mod members;
mod orders;
mod records;
mod servers;
mod tidegate;
mod transactions;
mod wait;
mod world;

pub(crate) use acls::{Acl, allow};
pub(crate) use browser::{Browser, Tab};
pub(crate) use chance::Chance;
pub(crate) use members::{await_owned, await_settled};
pub(crate) use orders::{RunningLoad, load, load_of, orders_profile, start_load};
pub(crate) use records::{
    Message, Received, committed, coordinator_of, delete_group, delete_records_before,
    expected_poison, join_group, leader_of, produce, produce_to, produce_with_header, read_topic,
    watermarks,
};
pub(crate) use servers::{fragile_kafka, fragile_postgres, kafka, postgres};
pub(crate) use tidegate::{Exit, Tidegate};
pub(crate) use transactions::Transactions;
pub(crate) use wait::{LIMIT, eventually, eventually_within};
pub(crate) use world::{World, grid};
