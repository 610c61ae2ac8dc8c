//! The thread that reads one partition up to a bound.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::error::RDKafkaErrorCode;

use super::{
    partition::failure,
    range::{Range, Stretch},
    records::Records,
};
use crate::{
    error::Error, metrics, partition::Partition, route::Context, stage::Stage, watchdog::Heart,
};

/// How soon a thread that waits sees that its bound was raised: those who wait for a swap wait for this.
const HOLD: Duration = Duration::from_millis(2);
/// The longest that it sleeps without a look at its orders.
const SLEEP_MAX: Duration = Duration::from_millis(50);

pub(super) struct RangeReader {
    pub(super) records: Records,
    pub(super) stretch: Arc<Stretch>,
    pub(super) range: Arc<Range>,
    pub(super) context: Context,
}

impl RangeReader {
    pub(super) fn spawn(self, partition: Partition) -> Result<JoinHandle<()>, Error> {
        let (topic, number) = &self.stretch.key;
        let name = format!("part-{topic}-{number}");
        let watchdog = self.context.watchdog.clone();
        watchdog.spawn(&name, move |heart| self.run(partition, heart))
    }

    fn run(mut self, mut partition: Partition, heart: &Heart) {
        while !partition.must_stop() {
            let mut read = self.read(&mut partition, Duration::ZERO, heart);
            if read == 0 {
                partition.tick(heart);
                let wait = partition.wait();
                partition.enter(Stage::Poll);
                read = self.read(&mut partition, wait, heart);
                partition.enter(Stage::Encode);
            }
            partition.tick(heart);
            self.keep_pace(read, &mut partition, heart);
        }
        partition.drain(heart);
    }

    /// Takes in what is there below the bound, or waits for the next record; says how many came.
    fn read(&mut self, partition: &mut Partition, wait: Duration, heart: &Heart) -> u32 {
        let Self { records, stretch, context, .. } = self;
        let (topic, number) = &stretch.key;
        if partition.must_stop() {
            return 0;
        }
        records.read(topic, wait, |record| {
            match record {
                Ok(record) => {
                    if record.offset >= stretch.bound()
                        && !hold(stretch, record.offset, partition, heart)
                    {
                        return false;
                    }
                    partition.push(record, heart);
                }
                Err((RDKafkaErrorCode::PartitionEOF, end)) => {
                    // Counted before it is told.
                    partition.tick(heart);
                    partition.reach_end(end);
                    stretch.reach(end);
                }
                Err((code, _)) => {
                    let name = format!("{topic}[{number}]");
                    metrics::kafka_error(&format!("{code:?}"));
                    match failure(&name, partition.position(), code) {
                        Some(failure) => context.shutdown.fail(failure),
                        None => tracing::warn!("{name}: {code}"),
                    }
                }
            }
            !partition.must_stop()
        })
    }

    fn keep_pace(&self, records: u32, partition: &mut Partition, heart: &Heart) {
        let Some(pace) = self.range.pace().filter(|_| records > 0) else { return };
        let until = Instant::now() + pace.take(records, Instant::now());
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || partition.must_stop() || self.range.pace().is_none() {
                return;
            }
            std::thread::sleep(left.min(SLEEP_MAX).min(partition.wait().max(HOLD)));
            partition.tick(heart);
        }
    }
}

/// Waits until the bound is beyond the next record, at `offset`. False if an order to stop comes first.
fn hold(stretch: &Stretch, offset: i64, partition: &mut Partition, heart: &Heart) -> bool {
    loop {
        // What is below goes its way, and is counted before it is told.
        partition.tick(heart);
        stretch.reach(offset);
        if stretch.bound() > offset {
            return true;
        }
        if partition.must_stop() {
            return false;
        }
        std::thread::sleep(HOLD);
    }
}
