//! Summaries by time.

use std::time::Duration;

use super::{super::*, FULL, full_with, parse, problems};

const ROLLUP: &str = r#"
[[rollups]]
name = "orders"
sink = "serving"
table = "orders_realtime"
time_column = "created_at"
bucket = "day"
time_zone = "Europe/Berlin"
aggregates = { orders = "count(*)", revenue = "sum(amount)" }
batch_table = "orders_batch_summary"
view = "orders_summary"
"#;

fn table(name: &str) -> TableName {
    TableName { schema: None, name: name.to_owned() }
}

/// [`FULL`] and [`ROLLUP`] with one piece replaced.
fn with(piece: &str, replacement: &str) -> String {
    assert_eq!(ROLLUP.matches(piece).count(), 1, "`{piece}` must stand in ROLLUP once");
    format!("{FULL}{}", ROLLUP.replace(piece, replacement))
}

fn rollup(piece: &str, replacement: &str) -> Rollup {
    parse(&with(piece, replacement)).unwrap().rollups.remove(0)
}

#[test]
fn what_is_left_out_of_a_rollup_has_its_default() {
    assert_eq!(parse(FULL).unwrap().rollups, []);
    let texts = |texts: [(&str, &str); 2]| {
        texts.map(|(name, sql)| (name.to_owned(), sql.to_owned())).into()
    };
    let least = Rollup {
        name: "orders".to_owned(),
        sink: "serving".to_owned(),
        table: table("orders_realtime"),
        time_column: "created_at".to_owned(),
        bucket: Bucket::Day,
        time_zone: "Europe/Berlin".to_owned(),
        group_by: Vec::new(),
        filter: None,
        aggregates: texts([("orders", "count(*)"), ("revenue", "sum(amount)")]),
        batch_table: table("orders_batch_summary"),
        view: table("orders_summary"),
        delay: Duration::from_secs(300),
        every: None,
        retention: None,
        watch_inserts: false,
        late: Late::DeadLetter,
    };
    assert_eq!(rollup("\"day\"", "\"day\""), least);
    let short = rollup("bucket = \"day\"\ntime_zone = \"Europe/Berlin\"", "bucket = \"minute\"");
    assert_eq!((short.bucket, short.time_zone.as_str()), (Bucket::Minute, "UTC"));
    let more = "\"day\"\ngroup_by = [\"status\"]\nfilter = \"status <> 'removed'\"\n\
                retention = \"90d\"\n\
                delay = \"1h\"\nevery = \"1m\"\nwatch_inserts = true\nlate = \"merge\"";
    let full = rollup("\"day\"", more);
    assert_eq!(full.group_by, ["status"]);
    assert_eq!(full.filter.as_deref(), Some("status <> 'removed'"));
    assert_eq!(
        (full.delay, full.every),
        (Duration::from_secs(3600), Some(Duration::from_secs(60)))
    );
    assert_eq!(full.retention, Some(Duration::from_secs(90 * 86_400)));
    assert!(full.watch_inserts);
    assert_eq!(full.late, Late::Merge);
}

#[test]
fn what_is_wrong_with_a_rollup_is_named() {
    let cases = [
        (
            "\"orders\"\n",
            "\"Orders\"\n",
            "64: rollups[0].name: expected 1 to 40 characters among a-z, 0-9, `_` and `-`, found `Orders`",
        ),
        (
            "\"serving\"",
            "\"archive\"",
            "65: rollups[0].sink: `archive` is no postgres sink, which a rollup needs",
        ),
        (
            "\"serving\"",
            "\"servin\"",
            "65: rollups[0].sink: no sink is named `servin`; did you mean `serving`?",
        ),
        (
            "\"day\"",
            "\"year\"",
            "68: rollups[0].bucket: expected one of `minute`, `hour`, `day`, `week`, `month`, found `year`",
        ),
        (
            "time_zone = \"Europe/Berlin\"\n",
            "",
            "63: rollups[0].time_zone: missing; expected a time zone of the IANA database such as \"Europe/Berlin\" or \"UTC\"",
        ),
        (
            "\"Europe/Berlin\"",
            "\"Berlin\"",
            "69: rollups[0].time_zone: expected a time zone of the IANA database such as \"Europe/Berlin\" or \"UTC\", found `Berlin`",
        ),
        (
            "orders = \"count(*)\"",
            "bucket = \"count(*)\"",
            "70: rollups[0].aggregates.bucket: the summary has a column of this name already; expected another",
        ),
        (
            "aggregates = { orders = \"count(*)\", revenue = \"sum(amount)\" }",
            "aggregates = {}",
            "70: rollups[0].aggregates: expected aggregates in SQL such as `{ orders = \"count(*)\" }`, found a table",
        ),
        (
            "\"orders_summary\"",
            "\"orders_batch_summary\"",
            "63: rollups[0]: `table`, `batch_table` and `view` must have three names",
        ),
        (
            "\"day\"",
            "\"day\"\ngroup_by = [\"status\", \"status\"]",
            "69: rollups[0].group_by[1]: `status` is in the list already; remove it",
        ),
        (
            "\"day\"",
            "\"day\"\nevery = \"10ms\"",
            "69: rollups[0].every: expected a duration from 1s to 366d, found `10ms`",
        ),
        ("view =", "vieww =", "72: rollups[0].vieww: unknown key; did you mean `view`?"),
        (
            "sum(amount)\" }",
            "avg(amount)\" }\nlate = \"merge\"",
            "71: rollups[0].late: no row can be added to `revenue = avg(amount)`; expected count, sum, min or \
             max alone (an average as sum and count), or late = \"dead_letter\"",
        ),
    ];
    for (piece, replacement, problem) in cases {
        let found = problems(&with(piece, replacement));
        assert_eq!(found, format!("tidegate.toml:{problem}"), "for `{replacement}`");
    }
}

#[test]
fn two_rollups_have_no_name_and_no_table_in_common() {
    let found = problems(&format!("{FULL}{ROLLUP}{ROLLUP}"));
    assert_eq!(
        found,
        "tidegate.toml:74: rollups[1]: another rollup is named `orders`; expected a name of its own\n\
         tidegate.toml:74: rollups[1]: rollup `orders` makes `orders_batch_summary`, too; expected a \
         name of its own"
    );
}

#[test]
fn a_table_whose_rows_are_marked_as_deleted_needs_its_inserts_watched() {
    let marked = |rollup: &str| {
        let mirror = "write = \"mirror\"\nsoft_delete = \"removed_at\"\n";
        format!("{}{rollup}", full_with("write = \"append\"\n", mirror))
    };
    assert_eq!(
        problems(&marked(ROLLUP)),
        "tidegate.toml:64: rollups[0]: a route writes to this table with soft_delete; expected \
         watch_inserts = true"
    );
    let watched = ROLLUP.replace("view =", "watch_inserts = true\nview =");
    assert!(parse(&marked(&watched)).is_ok());
    let merging = watched.replace("view =", "late = \"merge\"\nview =");
    assert_eq!(
        problems(&marked(&merging)),
        "tidegate.toml:64: rollups[0]: a route writes to this table by key; expected late = \"dead_letter\""
    );
}
