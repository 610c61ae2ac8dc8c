use super::check;

#[test]
fn what_is_wrong_with_a_setting_is_named() {
    check(&[
        (
            "rows = 20000",
            "rows = 0",
            "tidegate.toml:50: batch.rows: expected an integer from 1 to 10000000, found \
             the integer 0",
        ),
        (
            "rows = 20000",
            "rowz = 20000",
            "tidegate.toml:50: batch.rowz: unknown key; did you mean `rows`?",
        ),
        (
            r#"bytes = "4MiB""#,
            r#"bytes = "80MiB""#,
            "tidegate.toml:51: batch.bytes: two batches of 80MiB do not fit into \
             memory.budget (128MiB); expected at most 64MiB here, or a memory.budget of at \
             least 160MiB",
        ),
        (
            r#"bytes = "4MiB""#,
            r#"bytes = "4 megs""#,
            "tidegate.toml:51: batch.bytes: expected a size such as \"4MiB\" or a number \
             of bytes, from 1KiB to 1GiB, found `4 megs`",
        ),
        (
            r#"age = "100ms""#,
            r#"age = "0ms""#,
            "tidegate.toml:52: batch.age: expected a duration from 1ms to 1h, found `0ms`",
        ),
        (
            r#"budget = "128MiB""#,
            r#"budget = "1MiB""#,
            "tidegate.toml:54: memory.budget: expected a size such as \"4MiB\" or a number \
             of bytes, at least 16MiB, found `1MiB`",
        ),
        (
            r#"listen = "127.0.0.1:9187""#,
            r#"listen = "localhost:9187""#,
            "tidegate.toml:56: admin.listen: expected an IP address and a port such as \
             \"127.0.0.1:9187\", found `localhost:9187`",
        ),
        (
            r#"drain = "10s""#,
            r#"drain = "2m""#,
            "tidegate.toml:58: shutdown.drain: expected a duration from 1ms to 1m, found \
             `2m`",
        ),
        (
            r#"format = "auto""#,
            r#"format = "color""#,
            "tidegate.toml:60: log.format: expected one of `auto`, `human`, `json`, found \
             `color`",
        ),
        (
            r#"level = "info""#,
            r#"level = "inf""#,
            "tidegate.toml:61: log.level: expected one of `off`, `error`, `warn`, `info`, \
             `debug`, `trace`, found `inf`; did you mean `info`?",
        ),
        ("[log]", "[logs]", "tidegate.toml:59: logs: unknown key; did you mean `log`?"),
        ("[log]", "[batch]", "tidegate.toml:59: not TOML: duplicate key `batch`"),
        ("[memory]", "[memory", "tidegate.toml:53: not TOML: unclosed table, expected `]`"),
    ]);
}
