//! The path of the records when nothing goes wrong.

use std::time::Duration;

use loadgen::Profile;

use crate::support::{World, load, orders_profile, start_load};

#[test]
fn every_record_becomes_one_row_or_one_dead_letter() {
    let world = World::new("ingest-exact", 6);
    let ledger = load(&world, orders_profile(1), 50_000);
    let mut tidegate = world.run_orders(&[]);
    world.await_checkpoints(&ledger, "serving.public.orders");
    let counts = tidegate.assert_conservation();
    assert_eq!(counts.consumed, ledger.produced);
    assert_eq!(counts.written, ledger.totals.orders);
    assert_eq!(counts.dead_lettered, ledger.totals.poison_total + ledger.totals.tombstones);
    tidegate.stop();
    world.assert_exact(&ledger, 1);
}

#[test]
fn many_quiet_partitions_cost_few_transactions_little_time_and_little_memory() {
    let partitions = 64;
    let world = World::new("ingest-quiet", partitions);
    // A transaction takes a tenth of a second here: what is ready meanwhile has to go together.
    let (proxy, config) = world.behind_proxy(&world.orders_config());
    proxy.delay(Duration::from_millis(10));
    let mut tidegate = world.run(&config, &["sinks.serving.writers=1", "batch.rows=20000"]);
    tidegate.await_partitions(partitions.into());
    let load = start_load(&world, Profile { poison: 0.0, ..orders_profile(2) }, 1_280.0);
    world.await_more_orders_than(8_000);
    let ledger = load.finish();
    world.await_checkpoints(&ledger, "serving.public.orders");
    let p50_ms = tidegate.status()["latency_ms"]["p50"].as_f64().unwrap();
    let writes = tidegate.metric("tidegate_write_seconds_count");
    let write_ms = tidegate.metric("tidegate_write_seconds_sum") / writes * 1000.0;
    // A record waits for its turn, not for those of all other partitions one by one.
    assert!(p50_ms < 1_000.0 + 10.0 * write_ms, "{p50_ms} ms, {write_ms} ms a write set");
    let batches = tidegate.metric("tidegate_batches_total");
    let transactions = world.number("SELECT count(DISTINCT xmin::text) FROM orders") as f64;
    assert!(transactions < batches / 10.0, "{transactions} transactions for {batches} batches");
    assert!(tidegate.rss_mib() < 192, "{} MiB", tidegate.rss_mib());
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_exact(&ledger, 2);
}
