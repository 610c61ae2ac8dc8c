//! A process that dies while it changes a table: its heir finds the table as it was or as it became, and
//! every record is a row once.

use crate::support::{Message, Tidegate, World, eventually, produce};

fn spawn(world: &World, failpoint: &str, more: &str) -> Tidegate {
    let to = format!("\"serving\"\ntable = \"t\"\n{more}\n");
    let config = format!(
        "{}{}{}",
        world.source_config(""),
        world.sink_config("serving"),
        world.route_config(&to)
    );
    world.run_to(&config, failpoint, &[])
}

/// Dies at the point, and lets another process finish.
fn die_at(point: &str, table: &str, more: &str, messages: &[Message]) -> World {
    let world = World::bare(&format!("die-table-{}", point.replace(['=', '@', '.'], "-")), 1);
    world.sql.execute(table).unwrap();
    produce(&world, messages);
    let exit = spawn(&world, point, more).wait();
    assert_eq!(exit.code, None, "it was to die at {point}:\n{}", exit.log);
    let mut heir = spawn(&world, "", more);
    eventually("the checkpoint", || {
        assert!(heir.is_running(), "it ended:\n{}", heir.log());
        match world.number("SELECT coalesce(max(next_offset), 0) FROM tidegate.checkpoints") {
            next if next == messages.len() as i64 => Ok(()),
            next => Err(next.to_string()),
        }
    });
    heir.assert_conservation();
    heir.stop();
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 0);
    let once = "SELECT count(*) * 10000 + count(DISTINCT id) FROM t";
    let count = messages.len() as i64;
    assert_eq!(world.number(once), count * 10_000 + count, "{point}");
    world
}

#[test]
fn death_while_a_table_grows_neither_loses_nor_doubles() {
    let more = "on_unknown_field = \"add_column\"\non_out_of_range = \"widen\"";
    let message =
        |id: i64| Message::json(&format!(r#"{{"id":{id},"f{}":{id},"n":{}}}"#, id / 100, id * 100));
    let messages: Vec<Message> = (0..600).map(message).collect();
    for point in [
        "table.changing=abort@1",
        "table.changing=abort@4",
        "table.changed=abort@1",
        "table.changed=abort@5",
    ] {
        let table = "CREATE TABLE t (id bigint, n smallint)";
        let world = die_at(point, table, more, &messages);
        let sum = "SELECT sum(coalesce(f0, f1, f2, f3, f4, f5) + n)::int8 FROM t";
        assert_eq!(world.number(sum), 101 * 600 * 599 / 2, "{point}");
    }
}

#[test]
fn death_while_partitions_are_made_neither_loses_nor_doubles() {
    let more = "partitions = { by = \"day\", ahead = 2, behind = \"20d\" }\n\
                [routes.to.columns]\nat = { epoch = \"s\" }";
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = now.as_secs() as i64;
    let message =
        |id: i64| Message::json(&format!(r#"{{"id":{id},"at":{}}}"#, now - id / 100 * 86_400));
    let messages: Vec<Message> = (0..1_500).map(message).collect();
    for point in ["partition.making=abort@1", "partition.making=abort@2"] {
        let table = "CREATE TABLE t (id bigint, at timestamptz) PARTITION BY RANGE (at)";
        die_at(point, table, more, &messages);
    }
}
