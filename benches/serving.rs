//! The serving side: how much faster the merged view is than the plain aggregate, what the bookkeeping of
//! rollups costs a drain, and how fast a replay is beside it.
//!
//! Run it by `make bench-serving`. Ends with an error when a floor is missed.

mod common;

use std::{
    process::{Command, ExitCode},
    slice, thread,
    time::{Duration, Instant},
};

use loadgen::Profile;
use serde_json::{Value, json};
use stack::Program;

use crate::common::{
    Amount, Result, Servers, Sight, TABLE, end, median, missed, setting, stop, tidegate, write,
};

const TOPIC: &str = "orders";
const PARTITIONS: u32 = 6;
const CONFIG: &str = "serving.toml";
/// The history has so many days, from the first of 2025 on.
const DAYS: u64 = 400;
const QUERIES: usize = 5;
const TURN: Duration = Duration::from_millis(10);

const PLAIN: &str = "SELECT date_trunc('day', created_at, 'UTC') AS bucket, status, count(*) AS orders, \
    sum(amount) AS revenue FROM public.history WHERE status <> 'removed' GROUP BY 1, 2";
const VIEW: &str = "SELECT bucket, status, orders, revenue FROM public.history_summary";

fn main() -> ExitCode {
    end("serving", run())
}

fn run() -> Result<Vec<String>> {
    let rows = setting("ROWS", 2_000_000)?;
    let rounds = setting("ROUNDS", 3)?;
    let history = setting("HISTORY", 20_000_000)?;
    let servers = Servers::start(&[])?;
    println!("serving: producing {rows} records");
    servers.kafka.create_topic(TOPIC, PARTITIONS as i32, &[])?;
    let profile = Profile { partitions: PARTITIONS, ..Profile::default() };
    servers.produce(TOPIC, profile, Amount { count: Some(rows), ..Amount::default() })?;
    let ingest = Ingest::measure(&servers, rows, rounds)?;
    println!("serving: making a history of {history} rows");
    let queries = Queries::measure(&servers, history)?;
    write(
        "serving",
        &json!({
            "rows": rows,
            "rounds": rounds,
            "history_rows": history,
            "ingest": ingest.json(),
            "queries": queries.json(),
        }),
    )?;
    Ok(missed([ingest.floors(), queries.floors()].concat()))
}

/// What stands beside the table while it is filled.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    /// A rollup whose finished buckets end before the rows, as usual.
    Rollup,
    /// A rollup that has finished the buckets of all rows: each transaction touches one.
    Late,
}

/// Rates in rows a second, from the first row that could be seen to the last; of each round.
#[derive(Default)]
struct Ingest {
    plain: Vec<f64>,
    rollup: Vec<f64>,
    late: Vec<f64>,
    replay: Vec<f64>,
}

impl Ingest {
    fn measure(servers: &Servers, rows: u64, rounds: u64) -> Result<Self> {
        let mut found = Self::default();
        servers.create_table("")?;
        drain(servers, rows, Beside::Nothing, "warm-up")?;
        for round in 1..=rounds {
            let drain = |beside, name: &str| {
                servers.create_table("")?;
                drain(servers, rows, beside, &format!("{name}-{round}"))
            };
            // In another order each time, so that what grows slower or faster favours none.
            if round % 2 == 0 {
                found.rollup.push(drain(Beside::Rollup, "rollup")?);
                found.plain.push(drain(Beside::Nothing, "plain")?);
            } else {
                found.plain.push(drain(Beside::Nothing, "plain")?);
                found.rollup.push(drain(Beside::Rollup, "rollup")?);
            }
            found.late.push(drain(Beside::Late, "late")?);
            found.replay.push(replay(servers, rows, &format!("late-{round}"))?);
            let of = |rates: &[f64]| rates.last().copied().unwrap_or_default();
            println!(
                "serving: round {round}: {:.0} rows/s, {:.0} beside a rollup, {:.0} with late rows, \
                 {:.0} replayed",
                of(&found.plain),
                of(&found.rollup),
                of(&found.late),
                of(&found.replay)
            );
        }
        Ok(found)
    }

    fn ratio(&self, rates: &[f64]) -> f64 {
        median(rates.iter().copied()) / median(self.plain.iter().copied())
    }

    fn json(&self) -> Value {
        let rate = |rates: &[f64]| median(rates.iter().copied()).round();
        json!({
            "rows_per_s": rate(&self.plain),
            "with_rollup_rows_per_s": rate(&self.rollup),
            "with_rollup_ratio": self.ratio(&self.rollup),
            "all_late_rows_per_s": rate(&self.late),
            "all_late_ratio": self.ratio(&self.late),
            "replay_rows_per_s": rate(&self.replay),
            "replay_ratio": self.ratio(&self.replay),
        })
    }

    fn floors(&self) -> Vec<(bool, String)> {
        let (rollup, replay) = (self.ratio(&self.rollup), self.ratio(&self.replay));
        vec![
            (
                rollup >= 0.95,
                format!("a rollup leaves {rollup:.3} of the rate of a drain; at least 0.95"),
            ),
            (
                replay >= 0.9,
                format!("a replay has {replay:.2} of the rate of a drain; at least 0.9"),
            ),
        ]
    }
}

/// Drains the topic into the empty table as a new consumer group; gives the rate.
fn drain(servers: &Servers, rows: u64, beside: Beside, group: &str) -> Result<f64> {
    if beside != Beside::Nothing {
        command(servers, group, &["rollup", "create", "orders"])?;
        // The orders begin with 2026, a thousand a second.
        let to = if beside == Beside::Late { "2026-02-01" } else { "2026-01-01" };
        command(servers, group, &["rollup", "run", "orders", "--to", to])?;
    }
    let program = tidegate(servers, CONFIG, &[("KAFKA_GROUP", group)], &[])?;
    let (first, last) = servers.wait(group, rows as i64, slice::from_ref(&program))?;
    stop(&program)?;
    check(servers, TABLE, rows)?;
    if beside != Beside::Nothing {
        command(servers, group, &["rollup", "drop", "orders"])?;
    }
    Ok(rate(first, last))
}

/// Replays the topic into a table beside the one that `group` has filled; gives the rate.
fn replay(servers: &Servers, rows: u64, group: &str) -> Result<f64> {
    let of_replay = "replay:orders:orders_2";
    let arguments = ["replay", "orders", "--from", "earliest", "--into", "orders_2"];
    let program = start(servers, group, &arguments)?;
    let mut sights: Vec<Sight> = Vec::new();
    let status = loop {
        let ended = program.exit_status();
        let sight = Sight { at: Instant::now(), durable: servers.durable(of_replay)? };
        if sight.durable > sights.last().map_or(0, |last| last.durable) {
            sights.push(sight);
        }
        if let Some(status) = ended {
            break status;
        }
        thread::sleep(TURN);
    };
    let (Some(first), Some(last), true) = (sights.first(), sights.last(), status.success()) else {
        return Err(format!("the replay ended with {status}:\n{}", program.log_tail()).into());
    };
    check(servers, "public.orders_2", rows)?;
    command(servers, group, &["replay", "drop", "orders", "orders_2"])?;
    Ok(rate(*first, *last))
}

fn rate(first: Sight, last: Sight) -> f64 {
    let seconds = last.at.duration_since(first.at).as_secs_f64();
    (last.durable - first.durable) as f64 / seconds.max(1e-9)
}

fn check(servers: &Servers, table: &str, rows: u64) -> Result<()> {
    let sql = format!(
        "SELECT CASE WHEN count(*) = count(DISTINCT order_id) THEN count(*) ELSE -1 END FROM {table}"
    );
    match servers.client.query_one_i64(&sql)? {
        written if written == rows as i64 => Ok(()),
        written => Err(format!("{table} has {written} of {rows} rows").into()),
    }
}

fn start(servers: &Servers, group: &str, arguments: &[&str]) -> Result<Program> {
    let config = format!("{}/benches/{CONFIG}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .args(arguments)
        .args(["--config", &config])
        .env("KAFKA_BROKERS", servers.kafka.bootstrap_servers())
        .env("KAFKA_GROUP", group)
        .env("DATABASE_URL", servers.postgres.url());
    Ok(Program::start("tidegate", command)?)
}

/// Runs a command to its end, which must be a good one.
fn command(servers: &Servers, group: &str, arguments: &[&str]) -> Result<()> {
    let program = start(servers, group, arguments)?;
    loop {
        match program.exit_status() {
            None => thread::sleep(TURN),
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let shown = arguments.join(" ");
                return Err(format!("{shown}: {status}\n{}", program.log_tail()).into());
            }
        }
    }
}

/// Seconds of a query: over all rows, and through the view with so many touched buckets.
struct Queries {
    plain: f64,
    view: Vec<(u64, f64)>,
}

impl Queries {
    fn measure(servers: &Servers, rows: u64) -> Result<Self> {
        let client = &servers.client;
        client.execute(
            "CREATE TABLE public.history (id bigint, created_at timestamptz, status text, amount numeric(12,2))",
        )?;
        // Some at a time: a question has five minutes.
        let step = 2_000_000;
        for first in (0..rows).step_by(step) {
            let last = (first + step as u64).min(rows) - 1;
            client.execute(&format!(
                "INSERT INTO public.history SELECT n, timestamptz '2025-01-01 00:00+00' \
                 + n * (interval '{DAYS} days' / {rows}), \
                 (ARRAY['new', 'paid', 'packed', 'shipped', 'removed'])[1 + n % 5], n % 10000 / 100.0 \
                 FROM generate_series({first}, {last}) n"
            ))?;
        }
        client.execute("CREATE INDEX ON public.history (created_at)")?;
        client.execute("VACUUM ANALYZE public.history")?;
        command(servers, "history", &["rollup", "create", "history"])?;
        // All but the last day is finished.
        let end =
            format!("SELECT timestamptz '2025-01-01 00:00+00' + interval '{} days'", DAYS - 1);
        let end = client.query_text(&end)?.concat().remove(0).unwrap_or_default();
        command(servers, "history", &["rollup", "run", "history", "--to", &end])?;
        let plain = time(servers, PLAIN)?;
        println!("serving: {plain:.3} s for the plain aggregate");
        let mut view = Vec::new();
        for touched in [0, 1, 5] {
            client.execute(&format!(
                "UPDATE public.history SET amount = amount + 1 FROM (SELECT timestamptz \
                 '2025-01-01 00:00+00' + n * interval '24 hours' AS day FROM generate_series(1, {touched}) n) d \
                 WHERE created_at >= day AND created_at < day + interval '1 hour'"
            ))?;
            expect_equal(servers)?;
            let seconds = time(servers, VIEW)?;
            println!("serving: {seconds:.4} s for the view, {touched} buckets touched");
            view.push((touched, seconds));
        }
        Ok(Self { plain, view })
    }

    fn json(&self) -> Value {
        let view = |(touched, seconds): &(u64, f64)| json!({"touched_buckets": touched, "seconds": seconds, "times_faster": self.plain / seconds});
        json!({
            "plain_seconds": self.plain,
            "view": self.view.iter().map(view).collect::<Vec<_>>(),
        })
    }

    fn floors(&self) -> Vec<(bool, String)> {
        let seconds = self.view.first().map_or(f64::INFINITY, |(_, seconds)| *seconds);
        let times = self.plain / seconds;
        let text =
            format!("the view is {times:.0} times as fast as the plain aggregate; at least 50");
        vec![(times >= 50.0, text)]
    }
}

/// The median of some runs of a query.
fn time(servers: &Servers, sql: &str) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..QUERIES {
        let since = Instant::now();
        servers.client.query_text(sql)?;
        times.push(since.elapsed().as_secs_f64());
    }
    Ok(median(times))
}

fn expect_equal(servers: &Servers) -> Result<()> {
    let sql = format!(
        "SELECT count(*) FROM (({VIEW} EXCEPT ALL {PLAIN}) UNION ALL ({PLAIN} EXCEPT ALL {VIEW})) d"
    );
    match servers.client.query_one_i64(&sql)? {
        0 => Ok(()),
        differences => Err(format!("{differences} rows of the view are wrong").into()),
    }
}
