//! `tidegate trace`: what became of one record.

use std::{fs, process::Stdio};

use crate::support::{
    Exit, Message, Tidegate, World, await_settled, delete_records_before, produce,
};

fn trace(world: &World, place: [&str; 3]) -> Exit {
    let arguments = [&["trace"], &place[..]].concat();
    Tidegate::spawn(world.folder.path(), &arguments, Stdio::null()).wait()
}

/// What it says; all of `words` must be in it.
fn said(world: &World, place: [&str; 3], words: &[&str]) -> String {
    let exit = trace(world, place);
    assert_eq!(exit.code, Some(0), "{place:?}: {}{}", exit.stdout, exit.log);
    for word in words {
        assert!(exit.stdout.contains(word), "'{word}' is not in\n{}", exit.stdout);
    }
    exit.stdout
}

fn settle(world: &World, config: &str, records: u64) {
    let mut tidegate = world.run(config, &[]);
    await_settled(&mut tidegate, records);
    tidegate.stop();
}

#[test]
fn a_trace_tells_the_bytes_the_row_the_letter_and_how_far_the_lane_is() {
    let world = World::new("trace", 2);
    let first = Message {
        partition: 1,
        key: Some(b"k\0".to_vec()),
        timestamp_ms: Some(1_767_225_600_000),
        headers: vec![("span", Some(b"a\x1bb".to_vec()))],
        ..Message::json(r#"{"order_id":7,"amount":1.5,"note":"first"}"#)
    };
    let second = Message { partition: 1, ..Message::json("not JSON") };
    produce(&world, &[first, second]);
    world.write_config(&world.orders_config());
    let before = said(&world, ["trace", "1", "0"], &["not durable: trace has no checkpoint"]);
    assert!(before.contains("no row of the table has its place"), "{before}");

    settle(&world, &world.orders_config(), 2);
    let found = said(
        &world,
        ["trace", "1", "0"],
        &[
            "trace[1]@0 of source shop",
            "timestamp  2026-01-01T00:00:00Z",
            "key        \\x6b00",
            "header     span: a\\u{1b}b",
            "value      {\"order_id\":7,",
            "route orders: shop [trace] to serving, table orders, exactly once",
            "with this configuration it becomes\n    order_id         7\n",
            "durable: the checkpoint of trace stands at 2 (since 20",
            "in the table, written with offsets 0 to 0 in one transaction (rows: 1)\n    order_id         7\n",
        ],
    );
    assert!(!found.contains("dead letter"), "{found}");
    said(
        &world,
        ["trace", "1", "1"],
        &[
            "it becomes a dead letter (malformed)",
            "  durable: ",
            "  a dead letter (malformed) since 20",
            "no row of the table has its place",
        ],
    );

    // A batch of two.
    let more = |id: i64| Message::json(&format!(r#"{{"order_id":{id},"amount":1}}"#));
    produce(&world, &[more(10), more(11)]);
    settle(&world, &world.orders_config(), 2);
    said(&world, ["trace", "0", "1"], &["with offsets 0 to 1 in one transaction (rows: 2)"]);

    // What has not been moved yet, and what is not there.
    produce(&world, &[Message { partition: 1, ..Message::json(r#"{"order_id":8,"amount":1}"#) }]);
    let waiting =
        said(&world, ["trace", "1", "2"], &["not durable: the checkpoint of trace stands at 2"]);
    assert!(!waiting.contains("in the table"), "{waiting}");
    said(&world, ["trace", "1", "3"], &["there is no record: the partition ends at 3"]);
    delete_records_before(&world, 1, 1);
    let gone = ["there is no record: retention has removed everything below 1", "in the table, "];
    said(&world, ["trace", "1", "0"], &gone);

    for (place, code, word) in [
        (["trace", "2", "0"], 78, "has 2 partitions, from 0 on, and none is 2"),
        (["tracer", "0", "0"], 78, "they read trace. Did you mean `trace`?"),
        (["trace", "x", "0"], 64, "invalid value 'x'"),
    ] {
        let exit = trace(&world, place);
        assert_eq!(exit.code, Some(code), "{}", exit.log);
        assert!(exit.log.contains(word), "'{word}' is not in {}", exit.log);
    }
}

#[test]
fn a_trace_tells_of_merged_and_filtered_rows_and_of_lines_of_files() {
    let world = World::bare("trace-merged", 1);
    world.sql.execute("CREATE TABLE state (id bigint PRIMARY KEY, v text, o bigint)").unwrap();
    let route = "\"serving\"\ntable = \"state\"\nwrite = \"upsert\"\nwhere = \"v != 'no'\"\n\
                 [routes.to.columns]\no = { metadata = \"offset\" }";
    let config = format!(
        "{}{}{}",
        world.source_config(""),
        world.sink_config("serving"),
        world.route_config(route)
    );
    let values = ["a", "b", "no"];
    let messages = values.map(|v| Message::json(&format!(r#"{{"id":1,"v":"{v}"}}"#)));
    produce(&world, &messages);
    settle(&world, &config, 3);
    let topic = "trace-merged";
    let replaced = "a later record of its key has the row, or none";
    said(&world, [topic, "0", "0"], &["it becomes\n    id  1\n", "  durable: ", replaced]);
    said(&world, [topic, "0", "1"], &["(rows: 1)\n    id  1\n    v   b\n    o   1\n"]);
    said(&world, [topic, "0", "2"], &["it is passed over\n", "  durable: "]);

    let path = world.folder.path().join("lines");
    fs::write(&path, "{\"id\":5,\"v\":\"x\"}\n\n{\"id\":6,\"v\":\"y\"}\n").unwrap();
    let config = format!(
        "[admin]\nlisten = \"127.0.0.1:0\"\n[sources.lines]\nkind = \"ndjson\"\npath = \"{}\"\n{}\
         [[routes]]\nsource = \"lines\"\n[[routes.to]]\nsink = {route}\n",
        path.display(),
        world.sink_config("serving")
    );
    let exit = world.run(&config, &[]).wait();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    said(
        &world,
        ["lines", "0", "2"],
        &["  durable: ", "with offsets 0 to 2 in one transaction (rows: 2)\n    id  6\n"],
    );
    said(&world, ["lines", "0", "1"], &["there is no record"]);
    said(&world, ["lines", "0", "9"], &["there is no record: the partition ends at 3"]);
}
