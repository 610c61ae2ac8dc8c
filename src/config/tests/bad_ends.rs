use super::{check, full_with, parse, problems};

#[test]
fn what_is_wrong_with_a_source_is_named() {
    check(&[
        (
            r#"start = "earliest""#,
            "start = 1969-12-31T23:59:59Z",
            "tidegate.toml:5: sources.shop.start: expected `earliest`, `latest` or an RFC 3339 \
             timestamp such as \"2026-01-31T00:00:00Z\", found the date 1969-12-31T23:59:59Z",
        ),
        (
            r#""fetch.wait.max.ms" = "50""#,
            "\"fetch.wait.max.ms\" = 50\nfetch.wait.max.ms = 60",
            "tidegate.toml:8: sources.shop.properties.\"fetch.wait.max.ms\": given twice, with and \
             without quotes; remove one",
        ),
        (
            "brokers = ",
            "brokerz = ",
            "tidegate.toml:3: sources.shop.brokerz: unknown key; did you mean `brokers`?",
        ),
        (
            r#"kind = "kafka""#,
            r#"kind = "kafak""#,
            "tidegate.toml:2: sources.shop.kind: expected one of `kafka`, `ndjson`, found \
             `kafak`; did you mean `kafka`?",
        ),
        (
            "kind = \"kafka\"\n",
            "",
            "tidegate.toml:1: sources.shop.kind: missing; expected `kafka` or `ndjson`",
        ),
        (
            "kind = \"kafka\"\n",
            "knd = \"kafka\"\n",
            "tidegate.toml:2: sources.shop.knd: unknown key; did you mean `kind`?",
        ),
        (
            r#"kind = "kafka""#,
            "kind = 7",
            "tidegate.toml:2: sources.shop.kind: expected a string (one of `kafka`, \
             `ndjson`), found the integer 7",
        ),
        (
            "brokers = \"localhost:9092\"\n",
            "",
            "tidegate.toml:1: sources.shop.brokers: missing; expected a comma-separated \
             list such as \"kafka-1:9092,kafka-2:9092\"",
        ),
        (
            r#""localhost:9092""#,
            r#"["localhost:9092"]"#,
            "tidegate.toml:3: sources.shop.brokers: expected a string (a comma-separated \
             list such as \"kafka-1:9092,kafka-2:9092\"), found an array",
        ),
        (
            r#""localhost:9092""#,
            r#""localhost:nine""#,
            "tidegate.toml:3: sources.shop.brokers: expected a comma-separated list such \
             as \"kafka-1:9092,kafka-2:9092\", found `localhost:nine`",
        ),
        (
            r#""localhost:9092""#,
            r#""localhost,,b""#,
            "tidegate.toml:3: sources.shop.brokers: expected a comma-separated list such \
             as \"kafka-1:9092,kafka-2:9092\", found `localhost,,b`",
        ),
        (
            r#""orders-speed-layer""#,
            r#""""#,
            "tidegate.toml:4: sources.shop.group: expected the name of a consumer group, \
             found an empty string",
        ),
        (
            r#"start = "earliest""#,
            r#"start = "erliest""#,
            "tidegate.toml:5: sources.shop.start: expected `earliest`, `latest` or an RFC \
             3339 timestamp such as \"2026-01-31T00:00:00Z\", found `erliest`",
        ),
        (
            r#"start = "earliest""#,
            "start = 2026-01-31",
            "tidegate.toml:5: sources.shop.start: expected `earliest`, `latest` or an RFC \
             3339 timestamp such as \"2026-01-31T00:00:00Z\", found the date 2026-01-31",
        ),
        (
            r#"commit_interval = "1s""#,
            "commit_interval = 1",
            "tidegate.toml:6: sources.shop.commit_interval: expected a number with a unit \
             (ms, s, m, h, d) such as \"1ms\" or \"1s\", found the integer 1",
        ),
        (
            r#"commit_interval = "1s""#,
            r#"commit_interval = "1 fortnight""#,
            "tidegate.toml:6: sources.shop.commit_interval: expected a number with a unit \
             (ms, s, m, h, d), from 10ms to 1h, found `1 fortnight`",
        ),
        (
            r#"commit_interval = "1s""#,
            r#"commit_interval = "2h""#,
            "tidegate.toml:6: sources.shop.commit_interval: expected a duration from 10ms \
             to 1h, found `2h`",
        ),
        (
            r#""fetch.wait.max.ms" = "50""#,
            r#""enable.auto.commit" = true"#,
            "tidegate.toml:8: sources.shop.properties.\"enable.auto.commit\": not allowed \
             here: tidegate commits offsets itself, once their rows are in the sinks; \
             remove it",
        ),
        (
            r#""fetch.wait.max.ms" = "50""#,
            r#"auto.offset.reset = "earliest""#,
            "tidegate.toml:8: sources.shop.properties.\"auto.offset.reset\": not allowed \
             here: it has a key of its own; use `start` instead",
        ),
        (
            r#""fetch.wait.max.ms" = "50""#,
            r#""group.id" = "g""#,
            "tidegate.toml:8: sources.shop.properties.\"group.id\": not allowed here: it \
             has a key of its own; use `group` instead",
        ),
        (
            r#""fetch.wait.max.ms" = "50""#,
            r#""fetch.max.bytes" = 1000"#,
            "tidegate.toml:8: sources.shop.properties.\"fetch.max.bytes\": not allowed \
             here: tidegate shares out its memory itself; use `memory.budget` instead",
        ),
        (
            r#""fetch.wait.max.ms" = "50""#,
            r#""sasl.password" = ["hunter2"]"#,
            "tidegate.toml:8: sources.shop.properties.\"sasl.password\": expected a \
             string, a number or a boolean, found an array",
        ),
        (
            "[sources.backlog]",
            "[sources.Backlog]",
            "tidegate.toml:10: sources.Backlog: not a name for a source; expected 1 to 63 \
             characters among a-z, 0-9, `_` and `-`\n\
             tidegate.toml:45: routes[1].source: no source is named `backlog`; did you \
             mean `Backlog`?",
        ),
        (
            r#"path = "orders.ndjson""#,
            r#"pth = "orders.ndjson""#,
            "tidegate.toml:12: sources.backlog.pth: unknown key; did you mean `path`?",
        ),
        (
            r#"path = "orders.ndjson""#,
            "path = \"-\"\n[sources.again]\nkind = \"ndjson\"\npath = \"-\"",
            "tidegate.toml:12: sources.backlog.path: sources.again reads stdin, too; \
             expected a path of its own",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_a_sink_is_named() {
    check(&[
        (
            "${env:DATABASE_URL}",
            "${env:DATABASE_URI}",
            "tidegate.toml:16: sinks.serving.url: the environment variable `DATABASE_URI` \
             is not set; set it, or write `${env:DATABASE_URI:-default}`",
        ),
        (
            "${env:DATABASE_URL}",
            "${env:DATABASE_URL",
            "tidegate.toml:16: sinks.serving.url: a `${` has no `}`; write `$${` for a \
             literal `${`",
        ),
        (
            "${env:DATABASE_URL}",
            "${vault:DATABASE_URL}",
            "tidegate.toml:16: sinks.serving.url: a `${...}` is neither `${env:NAME}`, \
             `${env:NAME:-default}` nor `${file:/path}`; write `$${` for a literal `${`",
        ),
        (
            "${env:DATABASE_URL}",
            "${env:DATABASE URL}",
            "tidegate.toml:16: sinks.serving.url: a `${env:...}` holds no name of a \
             variable (letters, digits and `_`)",
        ),
        (
            "${env:DATABASE_URL}",
            "${file:no/such/file}",
            "tidegate.toml:16: sinks.serving.url: the file `no/such/file` cannot be read: \
             No such file or directory (os error 2)",
        ),
        (
            "${env:DATABASE_URL}",
            "mysql://app:hunter2@db/shop",
            "tidegate.toml:16: sinks.serving.url: expected a URL such as \
             \"postgres://user:password@host:5432/database\", found a string that begins \
             differently",
        ),
        (
            "${env:DATABASE_URL}",
            "postgres://app:hunter2@db:port/shop",
            "tidegate.toml:16: sinks.serving.url: expected a URL such as \
             \"postgres://user:password@host:5432/database\", found one that does not \
             parse (not shown); are special characters in the password percent-encoded \
             (`@` as `%40`, `/` as `%2F`, `?` as `%3F`, `#` as `%23`, `%` as `%25`)?",
        ),
        (
            "${env:DATABASE_URL}",
            "${env:DATABASE_URL}?sslmode=verify-full",
            "tidegate.toml:16: sinks.serving.url: unknown `sslmode`; expected one of \
             `disable`, `prefer`, `require` (which verifies the certificate and the name, \
             as libpq's `verify-full` does)",
        ),
        (
            "${env:DATABASE_URL}",
            "postgres:///shop",
            "tidegate.toml:16: sinks.serving.url: the URL names no host; expected a URL \
             such as \"postgres://user:password@host:5432/database\"",
        ),
        (
            r#"url = "${env:DATABASE_URL}""#,
            "url = 5",
            "tidegate.toml:16: sinks.serving.url: expected a string (a URL such as \
             \"postgres://user:password@host:5432/database\"), found the integer 5",
        ),
        (
            "writers = 4",
            "writers = 0",
            "tidegate.toml:17: sinks.serving.writers: expected an integer from 1 to 64, \
             found the integer 0",
        ),
        (
            "writers = 4",
            r#"writers = "four""#,
            "tidegate.toml:17: sinks.serving.writers: expected an integer from 1 to 64, \
             found `four`",
        ),
        (
            "writers = 4",
            "writers = 99999999999999999999",
            "tidegate.toml:17: sinks.serving.writers: expected an integer from 1 to 64, \
             found the number 99999999999999999999",
        ),
        (
            "writers = 4",
            r#"writers = "${env:DATABASE_URL}""#,
            "tidegate.toml:17: sinks.serving.writers: expected an integer from 1 to 64, \
             found a string from a `${...}` (not shown)",
        ),
        (
            r#"path = "-""#,
            r#"url = "-""#,
            "tidegate.toml:19: sinks.archive.path: missing; expected the path of a file, \
             or `-` for stdout\n\
             tidegate.toml:21: sinks.archive.url: unknown key; the keys are `kind`, `path`",
        ),
        (
            r#"kind = "null""#,
            r#"kind = "nil""#,
            "tidegate.toml:23: sinks.nowhere.kind: expected one of `postgres`, `ndjson`, \
             `null`, `handler`, found `nil`",
        ),
        (
            "[sinks.nowhere]",
            "[sinks.again]\nkind = \"ndjson\"\npath = \"-\"\n[sinks.nowhere]",
            "tidegate.toml:21: sinks.archive.path: sinks.again writes to stdout, too; \
             expected a path of its own",
        ),
    ]);
}

#[test]
fn properties_that_tidegate_owns_are_refused() {
    for (name, way_out) in [
        ("enable.auto.commit", "remove it"),
        ("enable.auto.offset.store", "remove it"),
        ("auto.offset.reset", "use `start` instead"),
        ("group.id", "use `group` instead"),
        ("bootstrap.servers", "use `brokers` instead"),
        ("metadata.broker.list", "use `brokers` instead"),
        ("auto.commit.interval.ms", "use `commit_interval` instead"),
        ("statistics.interval.ms", "remove it"),
        ("enable.partition.eof", "remove it"),
        ("queued.max.messages.kbytes", "use `memory.budget` instead"),
        ("fetch.message.max.bytes", "use `memory.budget` instead"),
        ("max.partition.fetch.bytes", "use `memory.budget` instead"),
        ("fetch.max.bytes", "use `memory.budget` instead"),
    ] {
        let message = problems(&full_with("\"fetch.wait.max.ms\"", name));
        let start =
            format!("tidegate.toml:8: sources.shop.properties.\"{name}\": not allowed here: ");
        assert!(message.starts_with(&start) && message.ends_with(way_out), "{message}");
    }
}

#[test]
fn properties_that_are_the_users_are_kept() {
    for name in [
        "isolation.level",
        "check.crcs",
        "partition.assignment.strategy",
        "group.protocol",
        "group.instance.id",
        "queued.min.messages",
    ] {
        assert!(parse(&full_with("\"fetch.wait.max.ms\"", name)).is_ok(), "{name}");
    }
}
