//! The Postgres sink: micro-batches by binary COPY.

pub mod column;
