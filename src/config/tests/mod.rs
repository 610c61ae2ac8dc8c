mod bad_ends;
mod bad_routes;
mod bad_settings;
mod formats;
mod growth;
mod keys;
mod partitions;
mod precedence;
mod quantities;
mod rollups;
mod secrets;
mod shape;

use super::{Config, ConfigError, Environment};

/// Every key that there is; each bad input is this with one slip.
const FULL: &str = r#"[sources.shop]
kind = "kafka"
brokers = "localhost:9092"
group = "orders-speed-layer"
start = "earliest"
commit_interval = "1s"
[sources.shop.properties]
"fetch.wait.max.ms" = "50"

[sources.backlog]
kind = "ndjson"
path = "orders.ndjson"

[sinks.serving]
kind = "postgres"
url = "${env:DATABASE_URL}"
writers = 4
ca_file = "ca.pem"
[sinks.archive]
kind = "ndjson"
path = "-"
[sinks.nowhere]
kind = "null"

[[routes]]
source = "shop"
topics = ["orders"]
format = "json"
max_record_bytes = "1MiB"
[[routes.to]]
sink = "serving"
table = "orders_realtime"
write = "append"
delivery = "exactly-once"
on_missing_table = "fail"
dead_letters = { topic = "orders-dead" }
[routes.to.columns]
kafka_offset = { metadata = "offset" }
total = { field = "amount" }
created_at = { field = "ts", epoch = "ms" }
internal_note = { skip = true }
[[routes.to]]
sink = "archive"
[[routes]]
source = "backlog"
[[routes.to]]
sink = "nowhere"

[batch]
rows = 20000
bytes = "4MiB"
age = "100ms"
[memory]
budget = "128MiB"
[admin]
listen = "127.0.0.1:9187"
[shutdown]
drain = "10s"
[log]
format = "auto"
level = "info"
"#;

const URL: &str = "postgres://app:hunter2@db.example:5433/shop";

fn environment(more: &[(&str, &str)]) -> Environment {
    [("DATABASE_URL", URL), ("PASSWORD", "hunter2")].iter().chain(more).copied().collect()
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "tidegate.toml", &[], &environment(&[]))
}

/// [`FULL`] with one piece replaced.
fn full_with(piece: &str, replacement: &str) -> String {
    assert_eq!(FULL.matches(piece).count(), 1, "`{piece}` must stand in FULL once");
    FULL.replace(piece, replacement)
}

/// A piece of [`FULL`], what stands there instead, and the whole of the error.
type Case = (&'static str, &'static str, &'static str);

fn check(cases: &[Case]) {
    for (piece, replacement, expected) in cases {
        assert_eq!(problems(&full_with(piece, replacement)), *expected, "for `{replacement}`");
    }
}

/// The problems of `text`, as they are shown.
fn problems(text: &str) -> String {
    parse(text).map(|_| ()).expect_err("must be refused").to_string()
}
