//! Lanes that are lost while the group still counts the member: what the database says is right, and
//! the process goes on by itself.

use tidegate::sink::postgres::ddl;

use crate::support::{Tidegate, World, eventually, orders_profile, start_load};

const TARGET: &str = "serving.public.orders";
const RATE: f64 = 2_000.0;

/// Takes the newest rows of each partition away, and its checkpoint back to where they began: what a
/// fail-over to a standby that lagged does, or a restore. The lock comes first, so that the statement
/// behind it sees what a writer that had it has committed.
fn go_back(world: &World, rows: i64) {
    let sql = format!(
        "BEGIN; SELECT FROM tidegate.checkpoints FOR UPDATE; \
         WITH back AS (UPDATE tidegate.checkpoints SET next_offset = next_offset - {rows} \
             RETURNING partition, next_offset), \
         letters AS (DELETE FROM tidegate.dead_letters d USING back b \
             WHERE d.partition = b.partition AND d.\"offset\" >= b.next_offset) \
         DELETE FROM orders o USING back b \
             WHERE o.kafka_partition = b.partition AND o.kafka_offset >= b.next_offset; COMMIT"
    );
    world.sql.execute(&sql).unwrap();
}

fn await_regressed(tidegate: &mut Tidegate, lanes: f64) {
    eventually("the lanes are read again", || {
        let regressed = tidegate.metric("tidegate_sink_regressed_total");
        if regressed >= lanes { Ok(()) } else { Err(format!("{regressed}\n{}", tidegate.log())) }
    });
}

#[test]
fn a_database_that_goes_back_in_time_under_load_is_filled_up_again() {
    let world = World::new("regress-load", 3);
    let load = start_load(&world, orders_profile(41), RATE);
    let mut tidegate = world.run_orders(&["batch.rows=100"]);
    for round in 1..=3 {
        world.await_more_orders_than(world.count_orders() + 1000);
        go_back(&world, 200);
        await_regressed(&mut tidegate, f64::from(round) * 3.0);
    }
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_exact(&ledger, 41);
}

#[test]
fn a_database_that_goes_back_in_time_while_nothing_comes_is_filled_up_again() {
    let world = World::new("regress-idle", 2);
    let ledger = crate::support::load(&world, orders_profile(42), 2_000);
    // Eagerly assigned, for once: the client may not change such an assignment by parts.
    let eager = "sources.shop.properties.partition.assignment.strategy=range";
    let mut tidegate = world.run_orders(&[eager]);
    world.await_checkpoints(&ledger, TARGET);
    go_back(&world, 500);
    await_regressed(&mut tidegate, 2.0);
    world.await_checkpoints(&ledger, TARGET);
    // Not even the claim is in the database that came back.
    world.sql.execute("UPDATE tidegate.checkpoints SET epoch = epoch - 1").unwrap();
    await_regressed(&mut tidegate, 4.0);
    world.await_checkpoints(&ledger, TARGET);
    tidegate.assert_conservation();
    tidegate.stop();
    world.assert_exact(&ledger, 42);
}

#[test]
fn a_checkpoint_that_somebody_else_moves_on_ends_the_run() {
    let world = World::new("claims-foreign", 1);
    let load = start_load(&world, orders_profile(43), RATE);
    let tidegate = world.run_orders(&["batch.rows=100"]);
    world.await_more_orders_than(0);
    world.sql.execute("UPDATE tidegate.checkpoints SET next_offset = 1000000").unwrap();
    let exit = tidegate.wait();
    assert_eq!(exit.code, Some(78), "{}", exit.log);
    assert!(exit.log.contains("the checkpoint stands at 1000000"), "{}", exit.log);
    load.finish();
}

/// What a process does that is no member of the group: it claims all lanes.
fn claim_by_hand(world: &World) {
    world.sql.execute("UPDATE tidegate.checkpoints SET epoch = epoch + 1").unwrap();
}

#[test]
fn a_lane_that_was_taken_without_right_is_claimed_back_once() {
    let world = World::new("claims-back", 2);
    let load = start_load(&world, orders_profile(44), RATE);
    let mut tidegate = world.run_orders(&["batch.rows=100"]);
    world.await_more_orders_than(0);
    claim_by_hand(&world);
    eventually("the lanes are claimed again", || {
        let claims = tidegate.metric("tidegate_claims_total");
        if claims >= 4.0 { Ok(()) } else { Err(format!("{claims}\n{}", tidegate.log())) }
    });
    world.await_more_orders_than(world.count_orders());
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    tidegate.assert_conservation();

    // Twice in a minute: two deployments share the group's name.
    claim_by_hand(&world);
    let exit = tidegate.wait();
    assert_eq!(exit.code, Some(75), "{}", exit.log);
    assert!(exit.log.contains("do two deployments write"), "{}", exit.log);
    world.assert_exact(&ledger, 44);
}

#[test]
fn a_group_that_counts_its_generations_anew_goes_on_where_the_former_one_stood() {
    let world = World::new("claims-anew", 2);
    let load = start_load(&world, orders_profile(45), RATE);
    let tidegate = world.run_orders(&[]);
    world.await_more_orders_than(0);
    tidegate.stop();
    // The group has been deleted, with its offsets, after a long life.
    world.sql.execute("UPDATE tidegate.checkpoints SET generation = 1000000").unwrap();
    crate::support::delete_group(&world);
    let before = world.count_orders();
    let mut tidegate = world.run_orders(&[]);
    world.await_more_orders_than(before);
    let ledger = load.finish();
    world.await_checkpoints(&ledger, TARGET);
    tidegate.assert_conservation();
    tidegate.stop();
    assert_eq!(
        world.number("SELECT count(*) FROM tidegate.checkpoints WHERE generation > 1000"),
        0
    );
    world.assert_exact(&ledger, 45);
}

#[test]
fn tables_of_an_earlier_build_are_brought_up_to_date() {
    let world = World::new("claims-migrated", 1);
    let ledger = crate::support::load(&world, orders_profile(46), 500);
    let tidegate = world.run_orders(&[]);
    world.await_checkpoints(&ledger, TARGET);
    tidegate.stop();
    let drop = "ALTER TABLE tidegate.checkpoints DROP COLUMN generation, DROP COLUMN topic_id, \
                DROP COLUMN mapping, DROP COLUMN replaced";
    world.sql.execute(drop).unwrap();
    let tidegate = world.run_orders(&[]);
    eventually("the claim", || {
        match world
            .sql
            .query_one_i64("SELECT count(topic_id) FROM tidegate.checkpoints WHERE generation > 0")
        {
            Ok(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    tidegate.stop();
    world.assert_exact(&ledger, 46);
}

#[test]
fn whichever_column_an_earlier_build_did_not_know_of_is_added() {
    let world = World::new("earlier-build", 1);
    let mut tidegate = world.run_orders(&[]);
    tidegate.await_ready();
    tidegate.stop();
    let added: Vec<_> = ddl::added_columns().collect();
    assert!(added.len() >= 5, "{added:?}");
    for (table, column) in added {
        world.sql.execute(&format!("ALTER TABLE {table} DROP COLUMN {column}")).unwrap();
        let mut tidegate = world.run_orders(&[]);
        tidegate.await_ready();
        tidegate.stop();
        let sql = format!(
            "SELECT count(*) FROM pg_attribute WHERE attrelid = '{table}'::regclass \
             AND attname = '{column}' AND NOT attisdropped"
        );
        assert_eq!(world.number(&sql), 1, "{table}.{column}");
    }
}
