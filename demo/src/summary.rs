//! The summary by day: made from the first part, merged with what came since, and compared with the plain
//! aggregate over all rows.

use std::time::{Duration, Instant};

use loadgen::grouped;
use stack::Client;

use crate::{error::Error, service::Launch};

/// The rollup in `examples/orders.toml`, as the plain aggregate that its view must equal.
const PLAIN_SQL: &str = "\
    SELECT date_trunc('day', created_at, 'UTC'), status, count(*), sum(amount) FROM orders_realtime \
    WHERE status <> 'removed' GROUP BY 1, 2";
const VIEW_SQL: &str = "SELECT bucket, status, orders, revenue FROM orders_summary";
/// Orders come in the order of time, nearly.
const INDEX_SQL: &str = "CREATE INDEX ON orders_realtime USING brin (created_at)";
const PARTS_SQL: &str = "\
    SELECT (SELECT count(*) FROM orders_batch_summary b, tidegate.rollups r WHERE b.bucket < r.boundary), \
           (SELECT count(DISTINCT t.bucket) FROM tidegate.rollup_touched t, tidegate.rollups r \
            WHERE t.bucket < r.boundary)";

/// Makes the summary, and finishes all days that there are.
pub(crate) fn make(
    launch: &Launch,
    client: &Client,
    brokers: &str,
    url: &str,
) -> Result<(), Error> {
    client.execute(INDEX_SQL)?;
    for action in ["create", "run"] {
        let said = launch.rollup(action, brokers, url)?;
        said.lines().for_each(|line| println!("demo: {line}"));
    }
    Ok(())
}

/// Asks for orders by status in both ways, and says whether the answers are one.
pub(crate) fn compare(client: &Client) -> Result<bool, Error> {
    // VACUUM runs in no transaction, and two statements at once are one.
    client.execute("VACUUM ANALYZE orders_realtime")?;
    client.execute("ANALYZE orders_batch_summary")?;
    let by_status = |from: &str| {
        format!(
            "SELECT status, sum(orders), sum(revenue) FROM ({from}) s(day, status, orders, revenue) \
             GROUP BY status ORDER BY status"
        )
    };
    let ask = |sql: &str| -> Result<_, Error> {
        let since = Instant::now();
        let rows = client.query_text(sql)?;
        Ok((rows, since.elapsed()))
    };
    // Both once before, so that neither pays for a cold cache.
    ask(&by_status(PLAIN_SQL))?;
    ask(&by_status(VIEW_SQL))?;
    let (plain, plain_time) = ask(&by_status(PLAIN_SQL))?;
    let (merged, merged_time) = ask(&by_status(VIEW_SQL))?;
    let parts = client.query_text(PARTS_SQL)?;
    let part = |index: usize| {
        let cell = parts.first().and_then(|row| row.get(index)).cloned().flatten();
        cell.unwrap_or_default()
    };
    println!(
        "demo: orders by status, merged from {} rows of the batch table and the detailed rows of {} \
         days that were touched since:",
        part(0),
        part(1)
    );
    for row in &merged {
        let cells = row.iter().map(|cell| cell.as_deref().unwrap_or("-"));
        let cells: Vec<String> = cells.map(|cell| format!("{cell:>16}")).collect();
        println!("demo:   {}", cells.join(" "));
    }
    let differences = client.query_one_i64(&format!(
        "SELECT count(*) FROM (({VIEW_SQL} EXCEPT ALL {PLAIN_SQL}) UNION ALL \
         ({PLAIN_SQL} EXCEPT ALL {VIEW_SQL})) d"
    ))?;
    let is_same = merged == plain && differences == 0;
    println!(
        "demo: merged query: {}, plain aggregate: {} ({:.0} times as long), {}",
        shown(merged_time),
        shown(plain_time),
        plain_time.as_secs_f64() / merged_time.as_secs_f64().max(1e-9),
        if is_same { "the same answer" } else { "ANOTHER ANSWER" }
    );
    Ok(is_same)
}

fn shown(time: Duration) -> String {
    let us = time.as_micros();
    if us < 10_000 {
        format!("{:.1} ms", us as f64 / 1000.0)
    } else {
        format!("{} ms", grouped(time.as_millis() as u64))
    }
}
