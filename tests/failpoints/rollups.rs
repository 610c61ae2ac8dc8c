//! A rollup that changes between the look at it and the transaction that relies on it.

use std::process::Stdio;

use nix::sys::signal::Signal;

use super::freeze::await_frozen;
use crate::support::{Message, Tidegate, World, eventually, produce};

#[test]
fn a_row_that_was_too_late_for_a_rollup_that_is_gone_is_a_row_of_the_table() {
    let world = World::bare("late-row-changes", 1);
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
    let rollup = |arguments: &[&str]| {
        let arguments = [&["rollup"], arguments].concat();
        let exit = Tidegate::spawn(world.folder.path(), &arguments, Stdio::null()).wait();
        assert_eq!(exit.code, Some(0), "{arguments:?}: {}", exit.log);
    };
    rollup(&["create"]);
    rollup(&["run"]);
    assert_eq!(world.number("SELECT count(*) FROM t"), 0, "it has no detailed rows");

    // The first transaction learns that the row is too late, the second is to add it to the summary.
    let mut tidegate = world.run_to(&config, "copy.done=stop@2", &[]);
    let at = world.rows("SELECT to_json(now() - interval '100 days')").remove(0).remove(0);
    produce(&world, &[Message::json(&format!(r#"{{"id":1,"at":{at}}}"#))]);
    await_frozen(&tidegate);
    rollup(&["drop", "--force", "daily"]);
    rollup(&["create"]);
    tidegate.signal(Signal::SIGCONT);
    eventually("the row", || {
        assert!(tidegate.is_running(), "it ended:\n{}", tidegate.log());
        match world.number("SELECT count(*) FROM t WHERE id = 1") {
            1 => Ok(()),
            count => Err(format!("{count}\n{}", tidegate.log())),
        }
    });
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 0);
    tidegate.assert_conservation();
    tidegate.stop();
}
