//! A table that a replay replaces, with its rollups.

use super::{TABLE, assert_equal, boundary, config, must, rollup, touched};
use crate::support::{Exit, Message, Tidegate, World, eventually, produce};

const SWAP: [&str; 6] = ["orders", "--from", "earliest", "--into", "t_2", "--swap"];

fn replay(world: &World, arguments: &[&str]) -> Exit {
    let arguments = [&["replay"], arguments].concat();
    Tidegate::spawn(world.folder.path(), &arguments, std::process::Stdio::null()).wait()
}

fn record(id: i64, day: i64) -> Message {
    let at = format!("2026-01-{day:02}T12:00:00Z");
    Message::json(&format!(r#"{{"id":{id},"at":"{at}","status":"s","amount":1}}"#))
}

fn await_rows(world: &World, expected: i64) {
    eventually("the rows", || match world.number("SELECT count(*) FROM t") {
        count if count == expected => Ok(()),
        count => Err(format!("{count}")),
    });
}

#[test]
fn a_rollup_goes_over_to_the_table_that_takes_its_tables_place_and_back() {
    let world = World::bare("rollup-replaced", 1);
    world.sql.execute(TABLE).unwrap();
    let plain = super::config(&world, "", "");
    let config = format!("{plain}{}", rollup("day", "UTC", ""));
    world.write_config(&config);
    // A configuration without the rollup, so that it is not refreshed behind the swap.
    std::fs::write(world.folder.path().join("plain.toml"), plain).unwrap();
    let swap = [&SWAP[..], &["--config=plain.toml"]].concat();
    must(&world, &["create"]);
    let days: Vec<Message> = (1..=10).map(|day| record(day, day)).collect();
    produce(&world, &days);
    let mut tidegate = world.run(&config, &[]);
    await_rows(&world, 10);
    let finish = || must(&world, &["run", "--to", "2026-01-08"]);
    finish();
    // What the replay does not know of, and a finished bucket that is touched when it comes.
    world.sql.execute("UPDATE t SET amount = 100 WHERE id < 5").unwrap();
    finish();
    world.sql.execute("DELETE FROM t WHERE id = 6").unwrap();
    assert_eq!(touched(&world), 1);

    let swapped = replay(&world, &swap);
    assert_eq!(swapped.code, Some(0), "{}", swapped.log);
    assert_eq!(world.rows("SELECT sum(revenue) FROM t_by_status"), [["10.00"]]);
    assert_equal(&world, "day", "UTC", "behind the swap");
    assert_eq!(boundary(&world), "-infinity");
    assert_eq!(touched(&world), 0);
    finish();
    assert_equal(&world, "day", "UTC", "when its buckets are finished again");
    // The instance that was running knows the table by its name alone.
    produce(&world, &[record(11, 3)]);
    await_rows(&world, 11);
    assert_eq!(touched(&world), 1);
    world.sql.execute("UPDATE t SET at = at + interval '1 day' WHERE id = 5").unwrap();
    assert_eq!(touched(&world), 3);
    assert_equal(&world, "day", "UTC", "behind changes of the new table");
    tidegate.assert_conservation();
    tidegate.stop();

    let back = replay(&world, &["rollback", "orders", "--config=plain.toml"]);
    assert_eq!(back.code, Some(0), "{}", back.log);
    assert_eq!(world.rows("SELECT sum(revenue) FROM t_by_status"), [["406.00"]]);
    assert_equal(&world, "day", "UTC", "behind the rollback");
    finish();
    produce(&world, &[record(12, 2)]);
    let tidegate = world.run(&config, &[]);
    await_rows(&world, 11);
    assert_eq!(touched(&world), 1);
    assert_equal(&world, "day", "UTC", "behind a late row in the old table");
    tidegate.stop();

    // No replay makes a summary anew whose rows are gone.
    world.sql.execute("UPDATE tidegate.rollups SET details_from = '2026-01-02 00:00+00'").unwrap();
    let refused = replay(&world, &swap);
    assert_eq!(refused.code, Some(78), "{}", refused.log);
    assert!(refused.log.contains("rollup daily, as there are no detailed rows"), "{}", refused.log);
}

#[test]
fn a_swap_has_the_buckets_of_its_rollups_finished_again() {
    let world = World::bare("rollup-replaced-run", 1);
    world.sql.execute(TABLE).unwrap();
    let config = config(&world, "", &rollup("day", "UTC", "delay = \"1s\""));
    world.write_config(&config);
    must(&world, &["create"]);
    let days: Vec<Message> = (1..=10).map(|day| record(day, day)).collect();
    produce(&world, &days);
    let tidegate = world.run(&config, &[]);
    await_rows(&world, 10);
    let swapped = replay(&world, &SWAP);
    assert_eq!(swapped.code, Some(0), "{}", swapped.log);
    assert!(swapped.stdout.contains("rollup daily: finished up to 20"), "{}", swapped.stdout);
    assert_equal(&world, "day", "UTC", "behind the swap");
    assert_eq!(world.number("SELECT count(*) FROM t_summary"), 10);
    tidegate.stop();
}
