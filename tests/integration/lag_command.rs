//! `tidegate lag`: from Kafka and the database alone.

use std::process::Stdio;

use serde_json::Value;

use crate::support::{
    Exit, Message, Tidegate, World, delete_records_before, eventually, orders_profile, produce,
    start_load,
};

fn lag(world: &World, arguments: &[&str]) -> Exit {
    let arguments = [&["lag"], arguments].concat();
    Tidegate::spawn(world.folder.path(), &arguments, Stdio::null()).wait()
}

/// Each partition's low, durable, high, lag and state.
fn lanes(world: &World) -> Vec<(i64, i64, i64, i64, String)> {
    let exit = lag(world, &["--json"]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let lines: Vec<Value> =
        exit.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let number = |line: &Value, key: &str| line[key].as_i64().unwrap();
    lines
        .iter()
        .map(|line| {
            assert_eq!(line["target"], "serving.public.orders");
            // The age of the oldest record, where one waits.
            let seconds = line["lag_seconds"].as_f64();
            assert_eq!(seconds == Some(0.0), line["lag_records"] == 0, "{line}");
            let [low, durable, high, lag] =
                ["low", "durable", "high", "lag_records"].map(|key| number(line, key));
            (low, durable, high, lag, line["state"].as_str().unwrap().to_owned())
        })
        .collect()
}

fn messages(partition: i32, count: usize) -> Vec<Message> {
    let message = Message { partition, ..Message::json(r#"{"order_id":1,"amount":1}"#) };
    vec![message; count]
}

#[test]
fn lag_is_right_for_partitions_of_every_kind_without_a_tidegate() {
    let world = World::new("lag-kinds", 3);
    let stands = |lanes: &[(i64, i64, i64, i64, &str)]| -> Vec<(i64, i64, i64, i64, String)> {
        lanes.iter().map(|&(a, b, c, d, state)| (a, b, c, d, state.to_owned())).collect()
    };
    world.write_config(&world.orders_config());
    produce(&world, &messages(0, 10));
    produce(&world, &messages(1, 5));
    let never_read = [(0, 0, 10, 10, "new"), (0, 0, 5, 5, "new"), (0, 0, 0, 0, "ok")];
    assert_eq!(lanes(&world), stands(&never_read));
    world.write_config(&world.orders_config().replace("group =", "start = \"latest\"\ngroup ="));
    assert!(lanes(&world).iter().all(|lane| lane.3 == 0), "it would begin at the end");

    let tidegate = world.run_orders(&[]);
    eventually("all orders", || match world.count_orders() {
        15 => Ok(()),
        count => Err(count.to_string()),
    });
    tidegate.stop();
    let durable = [(0, 10, 10, 0, "ok"), (0, 5, 5, 0, "ok"), (0, 0, 0, 0, "ok")];
    assert_eq!(lanes(&world), stands(&durable));

    produce(&world, &messages(0, 4));
    produce(&world, &messages(1, 7));
    delete_records_before(&world, 1, 8);
    let behind = [(0, 10, 14, 4, "behind"), (8, 5, 12, 4, "expired"), (0, 0, 0, 0, "ok")];
    assert_eq!(lanes(&world), stands(&behind));

    // Kafka's offset is the position of at-least-once: the same, as it followed.
    let at_least_once = world
        .orders_config()
        .replace("table = \"orders\"", "table = \"orders\"\ndelivery = \"at-least-once\"");
    world.write_config(&at_least_once);
    assert_eq!(lanes(&world), stands(&behind));
    let shown = lag(&world, &[]);
    assert!(shown.stdout.contains("8 records behind in 2 of 3 lanes"), "{}", shown.stdout);
    assert_eq!(lag(&world, &["--for", "1s"]).code, Some(64));
}

#[test]
fn a_lag_that_grows_is_an_exit_code_for_cron() {
    let world = World::new("lag-growing", 2);
    world.write_config(&world.orders_config());
    let growing = |pause: &str| lag(&world, &["--fail-if-growing", "--for", pause]);
    produce(&world, &messages(0, 3));
    // Three that wait, and no more come.
    assert_eq!(growing("100ms").code, Some(0));
    let running = start_load(&world, orders_profile(3), 200.0);
    let exit = growing("1s");
    assert_eq!(exit.code, Some(1), "{exit:?}");
    assert!(exit.log.contains("has grown within 1s"), "{}", exit.log);
    assert!(exit.stdout.contains("growing"), "{}", exit.stdout);
    let mut tidegate = world.run_orders(&[]);
    tidegate.await_partitions(2);
    eventually("what waited", || match tidegate.metric("tidegate_lag_records") {
        lag if lag < 100.0 && world.count_orders() > 0 => Ok(()),
        lag => Err(lag.to_string()),
    });
    let exit = growing("4s");
    assert_eq!(exit.code, Some(0), "{exit:?}");
    tidegate.stop();
    running.finish();
}
