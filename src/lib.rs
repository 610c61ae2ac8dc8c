//! Tidegate: Kafka into Postgres.

pub mod format;
pub mod record;
pub mod rejection;
pub mod row;
pub mod sink;
