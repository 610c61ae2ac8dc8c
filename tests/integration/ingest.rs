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
    let status = tidegate.status();
    let p50_ms = status["latency_ms"]["p50"].as_f64().unwrap();
    assert!(p50_ms < 2_500.0, "{p50_ms} ms");
    let batches = tidegate.metric("tidegate_batches_total");
    let transactions = world.number("SELECT count(DISTINCT xmin::text) FROM orders") as f64;
    assert!(transactions < batches / 10.0, "{transactions} transactions for {batches} batches");
    assert!(tidegate.rss_mib() < 192, "{} MiB", tidegate.rss_mib());
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_exact(&ledger, 2);
}
