//! Detailed rows that go, while their summary stays.

use std::process::Stdio;

use super::{TABLE, command, config, must, refused_command, rollup, touched};
use crate::support::{Message, Tidegate, World, eventually, grid, produce};

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

    // Nothing is too late for a rollup that is gone.
    produce(&world, &[record(4, &at[0])]);
    eventually("the row", || match world.number("SELECT count(*) FROM t WHERE id = 4") {
        1 => Ok(()),
        _ => Err(format!("{:?}", world.rows(letters))),
    });
    tidegate.stop();
}

#[test]
fn what_comes_later_is_added_to_the_summary_although_a_trigger_watches_inserts() {
    let world = World::bare("rollup-late-watched", 1);
    world.sql.execute(TABLE).unwrap();
    world.sql.execute("INSERT INTO t VALUES (0, now() - interval '100 days', 's', 1)").unwrap();
    let daily = rollup("day", "UTC", "late = \"merge\"\nretention = \"30d\"\nwatch_inserts = true");
    let text = config(&world, "", &daily);
    world.write_config(&text);
    must(&world, &["create"]);
    let mut tidegate = world.run(&text, &[]);
    let at = world.rows("SELECT to_json(now() - interval '100 days'), to_json(now())").remove(0);
    let record = |id: i64, at: &str| {
        Message::json(&format!(r#"{{"id":{id},"at":{at},"status":"s","amount":1}}"#))
    };
    let durable = |count: i64| {
        eventually("the checkpoint", || {
            match world.number("SELECT max(next_offset) FROM tidegate.checkpoints") {
                next if next == count => Ok(()),
                next => Err(next.to_string()),
            }
        });
    };
    // It learns that nothing is too late, just before the detailed rows go.
    produce(&world, &[record(1, &at[1])]);
    durable(1);
    must(&world, &["run"]);
    must(&world, &["run"]);
    assert_eq!(world.number("SELECT count(*) FROM t"), 1);
    // So many that it would be the table's fault if the rows were refused.
    let late: Vec<Message> = (0..300).map(|id| record(id, &at[0])).collect();
    produce(&world, &late);
    durable(301);
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 0);
    assert_eq!(world.number("SELECT count(*) FROM t"), 1);
    let old = "SELECT sum(orders) FROM t_by_status WHERE bucket < now() - interval '50 days'";
    assert_eq!(world.number(old), 301);
    tidegate.assert_conservation();
    tidegate.stop();
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

/// Produces rows of so many hours ago, which are kept in `seen`, too, and waits for them.
fn send(world: &World, rows: &[(i64, &str, i64)]) {
    for (hours, status, amount) in rows {
        let sql = format!("SELECT date_trunc('hour', now()) - interval '{hours} hours'");
        let at = world.rows(&sql).remove(0).remove(0);
        let sql =
            format!("INSERT INTO seen SELECT count(*), '{at}', '{status}', {amount} FROM seen");
        world.sql.execute(&sql).unwrap();
        let row = "SELECT to_json(seen) FROM seen ORDER BY id DESC LIMIT 1";
        produce(world, &[Message::json(&world.rows(row).remove(0).remove(0))]);
    }
    let sent = world.number("SELECT count(*) FROM seen");
    let live =
        "SELECT max(next_offset) FROM tidegate.checkpoints WHERE consumer_group = 'rollup-late'";
    eventually("the checkpoint", || match world.number(live) {
        next if next == sent => Ok(()),
        next => Err(format!("{next} of {sent}")),
    });
}

/// The views show what the plain aggregates over all rows show that were ever sent, but for `id`.
fn assert_whole(world: &World, but: i64) {
    for (view, bucket, zone, groups, least) in [
        ("t_by_status", "day", "Europe/Berlin", "status, status || '+'", "max(id)"),
        ("t_by_hour", "hour", "UTC", "status", "min(at)"),
    ] {
        let plain = format!(
            "SELECT date_trunc('{bucket}', at, '{zone}'), {groups}, {least}, count(*), sum(amount) \
             FROM seen WHERE status <> 'removed' AND id <> {but} GROUP BY 1, {groups}"
        );
        let differences = world.rows(&format!(
            "(TABLE {view} EXCEPT ALL {plain}) UNION ALL ({plain} EXCEPT ALL TABLE {view})"
        ));
        assert!(differences.is_empty(), "{view}: {differences:?}");
    }
}

#[test]
fn rows_that_come_after_their_details_are_gone_are_added_to_the_summary() {
    let world = World::bare("rollup-late", 1);
    world
        .sql
        .execute(
            "CREATE TABLE t (id bigint, at timestamptz, status text, amount numeric(12,2), \
             n bigint GENERATED ALWAYS AS IDENTITY, next text GENERATED ALWAYS AS (status || '+') STORED); \
             CREATE TABLE seen (id bigint, at timestamptz, status text, amount numeric(12,2))",
        )
        .unwrap();
    let daily = rollup("day", "Europe/Berlin", "late = \"merge\"\nretention = \"30d\"")
        .replace("[\"status\"]", "[\"status\", \"next\"]");
    let hourly = rollup("hour", "UTC", "late = \"merge\"")
        .replace("\"daily\"", "\"hourly\"")
        .replace("latest = \"max(id)\"", "first = \"min(at)\"")
        .replace("t_summary", "t_hours")
        .replace("t_by_status", "t_by_hour");
    let text = config(&world, "", &format!("{daily}{hourly}"));
    world.write_config(&text);
    must(&world, &["create"]);
    let mut tidegate = world.run(&text, &["routes[0].max_dead_letter_percent=100"]);
    tidegate.await_log("admin server on");
    let old = 100 * 24;
    send(&world, &[(old, "a", 1), (old, "removed", 2), (old + 1, "a", 3), (1, "a", 4)]);
    must(&world, &["run"]);
    must(&world, &["run"]);
    assert_whole(&world, -1);
    assert_eq!(world.number("SELECT count(*) FROM t"), 1);

    // A group that is there, one that is not, one that does not count, a bucket that is not there.
    let late =
        [(old, "a", 10), (old, "b", 20), (old, "removed", 1), (old - 90, "a", 30), (2, "a", 5)];
    send(&world, &late);
    assert_whole(&world, -1);
    must(&world, &["run"]);
    assert_whole(&world, -1);
    assert_eq!(world.number("SELECT count(*) FROM t"), 2);
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 0);
    tidegate.assert_conservation();

    // From the history of the topic, once it is as far as the table.
    let replay = || {
        let again = ["replay", "orders", "--from", "earliest", "--into", "t_again"];
        let exit = Tidegate::spawn(world.folder.path(), &again, Stdio::null()).wait();
        assert_eq!(exit.code, Some(0), "{}", exit.log);
    };
    let from = ["--from", "2000-01-01", "--details", "t_again"];
    let recompute = |name: &str| command(&world, &[&["recompute", name], &from[..]].concat());
    refused_command(&world, &[&["recompute", "daily"], &from[..]].concat(), "there is no table");
    replay();
    send(&world, &[(old, "a", 3)]);
    let early = recompute("daily");
    assert_eq!(early.code, Some(75), "{}", early.log);
    replay();
    let gone = "bucket < now() - interval '50 days'";
    let spoil =
        format!("UPDATE t_summary SET orders = 0 WHERE {gone}; DELETE FROM t_hours WHERE {gone}");
    world.sql.execute(&spoil).unwrap();
    for name in ["daily", "hourly"] {
        let exit = recompute(name);
        assert_eq!(exit.code, Some(0), "{}", exit.log);
    }
    assert_whole(&world, -1);

    // What the summary does not take is a dead letter.
    world.sql.execute("ALTER TABLE t_summary ADD CHECK (revenue < 1000)").unwrap();
    send(&world, &[(old, "a", 5_000)]);
    assert_whole(&world, 10);
    let letters = "SELECT \"offset\", reason FROM tidegate.dead_letters";
    assert_eq!(world.rows(letters), grid(&[["10", "too_late"]]));

    // Nor what one of two rollups does not want added, until that one is gone.
    world.sql.execute("UPDATE tidegate.rollups SET late_sql = NULL WHERE name = 'daily'").unwrap();
    send(&world, &[(old, "a", 1)]);
    let refused = grid(&[["10", "too_late"], ["11", "too_late"]]);
    assert_eq!(world.rows(letters), refused);
    must(&world, &["drop", "--force", "daily"]);
    let orders = world.number("SELECT sum(orders) FROM t_hours");
    send(&world, &[(old, "a", 1)]);
    assert_eq!(world.number("SELECT sum(orders) FROM t_hours"), orders + 1);
    assert_eq!(world.rows(letters), refused);

    // Rollups that are made anew have nothing that is gone.
    must(&world, &["drop", "--force", "hourly"]);
    must(&world, &["create"]);
    send(&world, &[(old, "a", 1)]);
    assert_eq!(world.number("SELECT count(*) FROM t WHERE id = 13"), 1);
    tidegate.assert_conservation();
    tidegate.stop();
}
