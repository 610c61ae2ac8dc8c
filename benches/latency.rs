//! From the record's timestamp to the commit of its row, at rising rates, with all defaults.
//!
//! Postgres tells the time of each commit itself (`track_commit_timestamp`), on the same clock: these are
//! the latencies of the rows, not those that tidegate claims.
//!
//! Run it by `make bench-latency`. Ends with an error when a floor is missed.

mod common;

use std::{process::ExitCode, time::Duration};

use loadgen::{
    Profile,
    chart::{Chart, Curve},
};
use serde_json::json;

use crate::common::{Amount, Result, Servers, TABLE, end, setting, stop, tidegate, write};

const TOPIC: &str = "orders";
const GROUP: &str = "latency";
const PARTITIONS: u32 = 6;
/// Records a second; the last ones are more than two cores can do beside the producer.
const RATES: [u64; 15] = [
    1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 150_000, 200_000, 300_000, 400_000, 500_000,
    600_000, 700_000, 800_000, 900_000,
];
/// The beginning of a step, which is not counted.
const SETTLING: Duration = Duration::from_secs(3);
/// A step whose records wait longer than this is beyond saturation.
const SATURATED_MS: f64 = 2_000.0;
/// What is asked for at this rate, in milliseconds.
const FLOOR: (u64, f64, f64) = (50_000, 60.0, 200.0);
const CHART: &str = "benches/latency.svg";

/// What one rate showed.
struct Step {
    rate: u64,
    achieved: f64,
    rows: i64,
    p50_ms: f64,
    p99_ms: f64,
}

fn main() -> ExitCode {
    end("latency", run())
}

/// The floors that are not kept.
fn run() -> Result<Vec<String>> {
    let seconds = setting("SECONDS", 12)?;
    let servers = Servers::start(&[("track_commit_timestamp", "on")])?;
    servers.kafka.create_topic(TOPIC, PARTITIONS as i32, &[])?;
    servers.create_table(", recorded_at timestamptz")?;
    let programs = [tidegate(&servers, "latency.toml", &[], &[])?];
    let mut produced = 0;
    let mut steps: Vec<Step> = Vec::new();
    println!("latency: {:>9} {:>9} {:>9} {:>9}", "rate", "achieved", "p50 ms", "p99 ms");
    for rate in RATES {
        let duration = Some(SETTLING + Duration::from_secs(seconds));
        let amount = Amount { rate: Some(rate as f64), duration, ..Amount::default() };
        let profile = Profile { partitions: PARTITIONS, ..Profile::default() };
        let report = servers.produce(TOPIC, profile, amount)?;
        produced += report.ledger.produced as i64;
        servers.wait(GROUP, produced, &programs)?;
        let achieved = report.ledger.produced as f64 / report.elapsed.as_secs_f64();
        let step = Step { achieved, ..step(&servers, rate)? };
        let Step { p50_ms, p99_ms, .. } = step;
        println!("latency: {rate:>9} {achieved:>9.0} {p50_ms:>9.1} {p99_ms:>9.1}");
        let is_saturated = p99_ms > SATURATED_MS || achieved < 0.9 * rate as f64;
        steps.push(step);
        if is_saturated {
            break;
        }
    }
    stop(&programs[0])?;
    let values: Vec<_> = steps.iter().map(Step::json).collect();
    write("latency", &json!(values))?;
    std::fs::write(CHART, chart(&steps))?;
    Ok(too_late(&steps))
}

/// The latencies of the rows that came since the last step, which are then removed.
fn step(servers: &Servers, rate: u64) -> Result<Step> {
    let settling = SETTLING.as_secs();
    let rows = servers.client.query_text(&format!(
        "SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), \
                percentile_cont(0.99) WITHIN GROUP (ORDER BY ms) \
         FROM (SELECT 1000 * extract(epoch FROM pg_xact_commit_timestamp(xmin) - recorded_at) AS ms \
               FROM {TABLE} \
               WHERE recorded_at > (SELECT min(recorded_at) + interval '{settling} s' FROM {TABLE})) l"
    ))?;
    let number = |column: usize| -> Result<f64> {
        let text = rows.first().and_then(|row| row.get(column)?.as_deref());
        Ok(text.ok_or("no row has a latency")?.parse()?)
    };
    let step = Step {
        rate,
        achieved: 0.0,
        rows: number(0)? as i64,
        p50_ms: number(1)?,
        p99_ms: number(2)?,
    };
    servers.client.execute(&format!("TRUNCATE {TABLE}"))?;
    Ok(step)
}

fn too_late(steps: &[Step]) -> Vec<String> {
    let (rate, p50_max, p99_max) = FLOOR;
    let Some(step) = steps.iter().find(|step| step.rate == rate) else {
        return vec![format!("{rate} records a second were not reached")];
    };
    let floors = [("p50", step.p50_ms, p50_max), ("p99", step.p99_ms, p99_max)];
    let is_missed = |(_, found, most): &&(&str, f64, f64)| found > most;
    let shown = |(name, found, most): &(&str, f64, f64)| {
        format!("{name} {found:.1} ms at {rate} records a second; at most {most}")
    };
    floors.iter().filter(is_missed).map(shown).collect()
}

impl Step {
    fn json(&self) -> serde_json::Value {
        json!({
            "rate": self.rate,
            "achieved_rate": self.achieved.round(),
            "rows": self.rows,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
        })
    }
}

fn chart(steps: &[Step]) -> String {
    let points = |ms: fn(&Step) -> f64| steps.iter().map(|s| (s.achieved, ms(s))).collect();
    let title = "Record timestamp to committed row, ms, by records a second";
    let curves = [
        Curve { name: "p50", colour: "#1f77b4", points: points(|step| step.p50_ms) },
        Curve { name: "p99", colour: "#d62728", points: points(|step| step.p99_ms) },
    ];
    Chart { title, curves: &curves, limit: None }.svg()
}
