//! Rollups under everything at once: ingest by COPY and by merges, late rows, rows that others change and
//! delete, refreshes, tables that replays replace and bring back, and instances, refreshers and replays
//! that are killed. All the time readers compare the views with the plain aggregates, in one snapshot
//! each; they never differ, and never fail.

use std::{
    process::Stdio,
    sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use crate::support::{Chance, Message, Tidegate, World, eventually, produce};

const PARTITIONS: usize = 4;
const KEYS: usize = 3_000;
const LASTS: Duration = Duration::from_secs(20);
/// All times are in these minutes of a day long ago.
const MINUTES: i64 = 1_200;
const TABLES: &str = "\
    CREATE TABLE appended (id bigint, at timestamptz, status text, amount int); \
    CREATE INDEX ON appended (at); CREATE INDEX ON appended (id); \
    CREATE TABLE merged (id bigint PRIMARY KEY, at timestamptz, status text, amount int); \
    CREATE INDEX ON merged (at)";

fn rollup(table: &str) -> String {
    format!(
        "[[rollups]]\nname = \"{table}\"\nsink = \"serving\"\ntable = \"{table}\"\n\
         time_column = \"at\"\nbucket = \"minute\"\ngroup_by = [\"status\"]\n\
         filter = \"status <> 'removed'\"\n\
         aggregates = {{ orders = \"count(*)\", revenue = \"sum(amount)\" }}\n\
         batch_table = \"{table}_batch\"\nview = \"{table}_view\"\ndelay = \"0s\"\n"
    )
}

/// The topic into both tables.
fn config(world: &World) -> String {
    let to = "\"serving\"\ntable = \"appended\"\n\
              [[routes.to]]\nsink = \"serving\"\ntable = \"merged\"\nwrite = \"mirror\"\nkey = [\"id\"]";
    let (source, sink) = (world.source_config(""), world.sink_config("serving"));
    format!("{source}{sink}{}", world.route_config(to))
}

/// The rows in which a view and the plain aggregate differ.
fn differences(table: &str) -> String {
    let plain = format!(
        "SELECT date_trunc('minute', at, 'UTC'), status, count(*), sum(amount) FROM {table} \
         WHERE isfinite(at) AND status <> 'removed' GROUP BY 1, 2"
    );
    let view = format!("TABLE {table}_view");
    format!(
        "SELECT 'view', * FROM ({view} EXCEPT ALL {plain}) v \
         UNION ALL SELECT 'plain', * FROM ({plain} EXCEPT ALL {view}) p"
    )
}

/// What all threads look at.
struct Play<'a> {
    world: &'a World,
    ended: AtomicBool,
    /// The minute up to which is refreshed; most of what happens is near it.
    front: AtomicI64,
    comparisons: AtomicUsize,
}

/// What came to pass.
#[derive(Debug)]
struct Passed {
    comparisons: usize,
    refreshes: i64,
    swaps: i64,
}

impl Play<'_> {
    fn is_on(&self) -> bool {
        !self.ended.load(SeqCst)
    }

    /// A time near the front, or any.
    fn time(&self, chance: &mut Chance) -> String {
        let minute = match chance.below(4) {
            0 => chance.below(MINUTES as usize) as i64,
            // Until it is written, the front has moved on.
            _ => self.front.load(SeqCst) - 3 + chance.below(18) as i64,
        };
        let minute = minute.clamp(0, MINUTES - 1);
        let second = chance.below(60);
        format!("2026-01-01T{:02}:{:02}:{second:02}Z", minute / 60, minute % 60)
    }

    fn record(&self, chance: &mut Chance) -> Message {
        let id = chance.below(KEYS);
        let status = ["new", "paid", "removed"][chance.below(3)];
        let value = format!(
            r#"{{"id":{id},"at":"{}","status":"{status}","amount":{}}}"#,
            self.time(chance),
            chance.below(100)
        );
        // Partitions share keys, so that writers meet at the same rows.
        let partition = chance.below(PARTITIONS) as i32;
        let value = (chance.below(10) > 0).then(|| value.into_bytes());
        Message { partition, key: Some(id.to_string().into_bytes()), value, ..Message::default() }
    }

    fn produce(&self, mut chance: Chance) {
        while self.is_on() {
            let records: Vec<Message> = (0..400).map(|_| self.record(&mut chance)).collect();
            produce(self.world, &records);
            // Each replay reads all of it.
            chance.pass_up_to(Duration::from_millis(40));
        }
    }

    /// Changes and deletes rows by hand, in transactions of all kinds.
    fn change(&self, mut chance: Chance) {
        let client = stack::Client::connect(&self.world.url).unwrap();
        while self.is_on() {
            let table = ["appended", "merged"][chance.below(2)];
            let id = chance.below(KEYS);
            let change = match chance.below(4) {
                0 => format!("DELETE FROM {table} WHERE id = {id}"),
                1 => format!("UPDATE {table} SET amount = amount + 1 WHERE id = {id}"),
                _ => {
                    let at = self.time(&mut chance);
                    format!("UPDATE {table} SET at = '{at}' WHERE id = {id}")
                }
            };
            let sql = match chance.below(3) {
                0 => format!(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM {table} LIMIT 1; \
                     SELECT pg_sleep(0.01); {change}; COMMIT"
                ),
                1 => format!("BEGIN; {change}; SELECT pg_sleep(0.01); COMMIT"),
                _ => change,
            };
            // A row that somebody else has changed since the snapshot, or a deadlock.
            if client.execute(&sql).is_err() {
                client.execute("ROLLBACK").unwrap();
            }
        }
    }

    /// Refreshes up to a front that moves on, by processes of which some are killed.
    fn refresh(&self, mut chance: Chance) -> i64 {
        let mut done = 0;
        while self.is_on() {
            let front = self.front.fetch_add(1, SeqCst) + 1;
            let to = format!("2026-01-01T{:02}:{:02}:00Z", front / 60, front % 60);
            let arguments = ["rollup", "run", "--to", &to];
            let mut refresher =
                Tidegate::spawn(self.world.folder.path(), &arguments, Stdio::null());
            if chance.below(5) == 0 {
                chance.pass_up_to(Duration::from_millis(80));
                if refresher.is_running() {
                    refresher.kill();
                    continue;
                }
            }
            let exit = refresher.wait();
            // The backend of one that was killed may not have noticed yet.
            assert!(matches!(exit.code, Some(0 | 75)), "{}{}", exit.stdout, exit.log);
            done += i64::from(exit.code == Some(0));
        }
        done
    }

    /// Has a table replaced by a replay, and brought back or not, by processes of which some are killed.
    fn replace(&self, mut chance: Chance) -> i64 {
        let mut swaps = 0;
        for number in 1.. {
            let table = ["appended", "merged"][number % 2];
            let into = format!("{table}_{number}");
            let name = ["--table", table, "--config=plain.toml"];
            let swap = [&["orders", "--from", "earliest", "--into", &into, "--swap"], &name[..]];
            self.swap(&mut chance, &swap.concat(), &into, 1);
            swaps += 1;
            if chance.below(2) == 0 {
                self.swap(&mut chance, &[&["rollback", "orders"], &name[..]].concat(), &into, 0);
                swaps += 1;
            }
            if !self.is_on() {
                break;
            }
            let drop = [&["replay", "drop", "orders", &into], &name[..]].concat();
            eventually("the end of a version", || {
                let exit = Tidegate::spawn(self.world.folder.path(), &drop, Stdio::null()).wait();
                if exit.code == Some(0) { Ok(()) } else { Err(exit.log) }
            });
        }
        swaps
    }

    /// A swap, until it has happened: until so many versions of that name are serving.
    fn swap(&self, chance: &mut Chance, arguments: &[&str], into: &str, serving: i64) {
        let arguments = [&["replay"], arguments].concat();
        let sql = format!(
            "SELECT count(*) FROM tidegate.replays WHERE version = '{into}' AND state = 'serving'"
        );
        let client = stack::Client::connect(&self.world.url).unwrap();
        let mut kills = 0;
        loop {
            let mut replay = Tidegate::spawn(self.world.folder.path(), &arguments, Stdio::null());
            if kills < 2 && chance.below(3) == 0 {
                chance.pass_up_to(Duration::from_millis(1_500));
                if replay.is_running() {
                    replay.kill();
                    kills += 1;
                }
            } else {
                let exit = replay.wait();
                // 69: it has waited for a lock for too long, behind all the others.
                assert!(matches!(exit.code, Some(0 | 69 | 75)), "{arguments:?}: {}", exit.log);
            }
            // One that was killed early has not even made the table of versions.
            if client.query_one_i64(&sql).is_ok_and(|found| found == serving) {
                return;
            }
        }
    }

    fn compare(&self) {
        let client = stack::Client::connect(&self.world.url).unwrap();
        while self.is_on() {
            for table in ["appended", "merged"] {
                let found = client.query_text(&differences(table)).unwrap();
                if !found.is_empty() {
                    self.ended.store(true, SeqCst);
                    let front = self.front.load(SeqCst);
                    panic!("{table}, at minute {front}: {found:?}");
                }
                self.comparisons.fetch_add(1, SeqCst);
            }
        }
    }
}

/// Ends the play also when a test fails in the middle.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn a_view_never_differs_from_the_plain_aggregate_whatever_happens_at_once() {
    let passed = play("rollup-model", 2);
    assert!(passed.comparisons > 200 && passed.refreshes > 5 && passed.swaps > 0, "{passed:?}");
}

#[test]
fn a_view_never_differs_from_the_plain_aggregate_with_three_instances() {
    let passed = play("rollup-model-3", 3);
    assert!(passed.comparisons > 200 && passed.refreshes > 5 && passed.swaps > 0, "{passed:?}");
}

fn play(name: &str, instances: usize) -> Passed {
    let world = World::bare(name, PARTITIONS as i32);
    world.sql.execute(TABLES).unwrap();
    let plain = config(&world);
    let config = format!("{plain}{}{}", rollup("appended"), rollup("merged"));
    world.write_config(&config);
    // Without the rollups, so that a replay does not finish buckets far ahead of the front.
    std::fs::write(world.folder.path().join("plain.toml"), plain).unwrap();
    let create = Tidegate::spawn(world.folder.path(), &["rollup", "create"], Stdio::null()).wait();
    assert_eq!(create.code, Some(0), "{}", create.log);
    let mut chance = Chance::new();
    let (ended, front) = (AtomicBool::new(false), AtomicI64::new(100));
    let play = Play { world: &world, ended, front, comparisons: AtomicUsize::new(0) };
    // A slow way to Postgres: what a transaction has read of a rollup, and its COMMIT, lie far apart.
    let (proxy, distant) = world.behind_proxy(&config);
    proxy.delay(Duration::from_millis(4));
    std::fs::write(world.folder.path().join("distant.toml"), distant).unwrap();
    let start = || {
        let small = ["--set", "batch.rows=50", "--set", "batch.age=5ms"];
        let run = [&["run", "--config", "distant.toml"], &small[..]].concat();
        Tidegate::spawn(world.folder.path(), &run, Stdio::null())
    };
    let mut running: Vec<Tidegate> = (0..instances).map(|_| start()).collect();
    let mut seed = || Chance::from_seed(chance.below(usize::MAX) as u64);
    let (produced, changed, refreshed, replaced) = (seed(), seed(), seed(), seed());
    let (refreshes, swaps) = thread::scope(|scope| {
        let play = &play;
        let _end = End(&play.ended);
        scope.spawn(|| play.produce(produced));
        scope.spawn(|| play.change(changed));
        let refresher = scope.spawn(|| play.refresh(refreshed));
        let comparers = [(); 2].map(|()| scope.spawn(|| play.compare()));
        let lanes = "SELECT count(*) FROM tidegate.checkpoints WHERE next_offset > 0";
        eventually("rows of each lane", || match world.number(lanes) {
            count if count == 2 * PARTITIONS as i64 => Ok(()),
            count => Err(format!("{count}")),
        });
        let replacer = scope.spawn(|| play.replace(replaced));
        let until = Instant::now() + LASTS;
        let mut kill_at = Instant::now() + chance.up_to(Duration::from_secs(5));
        while Instant::now() < until && play.is_on() {
            thread::sleep(Duration::from_millis(20));
            if Instant::now() > kill_at {
                kill_at = Instant::now() + chance.up_to(Duration::from_secs(5));
                start_again(&mut running, start);
                running.remove(0).kill();
                running.push(start());
            }
            start_again(&mut running, start);
        }
        play.ended.store(true, SeqCst);
        comparers.into_iter().for_each(|comparer| comparer.join().expect("no difference"));
        (refresher.join().unwrap(), replacer.join().unwrap())
    });
    start_again(&mut running, start);
    let comparisons = play.comparisons.load(SeqCst);
    let rows = world.number("SELECT count(*) FROM appended");
    eprintln!("{comparisons} comparisons, {refreshes} refreshes, {swaps} swaps, {rows} rows");
    assert!(rows > 500, "{rows}");
    for tidegate in running {
        // One that has just begun is ended by the signal itself.
        let exit = tidegate.terminate();
        assert!(matches!(exit.code, None | Some(0 | 75)), "{}", exit.log);
    }
    eventually("a last refresh", || {
        let last = Tidegate::spawn(world.folder.path(), &["rollup", "run"], Stdio::null()).wait();
        if last.code == Some(0) { Ok(()) } else { Err(last.log) }
    });
    for table in ["appended", "merged"] {
        assert_eq!(world.rows(&differences(table)), [] as [Vec<String>; 0]);
    }
    assert_eq!(world.number("SELECT count(*) FROM tidegate.rollup_touched"), 0);
    Passed { comparisons, refreshes, swaps }
}

/// Two swaps within a minute look like another owner of the lanes: who has seen both ends with 75.
fn start_again(running: &mut Vec<Tidegate>, start: impl Fn() -> Tidegate) {
    for _ in 0..running.len() {
        let mut tidegate = running.remove(0);
        if tidegate.is_running() {
            running.push(tidegate);
        } else {
            let exit = tidegate.wait();
            assert_eq!(exit.code, Some(75), "{}", exit.log);
            running.push(start());
        }
    }
}
