//! The records on a stream instead of in Kafka, one a line; a tombstone is the line `null`.

use std::io::Write;
use std::time::Instant;

use crate::counts::Counts;
use crate::error::LoadError;
use crate::ledger::{Ledger, PartitionEntry};
use crate::load::Report;
use crate::orders::Orders;
use crate::profile::Profile;
use crate::record::{Record, Renderer};

/// Writes the first `count` records; the ledger has the offsets of an empty topic.
pub fn write(
    profile: &Profile,
    topic: &str,
    count: u64,
    out: &mut impl Write,
) -> Result<Report, LoadError> {
    profile.validate()?;
    let started = Instant::now();
    let mut bytes = 0;
    let mut counts = vec![Counts::default(); profile.partitions as usize];
    let mut orders = Orders::new(profile);
    let mut renderer = Renderer::new(profile);
    let mut record = Record::default();
    for _ in 0..count {
        let event = orders.plan();
        renderer.render(&event, &mut record);
        out.write_all(record.value().unwrap_or(b"null"))?;
        out.write_all(b"\n")?;
        bytes += record.size_bytes() as u64;
        counts[event.partition as usize].add(&event, profile.seed);
    }
    out.flush()?;
    let entries = counts.iter().enumerate().map(|(partition, counts)| {
        let tally = counts.tally();
        let next_offset = tally.produced as i64;
        PartitionEntry { partition: partition as i32, first_offset: 0, next_offset, tally }
    });
    let ledger = Ledger::new(topic, profile.seed, true, entries.collect());
    Ok(Report { ledger, bytes, elapsed: started.elapsed(), error: None })
}
