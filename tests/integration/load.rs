//! `tidegate load`: files of history, each line once.

use std::{fs, io::Write as _, path::PathBuf, process::Stdio, time::Duration};

use crate::support::{Chance, Exit, Tidegate, World};

const LINES: i64 = 40_000;
const FILES: i64 = 3;

fn spawn(world: &World, arguments: &[&str]) -> Tidegate {
    let arguments = [&["load"], arguments].concat();
    Tidegate::spawn(world.folder.path(), &arguments, Stdio::null())
}

fn load(world: &World, arguments: &[&str]) -> Exit {
    spawn(world, arguments).wait()
}

fn line(n: i64) -> String {
    format!("{{\"order_id\":{n},\"amount\":{}.25}}\n", n % 100)
}

/// The orders of file `number`, with some poison and some empty lines.
fn text(number: i64) -> String {
    let mut text = String::new();
    for n in number * LINES..(number + 1) * LINES {
        text.push_str(&line(n));
        if n % 1000 == 999 {
            text.push_str("not json\n\r\n");
        }
    }
    text
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn write(world: &World, name: &str, bytes: &[u8]) -> PathBuf {
    let path = world.folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn assert_all_lines(world: &World) {
    let all = FILES * LINES;
    let sql = "SELECT count(*), count(DISTINCT order_id), sum(amount) FROM orders";
    let sum: f64 = (0..all).map(|n| (n % 100) as f64 + 0.25).sum();
    assert_eq!(world.rows(sql), [[all.to_string(), all.to_string(), format!("{sum:.2}")]]);
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), all / 1000);
}

#[test]
fn packed_and_plain_files_become_rows_exactly_once_through_kills_and_stops() {
    let mut chance = Chance::new();
    let world = World::new("load-kills", 1);
    world.write_config(&world.orders_config().replace("rows = 500", "rows = 100"));
    write(&world, "0.ndjson", text(0).as_bytes());
    write(&world, "1.gz", &gzip(text(1).as_bytes()));
    write(&world, "2.zst", &zstd::stream::encode_all(text(2).as_bytes(), 1).unwrap());
    let files = ["0.ndjson", "1.gz", "2.zst"];
    for round in 0..4 {
        let before = world.count_orders();
        let mut tidegate = spawn(&world, &files);
        world.await_more_orders_than(before);
        chance.pass_up_to(Duration::from_millis(30));
        if round == 3 {
            let exit = tidegate.terminate();
            assert_eq!(exit.code, Some(75), "{}", exit.log);
            assert!(exit.log.contains("the same command goes on from there"), "{}", exit.log);
        } else {
            assert!(tidegate.is_running());
            drop(tidegate.kill());
        }
    }
    assert!(world.count_orders() < FILES * LINES, "every kill came too late");
    let exit = load(&world, &files);
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.stdout.starts_with("3 of 3 files loaded: "), "{}", exit.stdout);
    assert_all_lines(&world);
    // It is the files' names, contents and lines that count, not how they are packed now.
    write(&world, "1.gz", text(1).as_bytes());
    let exit = load(&world, &["2.zst", "./1.gz", "0.ndjson", "1.gz"]);
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.stdout.starts_with("3 of 3 files loaded: 0 records were new"), "{}", exit.stdout);
    assert_all_lines(&world);
}

#[test]
fn a_file_that_grew_is_loaded_on_and_another_one_of_its_name_is_refused() {
    let world = World::new("load-grown", 1);
    world.write_config(&world.orders_config());
    write(&world, "day", line(1).as_bytes());
    assert_eq!(load(&world, &["day"]).code, Some(0));
    write(&world, "day", (line(1) + &line(2)).as_bytes());
    let exit = load(&world, &["day"]);
    assert!(exit.stdout.starts_with("1 of 1 files loaded: 1 records were new, 1 rows"), "{exit:?}");
    let topic = fs::canonicalize(world.folder.path().join("day")).unwrap();
    let lane = "SELECT topic, cluster_id, consumer_group, next_offset FROM tidegate.checkpoints";
    assert_eq!(world.rows(lane), [[topic.to_str().unwrap(), "file", "load-grown", "2"]]);

    write(&world, "day", (line(7) + &line(8) + &line(9)).as_bytes());
    let exit = load(&world, &["day"]);
    assert_eq!(exit.code, Some(65), "{}", exit.log);
    assert!(exit.log.contains("another file of this name was loaded"), "{}", exit.log);
    // The way out that it names.
    let (_, sql) = exit.log.rsplit_once("forget the other: ").unwrap();
    world.sql.execute(sql.trim()).unwrap();
    assert_eq!(load(&world, &["day"]).code, Some(0));
    let rows = world.rows("SELECT order_id, kafka_offset FROM orders ORDER BY 1");
    assert_eq!(rows, [["1", "0"], ["2", "1"], ["7", "0"], ["8", "1"], ["9", "2"]]);

    // Its letters are replayed as others are.
    write(&world, "poison", b"{\"order_id\":3,\"amount\":1,\"item_count\":3000000000}\n");
    let exit = load(&world, &["poison"]);
    assert!(exit.stdout.contains("1 records were new, 0 rows"), "{exit:?}");
    world.sql.execute("ALTER TABLE orders ALTER COLUMN item_count TYPE bigint").unwrap();
    let replayed = Tidegate::spawn(world.folder.path(), &["dlq", "replay"], Stdio::null()).wait();
    assert_eq!(replayed.stdout, "1 dead letter replayed, 0 refused again\n", "{}", replayed.log);
    world.sql.execute("DELETE FROM orders WHERE order_id = 3").unwrap();

    // A torn file: what is whole is loaded, and the rest when it is.
    let packed = gzip(text(0).as_bytes());
    write(&world, "torn.gz", &packed[..packed.len() / 2]);
    let exit = load(&world, &["torn.gz"]);
    assert_eq!(exit.code, Some(65), "{}", exit.log);
    assert!(exit.log.contains("torn.gz"), "{}", exit.log);
    write(&world, "torn.gz", &packed);
    let exit = load(&world, &["torn.gz"]);
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert_eq!(world.count_orders(), 5 + LINES);
}

#[test]
fn what_cannot_be_loaded_once_is_refused_before_a_line_is_read() {
    let world = World::new("load-refused", 1);
    write(&world, "day", line(1).as_bytes());
    let config = world.orders_config();
    let inexact =
        config.replace("table = \"orders\"", "table = \"orders\"\ndelivery = \"at-least-once\"");
    let two = config.clone()
        + &world
            .route_config("\"serving\"\ntable = \"other\"")
            .replace("name = \"orders\"", "name = \"others\"")
            .replace("\"load-refused\"", "\"elsewhere\"");
    for (config, arguments, code, word) in [
        (&config, ["none", "day"], 65, "cannot read none"),
        (&config, ["--route=order", "day"], 78, "Did you mean `orders`?"),
        (&config, [".", "day"], 78, ". is not a file"),
        (&inexact, ["day", "day"], 78, "has no target with delivery = \"exactly-once\""),
        (&two, ["day", "day"], 64, "choose with --route one of orders, others"),
    ] {
        world.write_config(config);
        let exit = load(&world, &arguments);
        assert_eq!(exit.code, Some(code), "{arguments:?}: {}", exit.log);
        assert!(exit.log.contains(word), "'{word}' is not in {}", exit.log);
    }
    assert_eq!(world.count_orders(), 0);
    world.write_config(&two);
    assert_eq!(load(&world, &["day", "--route", "orders"]).code, Some(0));
    assert_eq!(world.count_orders(), 1);
}
