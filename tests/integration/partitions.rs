//! Tables that are partitioned by time: partitions made for rows, late and far-future rows, retention.

use crate::support::{Message, Tidegate, World, eventually, grid, produce};

const TABLE: &str = "CREATE TABLE t (id bigint NOT NULL, at timestamptz NOT NULL, \
     PRIMARY KEY (id, at)) PARTITION BY RANGE (at)";

/// A route of the topic into table `t`; `more` stands behind it.
fn config(world: &World, more: &str) -> String {
    let to = format!("\"serving\"\ntable = \"t\"\n{more}\n");
    format!(
        "{}{}{}",
        world.source_config(""),
        world.sink_config("serving"),
        world.route_config(&to)
    )
}

const ALL_LETTERS: &str = "routes[0].max_dead_letter_percent=100";

/// Waits until `records` are durable, counted over all partitions of the topic.
fn await_records(world: &World, running: &mut [Tidegate], records: i64) {
    eventually("the checkpoints", || {
        for tidegate in running.iter_mut() {
            assert!(tidegate.is_running(), "it ended:\n{}", tidegate.log());
        }
        let sql = "SELECT coalesce(sum(next_offset), 0) FROM tidegate.checkpoints";
        match world.sql.query_one_i64(sql) {
            Ok(next) if next == records => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// A record whose time is so many days from now.
fn record(world: &World, id: i64, days: i64) -> Message {
    let sql = format!(
        "SELECT to_char((now() + interval '{days} days') AT TIME ZONE 'UTC', \
         'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
    );
    let at = world.rows(&sql).remove(0).remove(0);
    Message::json(&format!(r#"{{"id":{id},"at":"{at}"}}"#))
}

/// Runs until all `messages` are durable.
fn write_all(world: &World, more: &str, messages: &[Message]) -> String {
    produce(world, messages);
    let mut running = [world.run(&config(world, more), &[ALL_LETTERS])];
    await_records(world, &mut running, messages.len() as i64);
    let [mut tidegate] = running;
    tidegate.assert_conservation();
    tidegate.stop().log
}

fn partitions(world: &World) -> i64 {
    world.number("SELECT count(*) FROM pg_inherits WHERE inhparent = 't'::regclass")
}

fn letters(world: &World) -> Vec<Vec<String>> {
    world.rows(
        "SELECT \"offset\", reason, column_name, message FROM tidegate.dead_letters ORDER BY 1",
    )
}

#[test]
fn partitions_are_made_for_the_rows_that_come_and_ahead_of_time_and_no_others() {
    let world = World::bare("partition-rows", 1);
    world.sql.execute(TABLE).unwrap();
    let mut messages: Vec<Message> =
        [0, 0, -1, -6, 2].iter().zip(0..).map(|(days, id)| record(&world, id, *days)).collect();
    // Too late, too early, and a flood of times to come.
    messages.extend([record(&world, 5, -9), record(&world, 6, 4)]);
    messages.extend((0..300).map(|n| record(&world, 10 + n, 1_000 + n)));
    write_all(&world, "partitions = { by = \"day\", ahead = 3, behind = \"7d\" }", &messages);
    // Today and three ahead, one of which is asked for, yesterday, and six days ago.
    assert_eq!(partitions(&world), 6);
    assert_eq!(
        world.rows("SELECT id FROM t ORDER BY id"),
        grid(&[["0"], ["1"], ["2"], ["3"], ["4"]])
    );
    let found = letters(&world);
    assert_eq!(found.len(), 302);
    assert_eq!(found[0][1..3], ["no_partition".to_owned(), "at".to_owned()]);
    assert!(found[0][3].contains("older") && found[0][3].contains("no default"), "{:?}", found[0]);
    assert!(found[1][3].contains("later") && found[1][3].starts_with("`20"), "{:?}", found[1]);
    // Each has the index of the table, and one of the present is named after its day.
    let indexes = "SELECT count(*) FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indrelid \
                   WHERE h.inhparent = 't'::regclass AND i.indisprimary";
    assert_eq!(world.number(indexes), 6);
    let named = "SELECT count(*) FROM pg_class \
                 WHERE relname = 't_p' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')";
    assert_eq!(world.number(named), 1);
}

#[test]
fn late_and_early_rows_go_to_the_default_partition_if_there_is_one() {
    let world = World::bare("partition-default", 1);
    world.sql.execute(TABLE).unwrap();
    world
        .sql
        .execute(
            "CREATE TABLE rest PARTITION OF t DEFAULT; \
             INSERT INTO t VALUES (100, now() - interval '2 days')",
        )
        .unwrap();
    let messages: Vec<Message> =
        [0, -400, 400, -2].iter().zip(0..).map(|(days, id)| record(&world, id, *days)).collect();
    let more = "partitions = { by = \"day\", ahead = 1, behind = \"7d\" }";
    let log = write_all(&world, more, &messages);
    // Rows of the day before yesterday are in the default partition already: no other can take them.
    assert!(log.contains("would be violated by some row"), "{log}");
    let ids = world.rows("SELECT id FROM rest ORDER BY id");
    assert_eq!(ids, grid(&[["1"], ["2"], ["3"], ["100"]]));
    assert_eq!(world.number("SELECT count(*) FROM t"), 5);
    assert_eq!(partitions(&world), 3);
    assert_eq!(letters(&world), grid::<4>(&[]));
}

#[test]
fn a_missing_table_is_made_with_its_partitions() {
    let world = World::bare("partition-create", 1);
    let more = "on_missing_table = \"create\"\n\
                partitions = { by = \"month\", column = \"at\", ahead = 1 }";
    write_all(&world, more, &[record(&world, 1, 0), record(&world, 2, 0)]);
    assert_eq!(world.number("SELECT count(*) FROM t"), 2);
    assert_eq!(partitions(&world), 2);
}

#[test]
fn instances_that_need_the_same_partitions_at_once_write_every_record_once() {
    let world = World::bare("partition-instances", 4);
    world.sql.execute(TABLE).unwrap();
    let text = config(&world, "partitions = { by = \"day\", ahead = 2, behind = \"20d\" }");
    let mut running = [world.run(&text, &[]), world.run(&text, &[])];
    running.iter_mut().for_each(|tidegate| tidegate.await_partitions(2));
    let days: Vec<Message> = (0..20).map(|day| record(&world, 0, -day)).collect();
    let message = |id: i64| {
        let text = String::from_utf8(days[(id / 100) as usize].value.clone().unwrap()).unwrap();
        let text = text.replace("\"id\":0", &format!("\"id\":{id}"));
        Message { partition: (id % 4) as i32, ..Message::json(&text) }
    };
    produce(&world, &(0..2_000).map(message).collect::<Vec<_>>());
    await_records(&world, &mut running, 2_000);
    for mut tidegate in running {
        tidegate.assert_conservation();
        tidegate.stop();
    }
    assert_eq!(world.rows("SELECT count(*), count(DISTINCT id) FROM t"), grid(&[["2000", "2000"]]));
    assert_eq!(partitions(&world), 22);
    assert_eq!(letters(&world), grid::<4>(&[]));
}

#[test]
fn a_partition_that_somebody_detaches_under_a_run_is_made_again() {
    let world = World::bare("partition-detached", 1);
    world.sql.execute(TABLE).unwrap();
    produce(&world, &[record(&world, 1, -1)]);
    let more = "partitions = { by = \"day\", ahead = 1, behind = \"7d\" }";
    let mut running = [world.run(&config(&world, more), &[])];
    await_records(&world, &mut running, 1);
    world
        .sql
        .execute(
            "DO $$ DECLARE name text = 't_p' || to_char(now() AT TIME ZONE 'UTC' - interval '1 day', \
             'YYYYMMDD'); BEGIN EXECUTE format('ALTER TABLE t DETACH PARTITION %I', name); \
             EXECUTE format('ALTER TABLE %I RENAME TO kept', name); END $$",
        )
        .unwrap();
    produce(&world, &[record(&world, 2, -1), record(&world, 3, 0)]);
    await_records(&world, &mut running, 3);
    let [tidegate] = running;
    tidegate.stop();
    assert_eq!(world.rows("SELECT id FROM t ORDER BY id"), grid(&[["2"], ["3"]]));
    assert_eq!(world.rows("SELECT id FROM kept"), grid(&[["1"]]));
    assert_eq!(letters(&world), grid::<4>(&[]));
}

#[test]
fn what_has_expired_is_detached_also_where_that_was_interrupted_and_dropped_if_asked_for() {
    let world = World::bare("partition-expired", 1);
    let old = |table: &str, days: i64| {
        format!(
            "DO $$ BEGIN EXECUTE format('CREATE TABLE {table} PARTITION OF t FOR VALUES FROM (%L) TO (%L)', \
             date_trunc('day', now(), 'UTC') - interval '{days} days', \
             date_trunc('day', now(), 'UTC') - interval '{} days'); END $$",
            days - 1
        )
    };
    world.sql.execute(TABLE).unwrap();
    for (table, days) in [("ancient", 40), ("older", 20), ("fresh", 2)] {
        world.sql.execute(&old(table, days)).unwrap();
    }
    // A reader holds the first DETACH up, which is then given up half-way.
    let reader = stack::Client::connect(&world.url).unwrap();
    reader.execute("BEGIN; SELECT count(*) FROM t").unwrap();
    let detacher = stack::Client::connect(&world.url).unwrap();
    detacher.execute("SET statement_timeout = '300ms'").unwrap();
    let interrupted = detacher.execute("ALTER TABLE t DETACH PARTITION ancient CONCURRENTLY");
    assert!(interrupted.is_err());
    reader.execute("COMMIT").unwrap();
    let is_detaching = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";
    assert_eq!(world.number(is_detaching), 1);

    let attached = "SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY inhrelid::regclass::text) FROM pg_inherits \
                    WHERE inhparent = 't'::regclass AND inhrelid::regclass::text NOT LIKE 't_p%'";
    let expect = |expected: &str| {
        eventually("the expired partitions", || match world.rows(attached).remove(0).remove(0) {
            found if found == expected => Ok(()),
            found => Err(found),
        });
    };
    let keep = "partitions = { by = \"day\", ahead = 1, retention = \"30d\" }";
    let tidegate = world.run(&config(&world, keep), &[]);
    expect("fresh older");
    tidegate.stop();
    assert_eq!(world.number("SELECT count(*) FROM ancient"), 0, "it stays as a table");
    // Beside a default partition there is no CONCURRENTLY.
    world.sql.execute("CREATE TABLE rest PARTITION OF t DEFAULT").unwrap();
    let drop = "partitions = { by = \"day\", ahead = 1, retention = \"10d\", expired = \"drop\" }";
    let tidegate = world.run(&config(&world, drop), &[]);
    expect("fresh rest");
    eventually("the end of the table", || {
        match world.number("SELECT count(*) FROM pg_class WHERE relname = 'older'") {
            0 => Ok(()),
            _ => Err("it is there".to_owned()),
        }
    });
    tidegate.stop();
    assert_eq!(world.number("SELECT count(*) FROM pg_class WHERE relname = 'ancient'"), 1);
}

#[test]
fn a_table_that_is_not_partitioned_by_time_is_refused() {
    let world = World::bare("partition-wrong", 1);
    let refused = |table: &str, words: &str| {
        world
            .sql
            .execute(&format!("DROP TABLE IF EXISTS public.t; CREATE TABLE public.t {table}"))
            .unwrap();
        let more = "partitions = { by = \"day\", column = \"at\" }";
        let exit = world.run(&config(&world, more), &[]).wait();
        assert_eq!(exit.code, Some(78), "{}", exit.log);
        assert!(exit.log.contains(words), "'{words}' is not in {}", exit.log);
    };
    refused("(at timestamptz)", "is not partitioned by range of one column");
    refused("(at timestamptz) PARTITION BY LIST (at)", "is not partitioned by range");
    refused("(at timestamptz, b date) PARTITION BY RANGE (b)", "is partitioned by b, not by at");
    refused("(at bigint) PARTITION BY RANGE (at)", "no timestamptz, timestamp or date");
}
