//! A rollup that is dropped between the look at it and the transaction that relies on it.

use std::process::Stdio;

use nix::sys::signal::Signal;

use super::freeze::await_frozen;
use crate::support::{Exit, Message, Tidegate, World, eventually, produce};

fn rollup(world: &World, arguments: &[&str]) -> Exit {
    let arguments = [&["rollup"], arguments].concat();
    Tidegate::spawn(world.folder.path(), &arguments, Stdio::null()).wait()
}

fn must(world: &World, arguments: &[&str]) {
    let exit = rollup(world, arguments);
    assert_eq!(exit.code, Some(0), "{arguments:?}: {}", exit.log);
}

/// A table without detailed rows of an old day that its summary has, and a process that has frozen at the
/// point with another row of it.
fn late_row(point: &str) -> (World, Tidegate) {
    let world = World::bare(&format!("late-{}", point.replace(['=', '@', '.'], "-")), 1);
    world
        .sql
        .execute(
            "CREATE TABLE t (id bigint, at timestamptz); CREATE INDEX ON t (at); \
             INSERT INTO t VALUES (0, now() - interval '100 days')",
        )
        .unwrap();
    let to = "\"serving\"\ntable = \"t\"\n";
    let (source, sink) = (world.source_config(""), world.sink_config("serving"));
    let config = format!(
        "{source}{sink}{}[[rollups]]\nname = \"daily\"\nsink = \"serving\"\ntable = \"t\"\n\
         time_column = \"at\"\nbucket = \"day\"\ntime_zone = \"UTC\"\ngroup_by = []\n\
         aggregates = {{ orders = \"count(*)\" }}\nbatch_table = \"t_summary\"\nview = \"t_daily\"\n\
         late = \"merge\"\nretention = \"30d\"\n",
        world.route_config(to)
    );
    world.write_config(&config);
    must(&world, &["create"]);
    must(&world, &["run"]);
    assert_eq!(world.number("SELECT count(*) FROM t"), 0, "it has no detailed rows");
    let tidegate = world.run_to(&config, point, &[]);
    let at = world.rows("SELECT to_json(now() - interval '100 days')").remove(0).remove(0);
    produce(&world, &[Message::json(&format!(r#"{{"id":1,"at":{at}}}"#))]);
    await_frozen(&tidegate);
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' \
                AND datname = current_database()";
    assert_eq!(world.number(open), 1, "its transaction");
    (world, tidegate)
}

fn finish(world: &World, mut tidegate: Tidegate) {
    tidegate.signal(Signal::SIGCONT);
    eventually("the checkpoint", || {
        assert!(tidegate.is_running(), "it ended:\n{}", tidegate.log());
        match world.number("SELECT max(next_offset) FROM tidegate.checkpoints") {
            1 => Ok(()),
            next => Err(format!("{next}\n{}", tidegate.log())),
        }
    });
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 0);
    tidegate.assert_conservation();
    tidegate.stop();
}

#[test]
fn a_row_that_was_too_late_for_a_rollup_that_is_gone_is_a_row_of_the_table() {
    let (world, tidegate) = late_row("copy.done=stop@1");
    must(&world, &["drop", "--force", "daily"]);
    must(&world, &["create"]);
    finish(&world, tidegate);
    assert_eq!(world.number("SELECT count(*) FROM t WHERE id = 1"), 1);
}

#[test]
fn a_rollup_stays_until_the_row_that_was_too_late_for_it_is_in_its_summary() {
    let (world, tidegate) = late_row("rollups.read=stop@1");
    let exit = rollup(&world, &["drop", "--force", "daily"]);
    assert_ne!(exit.code, Some(0), "{}", exit.log);
    finish(&world, tidegate);
    assert_eq!(world.number("SELECT sum(orders) FROM t_daily"), 2);
    assert_eq!(world.number("SELECT count(*) FROM t"), 0);
}
