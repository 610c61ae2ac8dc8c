//! The path of the records when nothing goes wrong.

use crate::support::{World, load, orders_profile};

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
