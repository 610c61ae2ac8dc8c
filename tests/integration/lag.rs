//! The lag is what is in Kafka and not in the table: never more, never less.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::{
    Message, Tidegate, Transactions, World, delete_records_before, eventually, produce, watermarks,
};

fn order(n: i64) -> Message {
    Message::json(&format!(r#"{{"order_id":{n},"amount":1}}"#))
}

/// Waits until the only lane is so far behind, and gives it.
fn await_lag(tidegate: &mut Tidegate, records: u64) -> Value {
    eventually(&format!("a lag of {records}"), || {
        let lane = tidegate.status()["lanes"][0].clone();
        if lane["lag_records"] == records { Ok(lane) } else { Err(lane.to_string()) }
    })
}

fn await_end(tidegate: &mut Tidegate, end: i64) -> Value {
    eventually(&format!("no lag, with the end at {end}"), || {
        let lane = tidegate.status()["lanes"][0].clone();
        let is_there = lane["high_watermark"] == end && lane["lag_records"] == 0;
        if is_there { Ok(lane) } else { Err(lane.to_string()) }
    })
}

#[test]
fn what_is_no_record_is_no_lag() {
    let world = World::new("lag-transactions", 1);
    let mut tidegate = world.run_orders(&[]);
    tidegate.await_partitions(1);
    // Empty.
    let lane = await_end(&mut tidegate, 0);
    assert_eq!(lane["lag_seconds"], 0.0);
    // Behind the last record lie those of an aborted transaction, and the marks of both.
    let transactions = Transactions::new(&world);
    transactions.commit((0..5).map(order));
    transactions.abort((5..10).map(order));
    let (_, end) = watermarks(&world, 0);
    assert_eq!(end, 12);
    let lane = await_end(&mut tidegate, end);
    assert_eq!((&lane["durable_offset"], &lane["lag_seconds"]), (&5.into(), &0.0.into()));
    assert_eq!(tidegate.metric("tidegate_lag_records"), 0.0);
    // The next records count again.
    transactions.commit((10..12).map(order));
    await_end(&mut tidegate, 15);
    assert_eq!(world.count_orders(), 7);
    tidegate.stop();

    // A process that begins before such an end, and gets nothing.
    transactions.abort((12..20).map(order));
    let mut tidegate = world.run_orders(&[]);
    tidegate.await_partitions(1);
    let lane = await_end(&mut tidegate, watermarks(&world, 0).1);
    assert_eq!(lane["consumed"], 0);
    assert_eq!(tidegate.metric("tidegate_lag_seconds"), 0.0);
    assert_eq!(tidegate.metric("tidegate_unaccounted_records"), 0.0);
    tidegate.stop();
}

#[test]
fn the_lag_grows_while_the_sink_is_away_and_retention_is_told() {
    let world = World::new("lag-away", 1);
    let (proxy, config) = world.behind_proxy(&world.orders_config());
    let mut tidegate = world.run(&config, &[]);
    tidegate.await_partitions(1);
    produce(&world, &(0..10).map(order).collect::<Vec<_>>());
    await_lag(&mut tidegate, 0);
    eventually("the orders", || match world.count_orders() {
        10 => Ok(()),
        count => Err(format!("{count}")),
    });
    proxy.refuse().unwrap();
    proxy.cut();
    produce(&world, &(10..110).map(order).collect::<Vec<_>>());
    let lane = await_lag(&mut tidegate, 100);
    let before = lane["lag_seconds"].as_f64().unwrap_or(0.0);
    eventually("an age that grows", || {
        let status = tidegate.status();
        let age = status["lanes"][0]["lag_seconds"].as_f64().unwrap();
        assert_eq!(status["lag_records"], 100);
        if age >= before + 2.0 { Ok(()) } else { Err(format!("{age}")) }
    });
    assert!(tidegate.metric("tidegate_lag_seconds") >= 2.0);
    assert_eq!(tidegate.metric("tidegate_records_in_flight"), 100.0);
    assert!(tidegate.metric_with("tidegate_memory_in_use_bytes", "batches") > 1000.0);
    // Retention removes what was read and is not written: what is gone is no lag any more.
    delete_records_before(&world, 0, 40);
    let lane = await_lag(&mut tidegate, 70);
    assert_eq!((&lane["durable_offset"], &lane["low_watermark"]), (&10.into(), &40.into()));
    assert_eq!(lane["expired_offsets"], 30);
    let state = "state=\"will_exceed_retention\"";
    eventually("the state", || match tidegate.metric_with("tidegate_lag_state", state) {
        1.0 => Ok(()),
        _ => Err(tidegate.status()["lanes"].to_string()),
    });
    proxy.pass().unwrap();
    // They were in hand, so they are written all the same.
    await_lag(&mut tidegate, 0);
    eventually("all orders", || match world.count_orders() {
        110 => Ok(()),
        count => Err(format!("{count}")),
    });
    eventually("the state of now", || match tidegate.status()["lanes"][0]["lag_state"].as_str() {
        Some("ok") => Ok(()),
        state => Err(format!("{state:?}")),
    });
    let exit = tidegate.stop();
    assert!(exit.took < Duration::from_secs(10));
}

#[test]
fn client_pool_and_process_tell_their_figures() {
    let world = World::new("lag-figures", 1);
    let mut tidegate = world.run_orders(&[]);
    let orders: Vec<Message> = (0..10).map(order).collect();
    let bytes: usize = orders.iter().flat_map(|order| &order.value).map(Vec::len).sum();
    produce(&world, &orders);
    world.await_more_orders_than(9);
    eventually("the client's figures", || {
        match tidegate.metric("tidegate_client_requests_total") {
            0.0 => Err("none".to_owned()),
            _ => Ok(()),
        }
    });
    assert!(tidegate.metric("tidegate_client_round_trip_seconds") > 0.0);
    assert_eq!(tidegate.metric("tidegate_client_queue_messages"), 0.0);
    assert_eq!(tidegate.metric("tidegate_bytes_consumed_total"), bytes as f64);
    assert!(tidegate.metric("tidegate_bytes_written_total") > 100.0);
    // Two writers and four for what is beside.
    assert_eq!(tidegate.metric_with("tidegate_pool_connections", "state=\"max\""), 6.0);
    assert!(tidegate.metric_with("tidegate_pool_connections", "state=\"in_use\"") >= 1.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    for timestamp in ["tidegate_partition_progress_timestamp_seconds", "process_start_time_seconds"]
    {
        let age = now - tidegate.metric(timestamp);
        assert!((-5.0..120.0).contains(&age), "{timestamp}: {age}");
    }
    for figure in ["process_cpu_seconds_total", "process_open_fds", "process_threads"] {
        assert!(tidegate.metric(figure) > 0.0, "{figure}");
    }
    let resident = tidegate.metric("process_resident_memory_bytes") / f64::from(1 << 20);
    assert!((resident - tidegate.rss_mib() as f64).abs() < 50.0, "{resident} MiB");
    let status = tidegate.status();
    assert_eq!(status["state"], "running");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let target = &status["routes"][0]["targets"][0];
    assert_eq!((&target["sink"], &target["lag_records"]), (&"serving".into(), &0.into()));
    assert_eq!(status["stages"]["partition"]["threads"], 1);
    assert_eq!(status["stages"]["writers"][0]["threads"], 2);
    tidegate.stop();
}
