//! Records that are no JSON objects: lines, Avro from a real registry, events from a real Debezium.

mod debezium;
mod login;
mod made;
mod protobuf;

use apache_avro::{Schema, types::Value, writer::datum::GenericDatumWriter};
use stack::{Proxy, Registry};

use crate::support::{Message, Tidegate, World, eventually, grid, produce};

fn bytes(value: impl Into<Vec<u8>>) -> Message {
    Message { value: Some(value.into()), ..Message::default() }
}

/// The topic into the table `t`; `head` stands before the route.
fn config(world: &World, head: &str, format: &str) -> String {
    format!(
        "{}{}{head}[[routes]]\nsource = \"shop\"\ntopics = [\"{}\"]\nformat = {format}\n\
         [[routes.to]]\nsink = \"serving\"\ntable = \"t\"\n",
        world.source_config(""),
        world.sink_config("serving"),
        world.name
    )
}

fn await_written(tidegate: &mut Tidegate, written: u64, dead_lettered: u64) {
    eventually(&format!("{written} rows and {dead_lettered} dead letters"), || {
        let counts = tidegate.assert_conservation();
        let found = (counts.written, counts.dead_lettered);
        if found == (written, dead_lettered) { Ok(()) } else { Err(format!("{counts:?}")) }
    });
}

#[test]
fn lines_of_csv_become_rows() {
    let world = World::bare("formats-csv", 1);
    let table =
        "CREATE TABLE t (id int, name text, tags int[], doc jsonb, raw bytea, at timestamptz)";
    world.sql.execute(table).unwrap();
    let lines = [
        "1;'it''s; fine';[1,2];{'a': null}\r\n",
        "2;;;'{\"a\": [\"x;y\"]}';\\x00ff;2026-01-31T12:00:00Z",
        "3;'';'[]';;;",
        "4;short",
    ];
    produce(&world, &lines.map(bytes));
    let format = "{ kind = \"csv\", delimiter = \";\", quote = \"'\", \
                  fields = [\"id\", \"name\", \"tags\", \"doc\", \"raw\", \"at\"] }";
    let mut tidegate = world.run(&config(&world, "", format), &[]);
    await_written(&mut tidegate, 2, 2);
    tidegate.stop();
    world.sql.execute("SET timezone = 'UTC'").unwrap();
    let rows = world.rows("SELECT id, name, tags, doc, raw, at FROM t ORDER BY id");
    let expected = [
        ["2", "~", "~", r#"{"a": ["x;y"]}"#, "\\x00ff", "2026-01-31 12:00:00+00"],
        ["3", "", "{}", "~", "~", "~"],
    ];
    assert_eq!(rows, grid(&expected));
    let letters = world.rows(
        "SELECT \"offset\", reason, split_part(message, ',', 1) FROM tidegate.dead_letters ORDER BY 1",
    );
    let expected = [
        ["0", "malformed", "invalid CSV at byte 23: a quote inside a cell without quotes"],
        ["3", "malformed", "the line has 2 cells"],
    ];
    assert_eq!(letters, grid(&expected));
}

const MONEY: &str = r#"{"type":"record","name":"Money","namespace":"shop","fields":[
    {"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
    {"name":"currency","type":"string"}]}"#;
const FIRST: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"long"},{"name":"name","type":["null","string"]}]}"#;
/// Without a field, and with two new ones, one of them of another subject's type.
const SECOND: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"long"},{"name":"total","type":"Money"},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;

/// Registers a schema; gives its number.
fn register(registry: &Registry, subject: &str, schema: &str, references: &str) -> u32 {
    register_as("AVRO", registry, subject, schema, references)
}

fn register_as(
    kind: &str,
    registry: &Registry,
    subject: &str,
    schema: &str,
    references: &str,
) -> u32 {
    let schema = serde_json::Value::from(schema);
    let body =
        format!(r#"{{"schema":{schema},"schemaType":"{kind}","references":[{references}]}}"#);
    let answer = registry.register(subject, &body).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    u32::try_from(answer["id"].as_u64().unwrap()).unwrap()
}

fn framed(id: u32, payload: &[u8]) -> Message {
    bytes([&[0][..], &id.to_be_bytes(), payload].concat())
}

fn first(id: u32, order: i64) -> Message {
    let name = Value::Union(1, Box::new(Value::String(format!("order {order}"))));
    let fields = vec![("id".to_owned(), Value::Long(order)), ("name".to_owned(), name)];
    let schema = Schema::parse_str(FIRST).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    framed(id, &writer.write_value_to_vec(Value::Record(fields)).unwrap())
}

/// 99.95 in two bytes, and a moment: what [`SECOND`] says of them is known to nobody but the registry.
fn second(id: u32, order: u8) -> Message {
    let at = [0x80, 0x81, 0xb0, 0xca, 0xd5, 0xda, 0xa4, 0x06];
    framed(id, &[&[order * 2, 4, 0x27, 0x0b, 6][..], b"EUR", &at].concat())
}

#[test]
fn avro_is_read_by_the_registry_s_schemas_and_waits_while_it_is_away() {
    let registry = Registry::start().unwrap();
    register(&registry, "money", MONEY, "");
    let first_id = register(&registry, "orders-value", FIRST, "");
    let reference = r#"{"name":"shop.Money","subject":"money","version":1}"#;
    let second_id = register(&registry, "orders-value", SECOND, reference);
    let third_id = register(&registry, "others-value", &FIRST.replace("Order", "Other"), "");
    let proxy = Proxy::start(([127, 0, 0, 1], registry.port()).into()).unwrap();

    let world = World::bare("formats-avro", 1);
    let table = "CREATE TABLE t (id bigint, name text DEFAULT 'none', total jsonb, amount numeric, \
                 at timestamptz)";
    world.sql.execute(table).unwrap();
    let head = format!(
        "[registries.main]\nurl = \"http://127.0.0.1:{}{}\"\n",
        proxy.port(),
        registry.path()
    );
    let config =
        config(&world, &head, "\"avro\"") + "columns.amount = { pointer = \"/total/amount\" }\n";
    let mut tidegate = world.run(&config, &[]);
    produce(&world, &[first(first_id, 1)]);
    await_written(&mut tidegate, 1, 0);

    // What is known needs no registry; what is not waits for it, and nothing passes it.
    proxy.refuse().unwrap();
    proxy.cut();
    produce(&world, &[first(first_id, 2), second(second_id, 3), first(first_id, 4)]);
    tidegate.await_degraded("registry main: http://127.0.0.1:");
    await_written(&mut tidegate, 2, 0);
    proxy.pass().unwrap();
    await_written(&mut tidegate, 4, 0);
    tidegate.await_ready();

    // Poison is no outage.
    let poison = [framed(9_999, b""), bytes("{}"), framed(first_id, &[2, 2]), first(first_id, 5)];
    produce(&world, &poison);
    await_written(&mut tidegate, 5, 3);
    tidegate.await_ready();

    // An order to stop is obeyed meanwhile, and the record is read by whoever comes next.
    proxy.stall();
    produce(&world, &[first(third_id, 6)]);
    tidegate.await_degraded("registry main");
    tidegate.stop();
    proxy.pass().unwrap();
    let mut tidegate = world.run(&config, &[]);
    await_written(&mut tidegate, 1, 0);
    tidegate.stop();

    world.sql.execute("SET timezone = 'UTC'").unwrap();
    let rows = world.rows("SELECT id, name, total, amount, at FROM t ORDER BY id");
    let total = r#"{"amount": 99.95, "currency": "EUR"}"#;
    let named =
        |id: &str| [id.to_owned(), format!("order {id}"), "~".into(), "~".into(), "~".into()];
    let mut expected: Vec<Vec<String>> =
        ["1", "2", "4", "5", "6"].map(|id| named(id).to_vec()).into();
    let at = world.rows("SELECT at FROM t WHERE id = 3")[0][0].clone();
    assert!(at.starts_with("20"), "{at}");
    expected.insert(2, ["3", "none", total, "99.95", &at].map(str::to_owned).to_vec());
    assert_eq!(rows, expected);
    let letters =
        world.rows("SELECT \"offset\", reason, message FROM tidegate.dead_letters ORDER BY 1");
    let said = |row: usize, text: &str| {
        assert!(letters[row][1] == "malformed" && letters[row][2].contains(text), "{letters:?}");
    };
    assert_eq!(letters.len(), 3);
    said(0, "schema, 9999, cannot be used");
    said(1, "expected the frame of a schema registry");
    said(2, "the bytes end inside a value");
}
