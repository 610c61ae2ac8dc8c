//! Merges under load, by several instances, of which some are killed: the table is compared with a map
//! that went through the same records.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Chance, Message, Tidegate, World, eventually, produce};

const PARTITIONS: usize = 4;
const RECORDS: usize = 8_000;
const KEYS: usize = 40;
const TABLE: &str = "CREATE TABLE items (id text PRIMARY KEY, version int NOT NULL, n int NOT NULL, \
                     note text DEFAULT 'none')";

/// What one record does to the row of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    key: usize,
    version: usize,
    /// `None` deletes.
    n: Option<usize>,
}

impl Change {
    fn message(self, partition: usize) -> Message {
        let Self { key, version, n } = self;
        let key = format!("key-{key}");
        let value = n.map(|n| match n % 3 {
            0 => format!(r#"{{"id":"{key}","version":{version},"n":{n},"note":"n"}}"#),
            _ => format!(r#"{{"n":{n},"version":{version},"id":"{key}"}}"#),
        });
        Message {
            partition: partition as i32,
            key: Some(key.into_bytes()),
            value: value.map(String::into_bytes),
            ..Message::default()
        }
    }
}

/// The records of each partition. A key has a partition of its own, or is in any.
fn changes(chance: &mut Chance, shared: bool, deletes: bool) -> Vec<Vec<Change>> {
    let mut partitions = vec![Vec::new(); PARTITIONS];
    for n in 0..RECORDS {
        let key = chance.below(KEYS);
        let partition = if shared { chance.below(PARTITIONS) } else { key % PARTITIONS };
        let n = (!deletes || chance.below(5) > 0).then_some(n);
        // Versions that are unique, so that there is one highest, and far from being in order.
        let version = (n.unwrap_or(0) * 7_919) % 8_009;
        partitions[partition].push(Change { key, version, n });
    }
    partitions
}

/// Runs three instances over the records, of which two are killed on the way; gives the rows.
fn run(
    name: &str,
    write: &str,
    partitions: &[Vec<Change>],
    chance: &mut Chance,
) -> BTreeMap<String, String> {
    let world = World::bare(name, PARTITIONS as i32);
    world.sql.execute(TABLE).unwrap();
    let messages: Vec<Message> = partitions
        .iter()
        .enumerate()
        .flat_map(|(partition, changes)| {
            changes.iter().map(move |change| change.message(partition))
        })
        .collect();
    produce(&world, &messages);
    let to = format!("\"serving\"\ntable = \"items\"\n{write}");
    let config = format!(
        "{}{}{}",
        world.source_config(""),
        world.sink_config("serving"),
        world.route_config(&to)
    );
    let start = || world.run(&config, &["batch.rows=50"]);
    let mut instances: Vec<Tidegate> = (0..3).map(|_| start()).collect();
    let done = "SELECT coalesce(sum(next_offset), 0)::bigint FROM tidegate.checkpoints";
    let await_records = |count: i64| {
        eventually(&format!("{count} records"), || {
            let exists = world.number("SELECT count(to_regclass('tidegate.checkpoints'))") == 1;
            let sum = if exists { world.number(done) } else { 0 };
            if sum >= count { Ok(()) } else { Err(format!("{sum}")) }
        });
    };
    for part in 1..3 {
        await_records((RECORDS * part / 4) as i64);
        let victim = chance.below(instances.len());
        instances.swap_remove(victim).kill();
        instances.push(start());
    }
    await_records(RECORDS as i64);
    for mut instance in instances {
        instance.assert_conservation();
        assert_eq!(instance.metric_with("tidegate_write_retries_total", "40P01"), 0.0);
        instance.stop();
    }
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 0);
    // Also those of the instances that were killed.
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(world.number(deadlocks), 0);
    let rows = world.rows("SELECT id, n || ' ' || note FROM items");
    rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
}

/// The row that a put leaves.
fn row(change: &Change) -> Option<String> {
    let n = change.n?;
    Some(format!("{n} {}", if n % 3 == 0 { "n" } else { "none" }))
}

/// What the rows are after the records of partitions that share no key, in order.
fn model(partitions: &[Vec<Change>]) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for change in partitions.iter().flatten() {
        let key = format!("key-{}", change.key);
        match row(change) {
            Some(row) => rows.insert(key, row),
            None => rows.remove(&key),
        };
    }
    rows
}

#[test]
fn a_mirror_is_what_a_map_would_be() {
    let mut chance = Chance::new();
    let partitions = changes(&mut chance, false, true);
    let rows = run("model-mirror", "write = \"mirror\"", &partitions, &mut chance);
    assert_eq!(rows, model(&partitions));
}

#[test]
fn where_partitions_share_keys_each_row_is_the_last_of_one_of_them() {
    let mut chance = Chance::new();
    let partitions = changes(&mut chance, true, true);
    let rows = run("model-shared", "write = \"mirror\"", &partitions, &mut chance);
    for key in 0..KEYS {
        let last =
            |changes: &Vec<Change>| changes.iter().rev().find(|change| change.key == key).map(row);
        let possible: BTreeSet<Option<String>> = partitions.iter().filter_map(last).collect();
        let found = rows.get(&format!("key-{key}")).cloned();
        assert!(possible.contains(&found), "key {key}: {found:?} is none of {possible:?}");
    }
}

#[test]
fn where_partitions_share_keys_the_highest_version_stays() {
    let mut chance = Chance::new();
    let partitions = changes(&mut chance, true, false);
    let write = "write = \"upsert\"\nversion = \"version\"";
    let rows = run("model-version", write, &partitions, &mut chance);
    let mut highest: BTreeMap<usize, Change> = BTreeMap::new();
    for change in partitions.iter().flatten() {
        let known = highest.entry(change.key).or_insert(*change);
        if change.version > known.version {
            *known = *change;
        }
    }
    let expected: BTreeMap<String, String> = highest
        .values()
        .filter_map(|change| Some((format!("key-{}", change.key), row(change)?)))
        .collect();
    assert_eq!(rows, expected);
}
