//! How the rate, the cost of a row and the memory change with the partitions, the instances, the rows, and
//! the distance to Postgres, with all defaults.
//!
//! Run it by `make bench-scale`. Ends with an error when a floor is missed.

mod common;

use std::{
    net::SocketAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use loadgen::Profile;
use serde_json::json;
use stack::{Program, Proxy};

use crate::common::{
    Amount, Result, Servers, TABLE, end, median, missed, setting, stop, tidegate, write,
};

const PEAK_RSS_MAX_MB: f64 = 192.0;
const ROUNDS: usize = 3;

/// One way to run.
#[derive(Clone, Copy, PartialEq)]
struct Case {
    partitions: u32,
    instances: usize,
    /// There and back between tidegate and Postgres, in milliseconds; 0 is without a proxy.
    rtt_ms: f64,
    /// In multiples of ROWS.
    size: u64,
}

impl Case {
    fn topic(self) -> String {
        format!("orders-{}-{}", self.partitions, self.size)
    }
}

const LOCAL: Case = Case { partitions: 6, instances: 1, rtt_ms: 0.0, size: 1 };

/// So many rows that each of hundreds of partitions has some ten batches of its own, and the start of the process does
/// not count.
const STEADY: Case = Case { size: 5, ..LOCAL };

const CASES: [Case; 12] = [
    LOCAL,
    STEADY,
    Case { partitions: 512, ..STEADY },
    Case { partitions: 1, ..LOCAL },
    Case { partitions: 64, ..LOCAL },
    Case { partitions: 512, ..LOCAL },
    Case { partitions: 64, instances: 2, ..LOCAL },
    Case { partitions: 64, instances: 4, ..LOCAL },
    Case { rtt_ms: 0.1, ..LOCAL },
    Case { rtt_ms: 2.5, ..LOCAL },
    Case { rtt_ms: 12.0, ..LOCAL },
    Case { size: 10, ..LOCAL },
];

/// What a run showed, or the medians of all runs of a case.
struct Found {
    case: Case,
    rows: u64,
    rows_per_s: f64,
    rows_per_s_from_first: f64,
    cpu_s_per_million: f64,
    peak_rss_mb: f64,
}

fn main() -> ExitCode {
    end("scale", run())
}

fn run() -> Result<Vec<String>> {
    let rows = setting("ROWS", 2_000_000)?;
    let servers = Servers::start(&[])?;
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], servers.postgres.port())))?;
    println!(
        "scale: {:>10} {:>9} {:>6} {:>9} {:>9} {:>10} {:>7} {:>6}",
        "partitions", "instances", "rtt", "rows", "rows/s", "from first", "CPU s/M", "RSS MB"
    );
    let mut topics: Vec<String> = Vec::new();
    for case in CASES {
        let topic = case.topic();
        if !topics.contains(&topic) {
            servers.kafka.create_topic(&topic, case.partitions as i32, &[])?;
            let amount = Amount { count: Some(rows * case.size), ..Amount::default() };
            let profile = Profile { partitions: case.partitions, ..Profile::default() };
            servers.produce(&topic, profile, amount)?;
            topics.push(topic);
        }
    }
    // All cases in turn, as the machine has faster and slower minutes.
    let mut runs: Vec<Found> = Vec::new();
    for round in 0..ROUNDS {
        for (number, case) in CASES.into_iter().enumerate() {
            let group = format!("scale-{round}-{number}");
            let run = drain(&servers, &proxy, case, rows * case.size, &group)?;
            run.print();
            runs.push(run);
        }
    }
    println!("scale: medians");
    let median_of = |case: Case| {
        let of = |of: fn(&Found) -> f64| median(runs.iter().filter(|f| f.case == case).map(of));
        Found {
            case,
            rows: rows * case.size,
            rows_per_s: of(|f| f.rows_per_s),
            rows_per_s_from_first: of(|f| f.rows_per_s_from_first),
            cpu_s_per_million: of(|f| f.cpu_s_per_million),
            peak_rss_mb: of(|f| f.peak_rss_mb),
        }
    };
    let found = CASES.map(median_of);
    found.iter().for_each(Found::print);
    write("scale", &json!(found.iter().map(Found::json).collect::<Vec<_>>()))?;
    Ok(missed(floors(&found)))
}

/// Drains the topic into the empty table as a new consumer group.
fn drain(servers: &Servers, proxy: &Proxy, case: Case, rows: u64, group: &str) -> Result<Found> {
    servers.create_table("")?;
    proxy.delay(Duration::from_secs_f64(case.rtt_ms / 2000.0));
    let direct = servers.postgres.url();
    let (near, far) = (servers.postgres.port().to_string(), proxy.port().to_string());
    let url = if case.rtt_ms > 0.0 { direct.replacen(&near, &far, 1) } else { direct };
    let topic = case.topic();
    let environment =
        [("KAFKA_GROUP", group), ("TOPIC", topic.as_str()), ("DATABASE_URL", url.as_str())];
    let started = Instant::now();
    let programs: Vec<Program> = (0..case.instances)
        .map(|_| tidegate(servers, "scale.toml", &environment, &[]))
        .collect::<Result<_>>()?;
    let (first, last) = servers.wait(group, rows as i64, &programs)?;
    let cpu_seconds: f64 = programs.iter().map(Program::cpu_seconds).sum();
    let mut peak_rss_mb: f64 = 0.0;
    for program in &programs {
        peak_rss_mb = peak_rss_mb.max(program.peak_memory_bytes()? as f64 / 1e6);
    }
    programs.iter().try_for_each(stop)?;
    let written = servers.client.query_one_i64(&format!(
        "SELECT CASE WHEN count(*) = count(DISTINCT order_id) THEN count(*) END FROM {TABLE}"
    ))?;
    if written != rows as i64 {
        return Err(format!("{group}: {written} of {rows} rows").into());
    }
    let seconds_from_first = last.at.duration_since(first.at).as_secs_f64();
    Ok(Found {
        case,
        rows,
        rows_per_s: rows as f64 / last.at.duration_since(started).as_secs_f64(),
        rows_per_s_from_first: (last.durable - first.durable) as f64 / seconds_from_first.max(1e-9),
        cpu_s_per_million: cpu_seconds / rows as f64 * 1e6,
        peak_rss_mb,
    })
}

/// Each a ratio within this run, and whether it is kept.
fn floors(found: &[Found]) -> Vec<(bool, String)> {
    let of = |wanted: Case| found.iter().find(|found| found.case == wanted);
    let (Some(local), Some(one), Some(many), Some(large), Some(steady)) = (
        of(LOCAL),
        of(Case { partitions: 1, ..LOCAL }),
        of(Case { partitions: 512, ..STEADY }),
        of(Case { size: 10, ..LOCAL }),
        of(STEADY),
    ) else {
        return vec![(false, "a case was not measured".to_owned())];
    };
    let rate = |found: &Found| found.rows_per_s_from_first / local.rows_per_s_from_first;
    let cost = many.cpu_s_per_million / steady.cpu_s_per_million;
    let rss = found.iter().map(|found| found.peak_rss_mb).fold(0.0, f64::max);
    let mut floors = vec![
        (
            cost <= 1.3,
            format!("a row costs {cost:.2} times as much at 512 partitions; at most 1.3"),
        ),
        (rate(one) >= 0.6, format!("one partition has {:.2} of the rate; at least 0.6", rate(one))),
        (
            rate(large) >= 0.9,
            format!("ten times the rows have {:.2} of the rate; at least 0.9", rate(large)),
        ),
        (rss <= PEAK_RSS_MAX_MB, format!("{rss:.0} MB resident; at most {PEAK_RSS_MAX_MB}")),
    ];
    for (rtt_ms, least) in [(0.1, 0.9), (2.5, 0.8), (12.0, 0.6)] {
        let rate = of(Case { rtt_ms, ..LOCAL }).map_or(0.0, rate);
        floors.push((
            rate >= least,
            format!("{rate:.2} of the rate at {rtt_ms} ms; at least {least}"),
        ));
    }
    floors
}

impl Found {
    fn print(&self) {
        let Case { partitions, instances, rtt_ms, .. } = self.case;
        println!(
            "scale: {partitions:>10} {instances:>9} {rtt_ms:>6} {:>9} {:>9.0} {:>10.0} {:>7.2} {:>6.0}",
            self.rows,
            self.rows_per_s,
            self.rows_per_s_from_first,
            self.cpu_s_per_million,
            self.peak_rss_mb
        );
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "partitions": self.case.partitions,
            "instances": self.case.instances,
            "rtt_ms": self.case.rtt_ms,
            "rows": self.rows,
            "rows_per_s": self.rows_per_s.round(),
            "rows_per_s_from_first_row": self.rows_per_s_from_first.round(),
            "cpu_s_per_million_rows": self.cpu_s_per_million,
            "peak_rss_mb": self.peak_rss_mb,
        })
    }
}
