//! Detailed rows that go, while their summary stays.

use super::{TABLE, config, must, refused_command, rollup, touched};
use crate::support::{Message, World, eventually, grid, produce};

#[test]
fn a_partition_expires_when_its_buckets_are_finished_and_what_comes_later_is_a_dead_letter() {
    let world = World::bare("rollup-retention", 1);
    world
        .sql
        .execute(
            "CREATE TABLE t (id bigint, at timestamptz NOT NULL, status text, amount numeric(12,2)) \
             PARTITION BY RANGE (at); CREATE INDEX ON t (at); \
             DO $$ BEGIN EXECUTE format('CREATE TABLE old PARTITION OF t FOR VALUES FROM (%L) TO (%L)', \
             date_trunc('month', now() - interval '120 days', 'UTC'), \
             date_trunc('month', now() - interval '60 days', 'UTC')); END $$; \
             INSERT INTO t SELECT n, now() - interval '100 days' + n * interval '1 hour', 's', n \
             FROM generate_series(1, 100) n",
        )
        .unwrap();
    let daily = rollup("day", "Europe/Berlin", "");
    let keep = "partitions = { by = \"day\", ahead = 1, behind = \"29d\", retention = \"30d\" }";
    let text = config(&world, keep, &daily);
    world.write_config(&text);
    must(&world, &["create"]);
    let mut tidegate = world.run(&text, &[]);
    tidegate.await_log("stays attached: rollup daily needs its rows");
    tidegate.stop();
    must(&world, &["run"]);
    let summary = world.rows("SELECT * FROM t_by_status ORDER BY 1, 2");
    assert!(summary.len() > 4);

    let tidegate = world.run(&text, &[]);
    eventually("the end of the partition", || {
        match world.number("SELECT count(*) FROM pg_inherits WHERE inhrelid = 'old'::regclass") {
            0 => Ok(()),
            _ => Err("it is attached".to_owned()),
        }
    });
    assert_eq!(world.rows("SELECT * FROM t_by_status ORDER BY 1, 2"), summary);
    tidegate.stop();
    // A partition for rows that come too late for the summary.
    world.sql.execute("CREATE TABLE rest PARTITION OF t DEFAULT").unwrap();
    let at = world.rows("SELECT to_json(now() - interval '99 days'), to_json(now())").remove(0);
    let record = |id: i64, at: &str| {
        Message::json(&format!(r#"{{"id":{id},"at":{at},"status":"s","amount":1}}"#))
    };
    produce(&world, &[record(1, &at[0]), record(2, &at[1]), record(3, &at[0])]);
    let tidegate = world.run(&text, &["routes[0].max_dead_letter_percent=100"]);
    eventually("the dead letters", || {
        match world.number("SELECT count(*) FROM tidegate.dead_letters") {
            2 => Ok(()),
            count => Err(format!("{count}")),
        }
    });
    tidegate.stop();
    let letters = "SELECT \"offset\", reason, column_name FROM tidegate.dead_letters ORDER BY 1";
    assert_eq!(world.rows(letters), grid(&[["0", "too_late", "at"], ["2", "too_late", "at"]]));
    assert_eq!(world.rows("SELECT id FROM t"), grid(&[["2"]]));
    let moved = "UPDATE t SET at = now() - interval '99 days' WHERE id = 2";
    let refused = format!("{:?}", world.sql.execute(moved));
    assert!(refused.contains("in the summary of rollup daily alone"), "{refused}");
    must(&world, &["run"]);
    assert_eq!(
        world.rows(
            "SELECT * FROM t_by_status WHERE bucket < now() - interval '50 days' ORDER BY 1, 2"
        ),
        summary
    );
    refused_command(&world, &["drop", "daily"], "--force drops it all the same");
    must(&world, &["drop", "--force", "daily"]);
}

#[test]
fn old_detailed_rows_are_deleted_when_they_are_in_the_summary_of_every_rollup() {
    let world = World::bare("rollup-expiry", 1);
    world.sql.execute(TABLE).unwrap();
    world
        .sql
        .execute(
            "INSERT INTO t SELECT n, now() - n * interval '1 hour', 's', n FROM generate_series(1, 3000) n; \
             INSERT INTO t VALUES (-1, NULL, 's', 1)",
        )
        .unwrap();
    let daily = rollup("day", "UTC", "retention = \"30d\"");
    let other = rollup("hour", "UTC", "")
        .replace("\"daily\"", "\"hourly\"")
        .replace("t_summary", "t_hours")
        .replace("t_by_status", "t_by_hour");
    world.write_config(&config(&world, "", &format!("{daily}{other}")));
    must(&world, &["create"]);
    let all = world.rows("SELECT * FROM t_by_status ORDER BY 1, 2");
    let said = must(&world, &["run", "daily"]);
    assert!(said.contains("stay, as rollup hourly needs them"), "{said}");
    must(&world, &["run", "hourly"]);
    let said = must(&world, &["run", "daily"]);
    assert!(said.contains("detailed rows have expired and are deleted"), "{said}");
    let left = "SELECT count(*) FROM t WHERE at < now() - interval '30 days'";
    assert_eq!(world.number(left), 0);
    assert!(world.number("SELECT count(*) FROM t") >= 700);
    assert_eq!(world.rows("SELECT * FROM t_by_status ORDER BY 1, 2"), all);
    assert_eq!(touched(&world), 0);
    // What is deleted by hand below that changes nothing, and what is above does.
    world.sql.execute("DELETE FROM t WHERE id = 48").unwrap();
    assert_eq!(touched(&world), 1);
    refused_command(&world, &["drop", "daily"], "--force drops it all the same");
}
