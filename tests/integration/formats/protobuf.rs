//! Protocol Buffers by a real registry's schemas, into a table that is made for them.

use stack::Registry;

use super::{await_written, bytes, config, framed, register_as};
use crate::support::{Message, World, grid, produce};

const MONEY: &str = r#"syntax = "proto3"; package shop;
    message Money { int64 cents = 1; string currency = 2; }"#;
const FIRST: &str = r#"syntax = "proto3"; package shop;
    import "money.proto"; import "google/protobuf/timestamp.proto";
    message Order {
        int64 id = 1; string name = 2; Money total = 3; google.protobuf.Timestamp at = 4;
        repeated int32 counts = 5;
    }
    message Refund { int64 id = 1; bool whole = 2; }"#;
/// A later version: one field is gone, and one is new.
const SECOND: &str = r#"syntax = "proto3"; package shop;
    import "money.proto"; import "google/protobuf/timestamp.proto";
    message Order {
        int64 id = 1; Money total = 3; google.protobuf.Timestamp at = 4;
        repeated int32 counts = 5; optional string coupon = 6;
    }
    message Refund { int64 id = 1; bool whole = 2; }"#;

/// The way to a message in its file, then its bytes.
fn message(id: u32, way: &[u8], fields: &[u8]) -> Message {
    framed(id, &[way, fields].concat())
}

#[test]
fn protobuf_is_read_by_the_registry_s_schemas_into_a_table_that_is_made_for_it() {
    let registry = Registry::start().unwrap();
    let register = |subject: &str, schema: &str, references: &str| {
        register_as("PROTOBUF", &registry, subject, schema, references)
    };
    register("money", MONEY, "");
    let money = r#"{"name":"money.proto","subject":"money","version":1}"#;
    let first = register("orders-value", FIRST, money);
    let second = register("orders-value", SECOND, money);
    let avro = register_as(
        "AVRO",
        &registry,
        "others-value",
        r#"{"type":"record","name":"R","fields":[]}"#,
        "",
    );

    let world = World::bare("formats-protobuf", 1);
    let head = |port: u16| {
        format!("[registries.main]\nurl = \"http://127.0.0.1:{port}{}\"\n", registry.path())
    };
    let keys = "on_missing_table = \"create\"\non_unknown_field = \"add_column\"\n\
                columns.pay = { metadata = \"payload\" }\n";
    let config = |port: u16| config(&world, &head(port), "\"protobuf\"") + keys;
    let order = b"\x08\x01\x12\x03one\x1a\x08\x08\x8b\x4e\x12\x03EUR\x22\x06\x08\xc0\xdd\xf7\xcb\x06\x2a\x02\x01\x02";
    produce(&world, &[message(first, &[0], order)]);

    // A table cannot be made of what nobody can read.
    let exit = world.run(&config(1), &[]).wait();
    assert_eq!(exit.code, Some(69), "{}", exit.log);
    assert!(exit.log.contains("registry main: "), "{}", exit.log);

    let mut tidegate = world.run(&config(registry.port()), &[]);
    await_written(&mut tidegate, 1, 0);
    let rest = [
        message(second, &[0], b"\x32\x02xy\x08\x02"),
        // Places are in zigzag: one step, to the second message of the file.
        message(first, &[2, 2], b"\x08\x03\x10\x01"),
        message(first, &[2, 4], b"\x08\x04"),
        message(first, &[0], b"\x08"),
        message(avro, &[0], b"\x08\x05"),
        message(9_999, &[0], b"\x08\x06"),
        bytes("{}"),
        message(first, &[0], b"\x08\x07\x80\x3f\x01"),
    ];
    produce(&world, &rest);
    await_written(&mut tidegate, 4, 5);
    tidegate.await_ready();
    tidegate.stop();

    world.sql.execute("SET timezone = 'UTC'").unwrap();
    let columns = world.rows(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
         WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum",
    );
    let expected = [
        ["id", "bigint"],
        ["name", "text"],
        ["total", "jsonb"],
        ["at", "timestamp with time zone"],
        ["counts", "bigint[]"],
        ["pay", "bytea"],
        ["coupon", "text"],
        ["whole", "boolean"],
    ];
    assert_eq!(columns, grid(&expected));
    let rows = world.rows("SELECT id, name, total, at, counts, coupon, whole FROM t ORDER BY id");
    let total = r#"{"cents": 9995, "currency": "EUR"}"#;
    let expected = [
        ["1", "one", total, "2026-01-31 12:00:00+00", "{1,2}", "~", "~"],
        ["2", "~", "~", "~", "{}", "xy", "~"],
        ["3", "~", "~", "~", "~", "~", "t"],
        ["7", "", "~", "~", "{}", "~", "~"],
    ];
    assert_eq!(rows, grid(&expected));
    let letters =
        world.rows("SELECT \"offset\", reason, message FROM tidegate.dead_letters ORDER BY 1");
    let expected = [
        ("3", "the schema has no message 2 there"),
        ("4", "not Protobuf of schema"),
        ("5", "it is of type AVRO, expected PROTOBUF"),
        ("6", "schema, 9999, cannot be used"),
        ("7", "expected the frame of a schema registry"),
    ];
    assert_eq!(letters.len(), expected.len(), "{letters:?}");
    for (letter, (offset, words)) in letters.iter().zip(expected) {
        assert_eq!((letter[0].as_str(), letter[1].as_str()), (offset, "malformed"));
        assert!(letter[2].contains(words), "'{words}' is not in {letter:?}");
    }
}
