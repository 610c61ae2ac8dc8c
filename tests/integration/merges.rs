//! Rows that take the place of others, or remove them: the table is what a map would be.

use std::{
    process::Stdio,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::support::{Message, Tidegate, World, eventually, grid, produce};

/// A topic, a table made by `ddl`, and a configuration that writes into `items` in the way of `write`.
fn world(name: &str, partitions: i32, ddl: &str, write: &str) -> (World, String) {
    let world = World::bare(name, partitions);
    world.sql.execute(ddl).unwrap();
    let config = config(&world, write);
    (world, config)
}

fn config(world: &World, write: &str) -> String {
    let to = format!("\"serving\"\ntable = \"items\"\n{write}");
    format!(
        "{}{}{}",
        world.source_config(""),
        world.sink_config("serving"),
        world.route_config(&to)
    )
}

fn put(partition: i32, json: &str) -> Message {
    Message { partition, ..Message::json(json) }
}

fn tombstone(partition: i32, key: &str) -> Message {
    Message { partition, key: Some(key.as_bytes().to_vec()), ..Message::default() }
}

/// Waits until `records` have found their fate; gives how many were written, coalesced, filtered and
/// dead-lettered.
fn settled(tidegate: &mut Tidegate, records: u64) -> [u64; 4] {
    eventually("every record's fate", || {
        let counts = tidegate.assert_conservation();
        let fates = [counts.written, counts.coalesced, counts.filtered, counts.dead_lettered];
        if counts.consumed == records { Ok(fates) } else { Err(format!("{counts:?}")) }
    })
}

#[test]
fn a_record_takes_the_place_of_the_row_with_its_key_as_a_whole() {
    let ddl = "CREATE TABLE items (region text, code numeric, name text, size int DEFAULT 7, \
               note text, twice int GENERATED ALWAYS AS (size * 2) STORED, kept text DEFAULT 'k', \
               PRIMARY KEY (region, code))";
    let write = "write = \"upsert\"\n[routes.to.columns]\nkept = { skip = true }";
    let (world, config) = world("upsert-whole", 1, ddl, write);
    world
        .sql
        .execute("INSERT INTO items VALUES ('eu', 1, 'old', 1, 'old'), ('eu', 9, 'n', 1, NULL)")
        .unwrap();
    world.sql.execute("UPDATE items SET kept = 'mine'").unwrap();
    let messages = [
        // One key in three notations, in one batch.
        r#"{"region":"eu","code":1,"name":"a","size":1,"note":"x"}"#,
        r#"{"region":"eu","code":1.0,"name":"b","size":2,"note":"y"}"#,
        r#"{"note":"z","code":1.00,"region":"eu","name":"c"}"#,
        r#"{"region":"us","code":1,"name":"d","size":null}"#,
        r#"{"region":"us","name":"no key"}"#,
        r#"{"region":null,"code":2}"#,
    ];
    produce(&world, &messages.map(Message::json));
    let mut tidegate = world.run(&config, &[]);
    let [written, coalesced, _, dead] = settled(&mut tidegate, 6);
    assert_eq!((written + coalesced, dead), (4, 2));
    tidegate.stop();
    let rows =
        world.rows("SELECT region, code, name, size, note, twice, kept FROM items ORDER BY 1, 2");
    let expected = [
        ["eu", "1", "c", "7", "z", "14", "mine"],
        ["eu", "9", "n", "1", "~", "2", "mine"],
        ["us", "1", "d", "~", "~", "~", "k"],
    ];
    assert_eq!(rows, grid(&expected));
    let letters = world
        .rows("SELECT reason, column_name, message FROM tidegate.dead_letters ORDER BY \"offset\"");
    let message = "the record has no value for this column of the key";
    assert_eq!(
        letters,
        grid(&[["missing_value", "code", message], ["missing_value", "region", message]])
    );
}

#[test]
fn keys_that_postgres_holds_for_one_are_one() {
    let ddl = "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
               CREATE TABLE items (id text COLLATE ci, code char(3), n int, PRIMARY KEY (id, code))";
    let (world, config) = world("equal-keys", 1, ddl, "write = \"upsert\"");
    let messages = [
        r#"{"id":"Ada","code":"x","n":1}"#,
        r#"{"id":"ADA","code":"x  ","n":2}"#,
        r#"{"id":"ada","code":"x ","n":3}"#,
        r#"{"id":"ada","code":"y","n":4}"#,
    ];
    produce(&world, &messages.map(Message::json));
    let mut tidegate = world.run(&config, &[]);
    assert_eq!(settled(&mut tidegate, 4)[3], 0);
    tidegate.stop();
    let rows = world.rows("SELECT lower(id), code, n FROM items ORDER BY 2");
    assert_eq!(rows, grid(&[["ada", "x  ", "3"], ["ada", "y  ", "4"]]));
}

#[test]
fn a_tombstone_removes_its_row_in_the_order_of_the_records() {
    let ddl = "CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL)";
    let (world, config) = world("mirror-order", 1, ddl, "write = \"mirror\"");
    world
        .sql
        .execute("INSERT INTO items VALUES (1, 'old'), (2, 'old'), (3, 'old'), (6, 'old')")
        .unwrap();
    let messages = [
        tombstone(0, "1"),
        put(0, r#"{"id":1,"name":"again"}"#),
        put(0, r#"{"id":2,"name":"new"}"#),
        tombstone(0, r#"{"id":2}"#),
        tombstone(0, r#"{"id":3,"name":"whatever"}"#),
        tombstone(0, "404"),
        put(0, r#"{"id":4,"name":"four"}"#),
        Message::default(),
        tombstone(0, "six"),
        put(0, r#"{"id":5}"#),
        tombstone(0, r#"{"ID":6}"#),
    ];
    produce(&world, &messages);
    let mut tidegate = world.run(&config, &[]);
    let [written, coalesced, _, dead] = settled(&mut tidegate, 11);
    assert_eq!((written + coalesced, dead), (7, 4));
    tidegate.stop();
    let rows = world.rows("SELECT id, name FROM items ORDER BY 1");
    assert_eq!(rows, grid(&[["1", "again"], ["4", "four"], ["6", "old"]]));
    let letters =
        world.rows("SELECT reason, column_name FROM tidegate.dead_letters ORDER BY \"offset\"");
    let expected = [
        ["missing_value", "id"],
        ["invalid_text", "id"],
        ["missing_value", "name"],
        ["missing_value", "id"],
    ];
    assert_eq!(letters, grid(&expected));
}

#[test]
fn a_tombstone_marks_its_row_where_it_is_to_stay() {
    // Of a second ago: retention removes what is old.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64 - 1_000;
    let instant = format!("to_timestamp({now} / 1000.0)");
    for (column, is_marked) in [
        ("gone boolean NOT NULL DEFAULT false", "gone".to_owned()),
        ("gone timestamptz", format!("gone = {instant}")),
        ("gone timestamp", format!("gone = {instant} AT TIME ZONE 'UTC'")),
    ] {
        let name = format!("soft-delete-{}", column.split(' ').nth(1).unwrap());
        let ddl = format!("CREATE TABLE items (id text PRIMARY KEY, name text NOT NULL, {column})");
        let (world, config) = world(&name, 1, &ddl, "write = \"mirror\"\nsoft_delete = \"gone\"");
        world.sql.execute("INSERT INTO items VALUES ('a', 'old'), ('b', 'old')").unwrap();
        let dated = |message| Message { timestamp_ms: Some(now), ..message };
        let messages = [
            tombstone(0, "a"),
            tombstone(0, "\"b\""),
            put(0, r#"{"id":"b","name":"back"}"#),
            put(0, r#"{"id":"c","name":"see"}"#),
            tombstone(0, r#""c""#),
            tombstone(0, "unheard of"),
        ];
        produce(&world, &messages.map(dated));
        let mut tidegate = world.run(&config, &[]);
        assert_eq!(settled(&mut tidegate, 6)[3], 0);
        tidegate.stop();
        let rows = world
            .rows(&format!("SELECT id, name, coalesce({is_marked}, false) FROM items ORDER BY 1"));
        let expected = [["a", "old", "t"], ["b", "back", "f"]];
        // A row that was not there before its mark is not made for it.
        assert_eq!(rows, grid(&expected), "{column}");
    }
}

#[test]
fn the_highest_version_stays_whatever_the_order_is() {
    let ddl = "CREATE TABLE items (id int PRIMARY KEY, version timestamptz, name text)";
    let write = "write = \"mirror\"\nversion = \"version\"";
    let (world, config) = world("versions", 1, ddl, write);
    world.sql.execute("INSERT INTO items VALUES (1, '2026-01-05', 'five'), (2, NULL, 'none'), (5, '2026-01-05', 'old')").unwrap();
    let row = |id: u32, day: &str, name: &str| {
        put(0, &format!(r#"{{"id":{id},"version":"2026-01-{day}T00:00:00Z","name":"{name}"}}"#))
    };
    let messages = [
        row(1, "04", "older than the table"),
        put(0, r#"{"id":1,"name":"without a version"}"#),
        row(2, "01", "newer than none"),
        row(3, "09", "nine"),
        row(3, "08", "older in the batch"),
        row(4, "03", "first of three"),
        row(4, "03", "last of three"),
        // A tombstone has no version: it undoes what came before it, and nothing that comes later.
        tombstone(0, "5"),
        row(5, "02", "after the tombstone"),
        row(6, "09", "six"),
        tombstone(0, "6"),
        // One that has a version is as old as that.
        tombstone(0, r#"{"id":3,"version":"2026-01-08T00:00:00Z"}"#),
        tombstone(0, r#"{"id":2,"version":"2026-01-01T00:00:00Z"}"#),
    ];
    produce(&world, &messages);
    let mut tidegate = world.run(&config, &[]);
    settled(&mut tidegate, messages.len() as u64);
    tidegate.stop();
    let rows = world.rows("SELECT id, extract(day FROM version), name FROM items ORDER BY 1");
    let expected = [
        ["1", "5", "five"],
        ["3", "9", "nine"],
        ["4", "3", "last of three"],
        ["5", "2", "after the tombstone"],
    ];
    assert_eq!(rows, grid(&expected));
}

#[test]
fn of_the_rows_of_a_key_the_last_that_is_not_refused_stays() {
    let ddl = "CREATE TABLE items (id int PRIMARY KEY, n int CONSTRAINT not_thirteen CHECK (n <> 13), \
               size int DEFAULT 1)";
    for mode in ["upsert", "mirror"] {
        let (world, config) =
            world(&format!("refused-{mode}"), 1, ddl, &format!("write = \"{mode}\""));
        let mut messages: Vec<Message> = (0..300)
            .map(|n| match n % 2 {
                0 => put(0, &format!(r#"{{"id":{},"n":{n},"size":2}}"#, n % 7)),
                _ => put(0, &format!(r#"{{"n":{n},"id":{}}}"#, n % 7)),
            })
            .filter(|message| {
                !String::from_utf8_lossy(message.value.as_ref().unwrap()).contains(":13")
            })
            .collect();
        messages.push(put(0, r#"{"id":3,"n":13}"#));
        messages.push(put(0, r#"{"id":100,"n":13}"#));
        produce(&world, &messages);
        let mut tidegate = world.run(&config, &[]);
        let [written, coalesced, _, dead] = settled(&mut tidegate, messages.len() as u64);
        assert_eq!((written + coalesced, dead), (messages.len() as u64 - 2, 2));
        tidegate.stop();
        let rows = world.rows("SELECT id, n, size FROM items ORDER BY 1");
        let expected = [
            ["0", "294", "2"],
            ["1", "295", "1"],
            ["2", "296", "2"],
            ["3", "297", "1"],
            ["4", "298", "2"],
            ["5", "299", "1"],
            ["6", "293", "1"],
        ];
        assert_eq!(rows, grid(&expected));
        let letters = "SELECT reason, sqlstate, position('not_thirteen' IN message) > 0 \
                       FROM tidegate.dead_letters ORDER BY \"offset\"";
        assert_eq!(world.rows(letters), grid(&[["refused", "23514", "t"]; 2]));
    }
}

#[test]
fn tombstones_may_be_passed_over() {
    for mode in ["append", "upsert"] {
        let ddl = "CREATE TABLE items (id int PRIMARY KEY)";
        let write = format!("write = \"{mode}\"\non_tombstone = \"ignore\"");
        let (world, config) = world(&format!("ignored-{mode}"), 1, ddl, &write);
        produce(&world, &[put(0, r#"{"id":1}"#), tombstone(0, "1"), put(0, r#"{"id":2}"#)]);
        let mut tidegate = world.run(&config, &[]);
        assert_eq!(settled(&mut tidegate, 3), [2, 0, 1, 0]);
        tidegate.stop();
        assert_eq!(world.rows("SELECT id FROM items ORDER BY 1"), grid(&[["1"], ["2"]]));
    }
}

#[test]
fn a_dead_letter_that_is_replayed_is_as_old_as_its_version() {
    let ddl = "CREATE TABLE items (id int PRIMARY KEY, version int, n int CONSTRAINT small CHECK (n < 100))";
    let (world, config) =
        world("replayed-version", 1, ddl, "write = \"upsert\"\nversion = \"version\"");
    let messages = [
        put(0, r#"{"id":1,"version":1,"n":100}"#),
        put(0, r#"{"id":1,"version":2,"n":2}"#),
        put(0, r#"{"id":2,"version":2,"n":100}"#),
        put(0, r#"{"id":2,"version":1,"n":1}"#),
        put(0, r#"{"id":3,"version":1,"n":100}"#),
    ];
    produce(&world, &messages);
    let mut tidegate = world.run(&config, &["batch.rows=1"]);
    assert_eq!(settled(&mut tidegate, 5)[3], 3);
    tidegate.stop();
    let rows = || world.rows("SELECT id, version, n FROM items ORDER BY 1");
    assert_eq!(rows(), grid(&[["1", "2", "2"], ["2", "1", "1"]]));
    world.sql.execute("ALTER TABLE items DROP CONSTRAINT small").unwrap();
    let exit = Tidegate::spawn(world.folder.path(), &["dlq", "replay"], Stdio::null()).wait();
    assert_eq!(exit.stdout, "3 dead letters replayed, 0 refused again\n", "{}", exit.log);
    assert_eq!(rows(), grid(&[["1", "2", "2"], ["2", "2", "100"], ["3", "1", "100"]]));
}

#[test]
fn what_is_no_key_is_refused_at_the_start_with_the_way_out() {
    let ddl = "CREATE TABLE items (id int, code int, name text); \
               CREATE UNIQUE INDEX ON items (id) WHERE code > 0; CREATE UNIQUE INDEX ON items ((id + 1)); \
               ALTER TABLE items ADD CONSTRAINT late UNIQUE (id) DEFERRABLE; \
               CREATE UNIQUE INDEX ON items (code, id)";
    let cases = [
        ("write = \"upsert\"", "public.items has no primary key; name the columns"),
        (
            "write = \"upsert\"\nkey = [\"id\"]",
            "run CREATE UNIQUE INDEX CONCURRENTLY ON \"public\".\"items\" (\"id\")",
        ),
        ("write = \"upsert\"\nkey = [\"idd\"]", "has no column `idd`; it has id, code, name"),
        (
            "write = \"upsert\"\nkey = [\"id\", \"code\"]\nversion = \"code\"",
            "version `code` is a part of the key",
        ),
        (
            "write = \"upsert\"\nkey = [\"id\", \"code\"]\n[routes.to.columns]\nid = { skip = true }",
            "nothing feeds column `id`",
        ),
        (
            "write = \"mirror\"\nkey = [\"id\", \"code\"]\nsoft_delete = \"name\"",
            "soft_delete takes a timestamptz, a timestamp or a boolean",
        ),
    ];
    let (world, _) = world("no-key", 1, ddl, "");
    for (write, expected) in cases {
        let exit = world.run(&config(&world, write), &[]).wait();
        assert_eq!(exit.code, Some(78), "{}", exit.log);
        assert!(exit.log.contains(expected), "{write}: {}", exit.log);
    }
}

#[test]
fn a_table_that_is_made_has_the_key_that_it_is_merged_by() {
    let world = World::bare("made-with-key", 1);
    let made = "write = \"upsert\"\non_missing_table = \"create\"";
    produce(&world, &[put(0, r#"{"id":1,"n":1}"#), put(0, r#"{"n":2,"id":1}"#)]);
    let exit = world.run(&config(&world, made), &[]).wait();
    assert_eq!(exit.code, Some(78), "{}", exit.log);
    assert!(exit.log.contains("will have no primary key; name the columns"), "{}", exit.log);
    let mut tidegate = world.run(&config(&world, &format!("{made}\nkey = [\"id\"]")), &[]);
    settled(&mut tidegate, 2);
    tidegate.stop();
    assert_eq!(world.rows("SELECT id, n FROM items"), grid(&[["1", "2"]]));
}

#[test]
fn a_merge_into_a_partitioned_table_finds_the_row_in_its_partition() {
    let ddl = "CREATE TABLE items (day date, id int, name text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day); \
               CREATE TABLE items_1 PARTITION OF items FOR VALUES FROM ('2026-01-01') TO ('2026-02-01'); \
               CREATE TABLE items_2 PARTITION OF items FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')";
    let (world, config) = world("partitioned-merge", 1, ddl, "write = \"mirror\"");
    let messages = [
        put(0, r#"{"id":1,"day":"2026-01-31","name":"a"}"#),
        put(0, r#"{"id":1,"day":"2026-02-01","name":"b"}"#),
        put(0, r#"{"id":2,"day":"2026-02-01","name":"c"}"#),
        put(0, r#"{"id":1,"day":"2026-01-31","name":"d"}"#),
        put(0, r#"{"id":3,"day":"2026-03-01","name":"nowhere"}"#),
        tombstone(0, r#"{"day":"2026-02-01","id":2}"#),
    ];
    produce(&world, &messages);
    let mut tidegate = world.run(&config, &[]);
    assert_eq!(settled(&mut tidegate, 6)[3], 1);
    tidegate.stop();
    let rows = world.rows("SELECT tableoid::regclass, id, name FROM items ORDER BY 1, 2");
    assert_eq!(rows, grid(&[["items_1", "1", "d"], ["items_2", "1", "b"]]));
}
