//! Loads of orders, and what must have become of them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use loadgen::{Clock, Ledger, Load, Profile};

use super::{wait::eventually, world::World};

/// Orders with a little of everything that a shop sends.
pub(crate) fn orders_profile(seed: u64) -> Profile {
    Profile { seed, updates: 0.1, deletes: 0.01, poison: 0.002, ..Profile::default() }
}

/// A load of `profile` without an end, as fast as one thread can.
pub(crate) fn load_of(world: &World, profile: Profile) -> Load {
    Load {
        brokers: world.brokers.clone(),
        topic: world.name.clone(),
        profile,
        replication: 1,
        count: None,
        rate: None,
        duration: None,
        compression: "none".to_owned(),
        threads: Some(1),
        properties: Vec::new(),
        show_progress: false,
    }
}

/// Produces `count` records, and returns when the broker has them.
pub(crate) fn load(world: &World, profile: Profile, count: u64) -> Ledger {
    let load = Load { count: Some(count), ..load_of(world, profile) };
    complete(load, &AtomicBool::new(false))
}

/// A load that goes on until it is finished.
pub(crate) struct RunningLoad {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Ledger>>,
}

/// Starts to produce at a steady rate, with the clock's time.
pub(crate) fn start_load(world: &World, profile: Profile, records_per_second: f64) -> RunningLoad {
    let profile = Profile { clock: Clock::Now, ..profile };
    let load = Load { rate: Some(records_per_second), ..load_of(world, profile) };
    let stop = Arc::new(AtomicBool::new(false));
    let thread = thread::spawn({
        let stop = Arc::clone(&stop);
        move || complete(load, &stop)
    });
    RunningLoad { stop, thread: Some(thread) }
}

impl RunningLoad {
    /// Stops it; the ledger holds everything that was produced.
    pub(crate) fn finish(mut self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for RunningLoad {
    fn drop(&mut self) {
        // A failed test must not leave it behind.
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn complete(load: Load, stop: &AtomicBool) -> Ledger {
    let report = load.run(stop).unwrap();
    assert!(report.error.is_none() && report.ledger.complete, "{:?}", report.error);
    report.ledger
}

/// What one partition has become in the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) rows: i64,
    pub(crate) distinct: i64,
    pub(crate) amount: String,
    pub(crate) dead_letters: i64,
    pub(crate) next_offset: Option<i64>,
}

impl World {
    /// What stands in `table`, in the dead letters and in the checkpoints, by partition.
    pub(crate) fn got(&self, table: &str, target: &str) -> BTreeMap<i32, Got> {
        let mut got: BTreeMap<i32, Got> = BTreeMap::new();
        let rows = self.rows(&format!(
            "SELECT kafka_partition, count(*), count(DISTINCT kafka_offset), sum(amount) \
             FROM {table} GROUP BY 1"
        ));
        for row in rows {
            let partition = got.entry(row[0].parse().unwrap()).or_default();
            partition.rows = row[1].parse().unwrap();
            partition.distinct = row[2].parse().unwrap();
            partition.amount = row[3].clone();
        }
        let of_lane = format!("topic = '{}' AND target = '{target}'", self.name);
        for row in self.rows(&format!(
            "SELECT partition, count(*) FROM tidegate.dead_letters WHERE {of_lane} GROUP BY 1"
        )) {
            got.entry(row[0].parse().unwrap()).or_default().dead_letters = row[1].parse().unwrap();
        }
        for row in self.rows(&format!(
            "SELECT partition, next_offset FROM tidegate.checkpoints WHERE {of_lane}"
        )) {
            got.entry(row[0].parse().unwrap()).or_default().next_offset = row[1].parse().ok();
        }
        for partition in got.values_mut().filter(|partition| partition.amount.is_empty()) {
            partition.amount = "0.00".to_owned();
        }
        got
    }

    /// Waits until every lane's checkpoint stands behind the last record of the ledger.
    pub(crate) fn await_checkpoints(&self, ledger: &Ledger, target: &str) {
        let expected: i64 = ledger.partitions.iter().map(|entry| entry.next_offset).sum();
        let sql = format!(
            "SELECT coalesce(sum(next_offset), 0) FROM tidegate.checkpoints \
             WHERE topic = '{}' AND target = '{target}'",
            self.name
        );
        eventually(&format!("the checkpoints of {target} at the end"), || {
            let sum = self.sql.query_one_i64(&sql).map_err(|error| error.to_string())?;
            if sum >= expected { Ok(()) } else { Err(format!("{sum} of {expected}")) }
        });
    }

    /// Waits until as many distinct records are rows as the ledger has orders.
    pub(crate) fn await_distinct(&self, ledger: &Ledger) {
        let expected = ledger.totals.orders as i64;
        let sql = "SELECT count(DISTINCT (kafka_partition, kafka_offset)) FROM orders";
        eventually("all distinct orders", || {
            let count = self.sql.query_one_i64(sql).map_err(|error| error.to_string())?;
            if count >= expected { Ok(()) } else { Err(format!("{count} of {expected}")) }
        });
    }

    /// Every record of the ledger is there once: as a row or as a dead letter, and the checkpoints
    /// stand behind the last.
    pub(crate) fn assert_exact(&self, ledger: &Ledger, seed: u64) {
        self.assert_exact_in("orders", "serving.public.orders", ledger, seed);
    }

    pub(crate) fn assert_exact_in(&self, table: &str, target: &str, ledger: &Ledger, seed: u64) {
        let got = self.got(table, target);
        assert_eq!(got, expected(ledger, true), "seed {seed}, {table}");
    }

    /// As `assert_exact`, for at-least-once: there are no checkpoints, and of each record there is
    /// one row or more. Gives the number of rows too many.
    pub(crate) fn assert_complete(&self, ledger: &Ledger, seed: u64) -> i64 {
        let got = self.got("orders", "serving.public.orders");
        let mut surplus = 0;
        for (partition, expected) in expected(ledger, false) {
            let got = got.get(&partition).cloned().unwrap_or_default();
            assert_eq!(got.distinct, expected.distinct, "seed {seed}, partition {partition}");
            assert_eq!(got.dead_letters, expected.dead_letters, "seed {seed}, {partition}");
            surplus += got.rows - got.distinct;
        }
        surplus
    }
}

fn expected(ledger: &Ledger, checkpoints: bool) -> BTreeMap<i32, Got> {
    let of_entry = |entry: &loadgen::PartitionEntry| {
        let tally = &entry.tally;
        let got = Got {
            rows: tally.orders as i64,
            distinct: tally.orders as i64,
            amount: tally.amount_sum.to_string(),
            dead_letters: (tally.poison_total + tally.tombstones) as i64,
            next_offset: checkpoints.then_some(entry.next_offset),
        };
        (entry.partition, got)
    };
    ledger.partitions.iter().map(of_entry).collect()
}
