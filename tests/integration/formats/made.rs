//! Tables that are made, and grow, of records that are no JSON objects.

use std::process::Stdio;

use stack::Registry;

use super::{FIRST, await_written, bytes, config, first, register_as};
use crate::support::{Message, Tidegate, World, grid, produce};

const KEYS: &str = "on_missing_table = \"create\"\non_unknown_field = \"add_column\"\n";

/// Writes `messages` into a table that is made for them; gives its columns.
fn make(world: &World, config: &str, messages: &[Message]) -> Vec<Vec<String>> {
    produce(world, messages);
    let config = format!("{config}{KEYS}columns.pay = {{ metadata = \"payload\" }}\n");
    world.write_config(&config);
    for command in ["check", "plan"] {
        let exit = Tidegate::spawn(world.folder.path(), &[command], Stdio::null()).wait();
        assert_eq!(exit.code, Some(0), "{}", exit.log);
        assert!(exit.stdout.contains("CREATE TABLE IF NOT EXISTS \"t\""), "{}", exit.stdout);
    }
    let mut tidegate = world.run(&config, &[]);
    await_written(&mut tidegate, messages.len() as u64, 0);
    tidegate.stop();
    world.sql.execute("SET timezone = 'UTC'").unwrap();
    columns(world)
}

fn columns(world: &World) -> Vec<Vec<String>> {
    world.rows(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
         WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum",
    )
}

#[test]
fn lines_show_what_their_cells_are() {
    let world = World::bare("formats-made-csv", 1);
    let csv = |fields: &str| {
        let format = format!("{{ kind = \"csv\", fields = [{fields}] }}");
        config(&world, "", &format)
    };
    let lines = ["1,007,2.5,true,2026-01-31,[1],a", "2,12,,false,2026-02-01,,1"];
    let fields = r#""id", "code", "price", "paid", "day", "doc", "note""#;
    let made = make(&world, &csv(fields), &lines.map(bytes));
    let expected = [
        ["id", "bigint"],
        ["code", "text"],
        ["price", "numeric"],
        ["paid", "boolean"],
        ["day", "date"],
        ["doc", "bigint[]"],
        ["note", "text"],
        ["pay", "text"],
    ];
    assert_eq!(made, grid(&expected));
    // A cell more, as a text: one line shows little.
    produce(&world, &[bytes("3,,,,,,,4")]);
    let mut tidegate = world.run(&(csv(&format!("{fields}, \"more\"")) + KEYS), &[]);
    await_written(&mut tidegate, 1, 0);
    tidegate.stop();
    let rows = world.rows("SELECT id, code, price, paid, day, doc, note, more FROM t ORDER BY id");
    let expected = [
        ["1", "007", "2.5", "t", "2026-01-31", "{1}", "a", "~"],
        ["2", "12", "~", "f", "2026-02-01", "~", "1", "~"],
        ["3", "~", "~", "~", "~", "~", "~", "4"],
    ];
    assert_eq!(rows, grid(&expected));
    assert_eq!(columns(&world)[8], ["more", "text"]);
}

/// A change event with its schema.
fn event(after: &str) -> Message {
    let field = |name: &str, kind: &str, meaning: &str| {
        format!(r#"{{"field":"{name}","type":"{kind}","name":"{meaning}"}}"#)
    };
    let fields = [
        field("day", "int32", "io.debezium.time.Date"),
        field("at", "int64", "io.debezium.time.MicroTimestamp"),
        field("price", "bytes", "org.apache.kafka.connect.data.Decimal"),
    ]
    .join(",");
    Message::json(&format!(
        r#"{{"schema":{{"type":"struct","fields":[{{"field":"after","type":"struct","fields":[{fields}]}}]}},
           "payload":{{"op":"c","ts_ms":5,"before":null,"after":{after}}}}}"#
    ))
}

#[test]
fn change_events_show_the_rows_that_they_are_about() {
    let world = World::bare("formats-made-debezium", 1);
    let messages = [
        event(r#"{"id":1,"day":20484,"at":1769860800123456,"price":"BNI="}"#),
        event(r#"{"id":2,"day":null,"at":null,"price":null,"late":{"a":1}}"#),
    ];
    let made = make(&world, &config(&world, "", "\"debezium\""), &messages);
    let expected = [
        ["id", "bigint"],
        ["day", "date"],
        ["at", "timestamp with time zone"],
        ["price", "bigint"],
        ["late", "jsonb"],
        ["pay", "jsonb"],
    ];
    assert_eq!(made, grid(&expected));
    let rows =
        world.rows("SELECT id, day, at, price, late, pay->'payload'->>'op' FROM t ORDER BY id");
    let expected = [
        ["1", "2026-01-31", "2026-01-31 12:00:00.123456+00", "1234", "~", "c"],
        ["2", "~", "~", "~", r#"{"a": 1}"#, "c"],
    ];
    assert_eq!(rows, grid(&expected));
}

#[test]
fn avro_shows_what_its_schema_makes_of_it() {
    let registry = Registry::start().unwrap();
    let id = register_as("AVRO", &registry, "orders-value", FIRST, "");
    let world = World::bare("formats-made-avro", 1);
    let head = format!(
        "[registries.main]\nurl = \"http://127.0.0.1:{}{}\"\n",
        registry.port(),
        registry.path()
    );
    let made = make(&world, &config(&world, &head, "\"avro\""), &[first(id, 1), first(id, 2)]);
    assert_eq!(made, grid(&[["id", "bigint"], ["name", "text"], ["pay", "bytea"]]));
    let rows = world.rows("SELECT id, name FROM t ORDER BY id");
    assert_eq!(rows, grid(&[["1", "order 1"], ["2", "order 2"]]));
}
