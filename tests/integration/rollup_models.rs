//! Rollups under everything at once: ingest by COPY and by merges, late rows, rows that others change and
//! delete, refreshes, and instances and refreshers that are killed. All the time readers compare the views
//! with the plain aggregates, in one snapshot each; they never differ.

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

fn config(world: &World) -> String {
    let to = "\"serving\"\ntable = \"appended\"\n\
              [[routes.to]]\nsink = \"serving\"\ntable = \"merged\"\nwrite = \"mirror\"\nkey = [\"id\"]";
    let (source, sink) = (world.source_config(""), world.sink_config("serving"));
    let route = world.route_config(to);
    format!("{source}{sink}{route}{}{}", rollup("appended"), rollup("merged"))
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
    let world = World::bare("rollup-model", PARTITIONS as i32);
    world.sql.execute(TABLES).unwrap();
    let config = config(&world);
    world.write_config(&config);
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
    let mut running = vec![start(), start()];
    let mut seed = || Chance::from_seed(chance.below(usize::MAX) as u64);
    let (produced, changed, refreshed) = (seed(), seed(), seed());
    let refreshes = thread::scope(|scope| {
        let play = &play;
        let _end = End(&play.ended);
        scope.spawn(|| play.produce(produced));
        scope.spawn(|| play.change(changed));
        let refresher = scope.spawn(|| play.refresh(refreshed));
        let comparers = [(); 2].map(|()| scope.spawn(|| play.compare()));
        let until = Instant::now() + LASTS;
        while Instant::now() < until && play.is_on() {
            chance.pass_up_to(Duration::from_secs(5));
            running.swap_remove(0).kill();
            running.push(start());
        }
        play.ended.store(true, SeqCst);
        comparers.into_iter().for_each(|comparer| comparer.join().expect("no difference"));
        refresher.join().unwrap()
    });
    let comparisons = play.comparisons.load(SeqCst);
    let boundaries = world.number("SELECT count(*) FROM tidegate.rollups WHERE isfinite(boundary)");
    let rows = world.number("SELECT count(*) FROM appended");
    eprintln!("{comparisons} comparisons, {refreshes} refreshes, {rows} rows");
    assert_eq!(boundaries, 2);
    assert!(comparisons > 200 && refreshes > 10 && rows > 1_000);
    for mut tidegate in running {
        assert!(tidegate.is_running(), "it ended:\n{}", tidegate.log());
        tidegate.stop();
    }
    eventually("a last refresh", || {
        let last = Tidegate::spawn(world.folder.path(), &["rollup", "run"], Stdio::null()).wait();
        if last.code == Some(0) { Ok(()) } else { Err(last.log) }
    });
    for table in ["appended", "merged"] {
        assert_eq!(world.rows(&differences(table)), [] as [Vec<String>; 0]);
    }
    assert_eq!(world.number("SELECT count(*) FROM tidegate.rollup_touched"), 0);
}
