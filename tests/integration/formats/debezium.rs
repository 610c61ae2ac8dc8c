//! What Debezium makes of a Postgres becomes, in another one, what it was.

use stack::{Client, Connect, Postgres, PostgresOptions};

use super::config;
use crate::support::{World, eventually, grid, kafka};

/// But for the key, every column must look the same on both sides.
const COLUMNS: [&str; 32] = [
    "b boolean",
    "i2 smallint",
    "i4 integer",
    "f4 real",
    "f8 double precision",
    "n_free numeric",
    "n_scaled numeric(20,4)",
    "m money",
    "t text",
    "vc varchar(20)",
    "c char(6)",
    "bt bytea",
    "u uuid",
    "d date",
    "tm time",
    "ttz timetz",
    "ts timestamp",
    "ts3 timestamp(3)",
    "tstz timestamptz",
    "iv interval",
    "j json",
    "jb jsonb",
    "ip inet",
    "net cidr",
    "bits bit(8)",
    "pt point",
    "r4 int4range",
    "e mood",
    "ia integer[]",
    "ta text[]",
    "na numeric[]",
    "big text",
];

const FIRST: &str = "INSERT INTO things VALUES (1, true, -32768, 2147483647, 1.5, 0.1, \
    12345678901234567890.0123456789, -12.34, 12.34, E'\"q\" \\\\ é 漢\\n', 'vc', 'c', '\\x00ff10', \
    '0a6f1f6e-5f6b-4c0e-9f0e-0123456789ab', '2026-01-31', '12:34:56.123456', '12:34:56.5+00', \
    '2026-01-31 12:00:00.123456', '2026-01-31 12:00:00.123', '2026-01-31 12:00:00.123456+02', \
    '04:05:06.789', '{\"a\": [1, 2.50]}', '{\"b\": {\"c\": null}}', '10.1.2.3/24', '10.1.0.0/16', \
    B'10100011', '(1.5,-2)', '[1,5)', 'happy', '{1,NULL,3}', '{a,\"b c\",NULL}', '{1.5,2.25}', 'x')";
const SECOND: &str = "INSERT INTO things (id, f4, d, ts, ts3, tstz, tm, m, n_scaled, iv, j, ia, ta) \
    VALUES (2, 'NaN', 'infinity', '-infinity', '1900-01-01', 'infinity', '24:00:00', -0.01, 0, \
    '-00:00:01', 'null', '{}', '{}'), (3, '-Infinity', '-infinity', 'infinity', '0044-01-01', \
    '-infinity', '00:00:00', 0, -99999.9999, '0', '\"s\"', NULL, '{NULL}')";
const CHANGES: [&str; 5] = [
    "UPDATE things SET big = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 500) i) \
     WHERE id = 1",
    // Its large value stays, and is not in the log.
    "UPDATE things SET t = 'refused' WHERE id = 1",
    "ALTER TABLE things REPLICA IDENTITY FULL",
    "UPDATE things SET t = 'changed' WHERE id = 1",
    "DELETE FROM things WHERE id = 3",
];

fn rows(sql: &Client, from: &str) -> Vec<Vec<String>> {
    let names = COLUMNS.map(|column| column.split_once(' ').unwrap().0);
    let texts: Vec<String> = names.map(|name| format!("coalesce({name}::text, '~')")).to_vec();
    let query =
        format!("SELECT array_to_string(ARRAY[id::text, {}], '|') FROM {from}", texts.join(", "));
    let rows = sql.query_text(&query).unwrap();
    rows.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect()).collect()
}

/// Waits for so many rows in the table that is only appended to.
fn await_rows(world: &World, count: i64) {
    eventually(&format!("{count} rows"), || match world.number("SELECT count(*) FROM t") {
        found if found == count => Ok(()),
        found => Err(found.to_string()),
    });
}

/// Waits until the mirror has the rows of the source, and no other.
fn await_mirrored(world: &World, shop: &Client) {
    let expected = rows(shop, "things ORDER BY id");
    eventually("the mirror", || {
        let found = rows(&world.sql, "mirrored ORDER BY id");
        if found == expected { Ok(()) } else { Err(format!("{found:?}, not {expected:?}")) }
    });
}

#[test]
fn what_debezium_captured_arrives_as_it_was() {
    let settings = vec![("wal_level".to_owned(), "logical".to_owned())];
    let source =
        Postgres::start(PostgresOptions { settings, ..PostgresOptions::default() }).unwrap();
    let url = source.create_database("shop").unwrap();
    let shop = Client::connect(&url).unwrap();
    let world = World::bare("formats-debezium", 1);
    let mood = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')";
    let columns = format!("id bigint PRIMARY KEY, {}", COLUMNS.join(", "));
    for statement in [mood, &format!("CREATE TABLE things ({columns})"), FIRST] {
        shop.execute(statement).unwrap();
    }
    world.sql.execute(mood).unwrap();
    world.sql.execute(&format!("CREATE TABLE mirrored ({columns})")).unwrap();
    let columns =
        format!("id bigint, {}, op text, lsn bigint, kafka_offset bigint", COLUMNS.join(", "));
    world.sql.execute(&format!("CREATE TABLE t ({columns})")).unwrap();

    // Heartbeats go into the same topic: they are passed over.
    let topic = world.name.as_str();
    let settings = [
        ("table.include.list", "public.things"),
        ("heartbeat.interval.ms", "500"),
        ("transforms", "one"),
        ("transforms.one.type", "org.apache.kafka.connect.transforms.RegexRouter"),
        ("transforms.one.regex", ".*"),
        ("transforms.one.replacement", topic),
    ];
    let connect = Connect::start(kafka(), &source, "shop", "captured", &settings).unwrap();
    let config = config(&world, "", "\"debezium\"")
        + "columns.op = { pointer = \"/op\" }\ncolumns.lsn = { pointer = \"/source/lsn\" }\n\
           columns.kafka_offset = { metadata = \"offset\" }\n\
           [[routes.to]]\nsink = \"serving\"\ntable = \"mirrored\"\nwrite = \"mirror\"\n";
    let mut tidegate = world.run(&config, &[]);
    await_rows(&world, 1);
    eventually("the end of the snapshot", || {
        let slots = "SELECT count(*) FROM pg_replication_slots WHERE active";
        match shop.query_one_i64(slots).unwrap() {
            1 => Ok(()),
            _ => Err(connect.log_tail()),
        }
    });
    shop.execute(SECOND).unwrap();
    let inserted = rows(&shop, "things ORDER BY id");
    await_rows(&world, 3);
    assert_eq!(rows(&world.sql, "t WHERE op IN ('r', 'c') ORDER BY id"), inserted);
    await_mirrored(&world, &shop);

    for statement in CHANGES {
        shop.execute(statement).unwrap();
    }
    await_rows(&world, 5);
    await_mirrored(&world, &shop);
    let last = rows(&world.sql, "t WHERE id = 1 ORDER BY kafka_offset DESC LIMIT 1");
    assert_eq!(last, rows(&shop, "things WHERE id = 1"));
    let operations = world.rows("SELECT id, op, lsn > 0 FROM t ORDER BY kafka_offset");
    let expected =
        [["1", "r", "t"], ["2", "c", "t"], ["3", "c", "t"], ["1", "u", "t"], ["1", "u", "t"]];
    assert_eq!(operations, grid(&expected));
    // A table that is only appended to takes no deletes; the tombstone behind it counts as nothing.
    let [all, mirrored] = ["serving.public.t", "serving.public.mirrored"];
    let expected = [[mirrored, "unsupported"], [all, "unsupported"], [all, "tombstone"]];
    eventually("the dead letters", || {
        let found = world
            .rows("SELECT target, reason FROM tidegate.dead_letters ORDER BY \"offset\", target");
        if found == grid(&expected) { Ok(()) } else { Err(format!("{found:?}")) }
    });
    assert!(tidegate.assert_conservation().filtered > 0, "a tombstone and heartbeats");
    tidegate.stop();
}
