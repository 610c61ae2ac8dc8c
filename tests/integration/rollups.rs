//! Summaries by time, on tables that are quiet between the steps: what a view shows before and behind
//! each of them. `rollup_models` does all of it at once.

mod order;
mod replaced;
mod retention;

use crate::support::{Exit, Message, Tidegate, World, eventually, grid, produce};

const TABLE: &str = "CREATE TABLE t (id bigint, at timestamptz, status text, amount numeric(12,2)); \
                     CREATE INDEX ON t (at)";

/// A rollup of `t` by day and status, without the removed; `more` stands in its table.
fn rollup(bucket: &str, zone: &str, more: &str) -> String {
    format!(
        "[[rollups]]\nname = \"daily\"\nsink = \"serving\"\ntable = \"t\"\ntime_column = \"at\"\n\
         bucket = \"{bucket}\"\ntime_zone = \"{zone}\"\ngroup_by = [\"status\"]\n\
         filter = \"status IS DISTINCT FROM 'removed' -- those that are left\"\n\
         aggregates = {{ orders = \"count(*)\", revenue = \"sum(amount)\", latest = \"max(id)\" }}\n\
         batch_table = \"t_summary\"\nview = \"t_by_status\"\n{more}\n"
    )
}

/// The topic into `t`, with a rollup.
fn config(world: &World, to: &str, rollup: &str) -> String {
    let to = format!("\"serving\"\ntable = \"t\"\n{to}\n");
    let (source, sink) = (world.source_config(""), world.sink_config("serving"));
    format!("{source}{sink}{}{rollup}", world.route_config(&to))
}

fn command(world: &World, arguments: &[&str]) -> Exit {
    let arguments: Vec<&str> = std::iter::once("rollup").chain(arguments.iter().copied()).collect();
    Tidegate::spawn(world.folder.path(), &arguments, std::process::Stdio::null()).wait()
}

fn must(world: &World, arguments: &[&str]) -> String {
    let exit = command(world, arguments);
    assert_eq!(exit.code, Some(0), "{arguments:?}: {}{}", exit.stdout, exit.log);
    exit.stdout
}

fn refused_command(world: &World, arguments: &[&str], words: &str) {
    let exit = command(world, arguments);
    assert_eq!(exit.code, Some(78), "{arguments:?}: {}{}", exit.stdout, exit.log);
    assert!(exit.log.contains(words), "'{words}' is not in {}", exit.log);
}

/// The view shows what the plain aggregate shows, in one snapshot.
fn assert_equal(world: &World, bucket: &str, zone: &str, when: &str) {
    let plain = format!(
        "SELECT date_trunc('{bucket}', at, '{zone}'), status, max(id), count(*), sum(amount) FROM t \
         WHERE isfinite(at) AND status IS DISTINCT FROM 'removed' GROUP BY 1, 2"
    );
    let differences = world.rows(&format!(
        "(TABLE t_by_status EXCEPT ALL {plain}) UNION ALL ({plain} EXCEPT ALL TABLE t_by_status)"
    ));
    assert!(differences.is_empty(), "{when}: {differences:?}");
}

fn touched(world: &World) -> i64 {
    world
        .number("SELECT count(DISTINCT bucket) FROM tidegate.rollup_touched WHERE rollup = 'daily'")
}

fn boundary(world: &World) -> String {
    world.rows("SELECT boundary AT TIME ZONE 'UTC' FROM tidegate.rollups").remove(0).remove(0)
}

#[test]
fn a_view_shows_what_the_plain_aggregate_shows_whoever_changes_finished_buckets() {
    let world = World::bare("rollup-changes", 1);
    world.sql.execute(TABLE).unwrap();
    let zone = "Europe/Berlin";
    let config = config(&world, "", &rollup("day", zone, ""));
    world.write_config(&config);
    let plan = must(&world, &["plan"]);
    assert!(plan.contains("CREATE VIEW \"t_by_status\""), "{plan}");
    assert!(must(&world, &["create"]).contains("daily: made"));
    assert!(must(&world, &["create", "daily"]).contains("there already"));
    world
        .sql
        .execute(
            "INSERT INTO t SELECT n, now() - n * interval '1 hour', \
             CASE n % 4 WHEN 0 THEN 'removed' WHEN 1 THEN NULL ELSE 's' || n % 4 END, n \
             FROM generate_series(1, 1000) n; \
             INSERT INTO t VALUES (-1, NULL, 'x', 1), (-2, 'infinity', 'x', 1), (-3, '-infinity', 'x', 1), \
             (-4, '4713-06-01 BC', 'old', 1), (-5, '294275-01-01', 'late', 1)",
        )
        .unwrap();
    assert_equal(&world, "day", zone, "before the first refresh");
    // One who still sees a table without finished buckets when he changes them.
    let old = stack::Client::connect(&world.url).unwrap();
    old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t").unwrap();
    let said = must(&world, &["run"]);
    assert!(said.contains("daily: finished up to "), "{said}");
    assert_equal(&world, "day", zone, "behind the first refresh");
    assert!(world.number("SELECT count(*) FROM t_summary") > 80);

    // Late rows, by tidegate: three finished buckets, and one that is not.
    let late = |id: i64, hours: i64| {
        let sql = format!("SELECT to_json(now() - interval '{hours} hours')");
        let at = world.rows(&sql).remove(0).remove(0);
        Message::json(&format!(r#"{{"id":{id},"at":{at},"status":"late","amount":1}}"#))
    };
    produce(&world, &[late(2001, 0), late(2002, 49), late(2003, 200), late(2004, 900)]);
    let mut tidegate = world.run(&config, &[]);
    eventually("the late rows", || match world.number("SELECT count(*) FROM t WHERE id > 2000") {
        4 => Ok(()),
        count => Err(format!("{count}")),
    });
    tidegate.assert_conservation();
    assert_eq!(touched(&world), 3);
    assert_equal(&world, "day", zone, "behind late rows");

    // Rows that others move, change and delete.
    world
        .sql
        .execute(
            "UPDATE t SET at = at - interval '10 days' WHERE id IN (130, 2002); \
             UPDATE t SET status = 'removed' WHERE id = 2003; DELETE FROM t WHERE id = 500",
        )
        .unwrap();
    old.execute("DELETE FROM t WHERE id IN (3, 600); COMMIT").unwrap();
    assert_equal(&world, "day", zone, "behind changes by others");
    assert!(touched(&world) >= 6, "{}", touched(&world));
    let refused = format!("{:?}", world.sql.execute("TRUNCATE t"));
    assert!(refused.contains("rollup daily"), "{refused}");

    must(&world, &["run", "daily"]);
    assert_equal(&world, "day", zone, "behind a second refresh");
    let left = "SELECT count(*) FROM tidegate.rollup_touched t JOIN tidegate.rollups r ON r.name = t.rollup \
                WHERE t.bucket < r.boundary";
    assert_eq!(world.number(left), 0);
    let status = must(&world, &["status"]);
    assert!(status.contains("daily") && status.contains("day Europe/Berlin"), "{status}");
    tidegate.stop();
}

#[test]
fn a_bucket_that_begins_later_than_its_first_rows_is_whole_wherever_the_boundary_is() {
    // Havana turns its clock back from 1:00 to 0:00: 2 November 2025 has its midnight twice, and begins
    // with the second. Lord Howe turns it by half an hour.
    for (bucket, zone, around) in [
        ("day", "America/Havana", "2025-11-02 04:30"),
        ("hour", "Australia/Lord_Howe", "2025-04-05 15:00"),
        ("week", "America/Havana", "2025-11-02 04:30"),
        ("month", "Asia/Beirut", "2021-10-30 21:00"),
    ] {
        let name = format!("rollup-{bucket}-{}", zone.rsplit('/').next().unwrap().to_lowercase());
        let world = World::bare(&name, 1);
        world.sql.execute(TABLE).unwrap();
        world.write_config(&config(&world, "", &rollup(bucket, zone, "watch_inserts = true")));
        must(&world, &["create"]);
        let insert = |first: i64| {
            let sql = format!(
                "INSERT INTO t SELECT {first} + n, '{around}+00'::timestamptz + n * interval '10 min', \
                 's' || n % 2, n FROM generate_series(-300, 300) n"
            );
            world.sql.execute(&sql).unwrap();
        };
        insert(0);
        for hours in [-24, -2, -1, 0, 1, 2, 3, 30] {
            let to = format!("SELECT '{around}+00'::timestamptz + interval '{hours} hours'");
            let to = world.rows(&to).remove(0).remove(0);
            must(&world, &["run", "--to", &to]);
            assert_equal(&world, bucket, zone, &format!("{name} up to {to}"));
            insert(1000 * (hours + 100));
            assert_equal(&world, bucket, zone, &format!("{name}, late rows behind {to}"));
        }
        must(&world, &["run"]);
        assert_equal(&world, bucket, zone, &name);
    }
}

#[test]
fn a_refresh_passes_over_years_without_rows_in_few_steps() {
    let world = World::bare("rollup-sparse", 1);
    world.sql.execute(TABLE).unwrap();
    let text = rollup("minute", "UTC", "");
    world.write_config(&config(&world, "", &text));
    must(&world, &["create"]);
    world
        .sql
        .execute(
            "INSERT INTO t SELECT y, make_timestamptz(y, 2, 3, 4, 5, 6, 'UTC'), 's', y \
             FROM generate_series(1000, 2020, 20) y",
        )
        .unwrap();
    let said = must(&world, &["run"]);
    assert_equal(&world, "minute", "UTC", &said);
    assert_eq!(world.number("SELECT count(*) FROM t_summary"), 52);
}

#[test]
fn a_running_tidegate_refreshes_what_has_a_schedule_one_instance_at_a_time() {
    let world = World::bare("rollup-schedule", 2);
    world.sql.execute(TABLE).unwrap();
    let text = rollup("minute", "UTC", "delay = \"0s\"\nevery = \"1s\"");
    let config = config(&world, "", &text);
    let mut running = [world.run(&config, &[]), world.run(&config, &[])];
    running[0].await_log("there is no rollup daily yet");
    must(&world, &["create"]);
    let insert = "INSERT INTO t SELECT n, now() - n * interval '1 minute', 's', n \
                  FROM generate_series(1, 100) n";
    world.sql.execute(insert).unwrap();
    let at = |sql: &str| world.rows(sql).remove(0).remove(0);
    eventually("a boundary at this minute", || {
        match (boundary(&world), at("SELECT date_trunc('minute', now()) AT TIME ZONE 'UTC'")) {
            (found, now) if found == now => Ok(()),
            (found, _) => Err(found),
        }
    });
    assert_equal(&world, "minute", "UTC", "under a schedule");
    world.sql.execute("DELETE FROM t WHERE id = 50").unwrap();
    assert_equal(&world, "minute", "UTC", "behind a delete");
    eventually("nothing touched", || match touched(&world) {
        0 => Ok(()),
        count => Err(format!("{count}")),
    });
    assert_equal(&world, "minute", "UTC", "behind its refresh");
    running.into_iter().for_each(|tidegate| drop(tidegate.stop()));
}

#[test]
fn a_rollup_is_refused_that_could_not_be_right() {
    let world = World::bare("rollup-refused", 1);
    let try_on = |columns: &str, words: &str| {
        let table =
            format!("DROP TABLE IF EXISTS public.t; CREATE TABLE public.t (id bigint, {columns})");
        world.sql.execute(&table).unwrap();
        refused_command(&world, &["create"], words);
    };
    world.write_config(&config(&world, "", &rollup("day", "UTC", "")));
    refused_command(&world, &["create"], "there is no table \"t\"");
    refused_command(&world, &["run"], "there is no rollup daily yet");
    try_on("at timestamp, status text, amount int", "must be a timestamptz");
    try_on("status text, amount int", "has no column `at`; it has id, status, amount");
    let with_default = "at timestamptz DEFAULT now(), status text, amount int";
    try_on(with_default, "watch_inserts = true, or drop the default");
    try_on("at timestamptz, status text", "column \"amount\" does not exist");
    world
        .sql
        .execute(
            "DROP TABLE t; CREATE TABLE public.t (id bigint, at timestamptz, status text, amount int); \
             CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
             CREATE TRIGGER later BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION later()",
        )
        .unwrap();
    refused_command(&world, &["create"], "a BEFORE INSERT trigger");
    assert_eq!(world.number("SELECT count(*) FROM tidegate.rollups"), 0);
    world.write_config(&config(&world, "", &rollup("day", "UTC", "watch_inserts = true")));
    must(&world, &["create"]);
    // Another definition is another rollup.
    world.write_config(&config(&world, "", &rollup("week", "UTC", "watch_inserts = true")));
    refused_command(&world, &["run"], "another definition");
    refused_command(&world, &["create"], "another definition");
    must(&world, &["drop", "--force", "daily"]);
    must(&world, &["create"]);
    must(&world, &["drop", "daily"]);
    let left = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'tidegate%'";
    assert_eq!(world.number(left), 0);
    assert_eq!(
        world.rows("SELECT to_regclass('t_summary'), to_regclass('t_by_status')"),
        grid(&[["~", "~"]])
    );
}

#[test]
fn rows_whose_time_only_postgres_knows_end_the_run_unless_inserts_are_watched() {
    let world = World::bare("rollup-default", 1);
    world.sql.execute(TABLE).unwrap();
    world.write_config(&config(&world, "", &rollup("day", "UTC", "")));
    must(&world, &["create"]);
    must(&world, &["run"]);
    world.sql.execute("ALTER TABLE t ALTER at SET DEFAULT now() - interval '9 days'").unwrap();
    produce(&world, &[Message::json(r#"{"id":1,"status":"s","amount":1}"#)]);
    let exit = world.run(&config(&world, "", &rollup("day", "UTC", "")), &[]).wait();
    assert_eq!(exit.code, Some(78), "{}", exit.log);
    assert!(exit.log.contains("watch_inserts = true"), "{}", exit.log);
    assert_eq!(world.number("SELECT count(*) FROM t"), 0);
    must(&world, &["drop", "daily"]);
    let watched = config(&world, "", &rollup("day", "UTC", "watch_inserts = true"));
    world.write_config(&watched);
    must(&world, &["create"]);
    must(&world, &["run"]);
    let tidegate = world.run(&watched, &[]);
    eventually("the row", || match world.number("SELECT count(*) FROM t") {
        1 => Ok(()),
        count => Err(format!("{count}")),
    });
    tidegate.stop();
    assert_eq!(touched(&world), 1);
    assert_equal(&world, "day", "UTC", "a row with a default");
}

#[test]
fn buckets_are_made_anew_on_demand_and_another_engine_may_fill_the_batch_table() {
    let world = World::bare("rollup-by-hand", 1);
    world.sql.execute(TABLE).unwrap();
    world.write_config(&config(&world, "", &rollup("day", "UTC", "")));
    must(&world, &["create"]);
    world
        .sql
        .execute(
            "INSERT INTO t SELECT n, '2026-01-01 00:00+00'::timestamptz + n * interval '1 hour', 's', n \
             FROM generate_series(0, 239) n",
        )
        .unwrap();
    must(&world, &["run", "--to", "2026-01-04"]);
    // An insert that nobody watches, and its remedy.
    world.sql.execute("INSERT INTO t VALUES (1000, '2026-01-02 12:00+00', 's', 1)").unwrap();
    let said = must(&world, &["recompute", "daily", "--from", "2026-01-02", "--to", "2026-01-03"]);
    assert!(said.contains("1 finished buckets"), "{said}");
    assert_equal(&world, "day", "UTC", "before a bucket is made anew");
    must(&world, &["run", "--to", "2026-01-04"]);
    assert_eq!(touched(&world), 0);
    assert_equal(&world, "day", "UTC", "behind it");

    refused_command(&world, &["advance", "daily", "--to", "2026-01-08"], "rollup close daily");
    must(&world, &["close", "daily", "--to", "2026-01-08"]);
    world
        .sql
        .execute(
            "INSERT INTO t_summary (bucket, status, latest, orders, revenue) \
             SELECT date_trunc('day', at, 'UTC'), status, max(id), count(*), sum(amount) FROM t \
             WHERE at >= '2026-01-04 00:00+00' AND at < '2026-01-08 00:00+00' GROUP BY 1, 2; \
             DELETE FROM t WHERE id = 100",
        )
        .unwrap();
    must(&world, &["advance", "daily", "--to", "2026-01-08"]);
    assert_equal(&world, "day", "UTC", "behind the other engine");
    assert_eq!(boundary(&world), "2026-01-08 00:00:00");
    must(&world, &["run"]);
    assert_equal(&world, "day", "UTC", "in the end");
}
