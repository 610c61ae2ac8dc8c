//! Tables that change while they are written: new fields, wider types, and other people's ALTERs.

use std::process::Stdio;

use crate::support::{Message, Tidegate, World, eventually, grid, postgres, produce};

/// A route of the topic into table `t`; `more` stands behind it.
fn config(world: &World, more: &str) -> String {
    let to = format!("\"serving\"\ntable = \"t\"\n{more}");
    format!(
        "{}{}{}",
        world.source_config(""),
        world.sink_config("serving"),
        world.route_config(&to)
    )
}

const ADD_COLUMN: &str = "on_unknown_field = \"add_column\"\n";
const WIDEN: &str = "on_out_of_range = \"widen\"\n";
const ALL_LETTERS: &str = "routes[0].max_dead_letter_percent=100";

/// Waits until `records` are durable, counted over all partitions.
fn await_records(world: &World, running: &mut [&mut Tidegate], records: i64) {
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

/// Runs until all `messages` of partition 0 are durable.
fn write_all(world: &World, more: &str, messages: &[&str]) {
    produce(world, &messages.iter().map(|text| Message::json(text)).collect::<Vec<_>>());
    let mut tidegate = world.run(&config(world, more), &[ALL_LETTERS]);
    await_records(world, &mut [&mut tidegate], messages.len() as i64);
    tidegate.assert_conservation();
    tidegate.stop();
}

/// The columns of `t` with their types, in order.
fn columns(world: &World) -> Vec<Vec<String>> {
    world.rows(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
         WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
    )
}

fn letters(world: &World) -> Vec<Vec<String>> {
    world.rows("SELECT \"offset\", reason, message FROM tidegate.dead_letters ORDER BY 1")
}

#[test]
fn an_unknown_field_becomes_a_column_of_the_type_that_its_value_shows() {
    let world = World::bare("growth-columns", 1);
    world.sql.execute("CREATE TABLE t (id bigint)").unwrap();
    let messages = [
        r#"{"id":1}"#,
        r#"{"id":2,"n":5,"later":null}"#,
        r#"{"id":3,"at":"2026-01-02T03:04:05Z","o":{"a":[1]},"n":6,"ok":true}"#,
        r#"{"id":4,"later":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","day":"2026-01-02"}"#,
        r#"{"id":5,"quote\"d col":1.50}"#,
    ];
    write_all(&world, ADD_COLUMN, &messages);
    let mut found = columns(&world);
    found.sort();
    let expected = [
        ["at", "timestamp with time zone"],
        ["day", "date"],
        ["id", "bigint"],
        ["later", "uuid"],
        ["n", "bigint"],
        ["o", "jsonb"],
        ["ok", "boolean"],
        ["quote\"d col", "numeric"],
    ];
    assert_eq!(found, grid(&expected));
    let rows =
        world.rows("SELECT id, n, o->'a', later IS NULL, \"quote\"\"d col\" FROM t ORDER BY id");
    let expected = [
        ["1", "~", "~", "t", "~"],
        ["2", "5", "~", "t", "~"],
        ["3", "6", "[1]", "t", "~"],
        ["4", "~", "~", "f", "~"],
        ["5", "~", "~", "t", "1.50"],
    ];
    assert_eq!(rows, grid(&expected));
    assert_eq!(letters(&world), grid::<3>(&[]));
}

#[test]
fn a_plan_shows_how_the_table_would_grow_and_does_not_touch_it() {
    let world = World::bare("growth-plan", 1);
    world.sql.execute("CREATE TABLE t (id smallint PRIMARY KEY DEFAULT 7, v varchar(2))").unwrap();
    let messages = [
        r#"{"id":1,"v":"a"}"#,
        r#"{"id":2,"n":5}"#,
        r#"{"id":70000,"n":6.5,"at":"2026-01-02T03:04:05Z","v":"abc"}"#,
        r#"{"id":4,"more":1}"#,
    ];
    produce(&world, &messages.map(Message::json));
    let keys = "write = \"upsert\"\nmax_added_columns = 2\n";
    let config = config(&world, &format!("{ADD_COLUMN}{WIDEN}{keys}"));
    world.write_config(&config);
    let exit = Tidegate::spawn(world.folder.path(), &["plan"], Stdio::null()).wait();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    let table = r#"ALTER TABLE "public"."t""#;
    for part in [
        format!(
            "  {table} ADD COLUMN IF NOT EXISTS \"n\" bigint;  -- growth-plan[0]@1\n  {table} ADD COLUMN IF \
             NOT EXISTS \"at\" timestamptz;  -- growth-plan[0]@2\n  {table} ALTER COLUMN \"id\" TYPE \
             integer;  -- growth-plan[0]@2\n"
        ),
        format!("  {table} ALTER COLUMN \"v\" TYPE character varying(4);  -- growth-plan[0]@2\n"),
        format!("  {table} ALTER COLUMN \"n\" TYPE numeric;  -- growth-plan[0]@2\n"),
        "  n   numeric                   field n\n".to_owned(),
        "growth-plan[0]@2\n    id  70000\n    v   abc\n    n   6.5\n    at  2026-01-02 03:04:05+00\n".to_owned(),
        "growth-plan[0]@3 becomes a dead letter (unknown_field): public.t has no column for `more`; ".to_owned(),
    ] {
        assert!(exit.stdout.contains(&part), "{part}\n--- in ---\n{}", exit.stdout);
    }
    assert!(exit.stdout.contains("max_added_columns is 2"), "{}", exit.stdout);
    assert_eq!(columns(&world), grid(&[["id", "smallint"], ["v", "character varying(2)"]]));
    // What it has shown is what happens.
    let mut tidegate = world.run(&config, &[ALL_LETTERS]);
    await_records(&world, &mut [&mut tidegate], messages.len() as i64);
    tidegate.stop();
    let expected = [
        ["id", "integer"],
        ["v", "character varying(4)"],
        ["n", "numeric"],
        ["at", "timestamp with time zone"],
    ];
    assert_eq!(columns(&world), grid(&expected));
    assert_eq!(letters(&world)[0][..2], ["3".to_owned(), "unknown_field".to_owned()]);
}

#[test]
fn instances_that_want_the_same_columns_at_once_write_every_record_once() {
    const RECORDS: i64 = 3_000;
    let world = World::bare("growth-instances", 4);
    world.sql.execute("CREATE TABLE t (id bigint, small smallint)").unwrap();
    let text = config(&world, &format!("{ADD_COLUMN}{WIDEN}"));
    let mut running = [world.run(&text, &[]), world.run(&text, &[])];
    running.iter_mut().for_each(|tidegate| tidegate.await_partitions(2));
    // Each of ten fields appears in all partitions at once, and `small` outgrows two types.
    let message = |id: i64| Message {
        partition: (id % 4) as i32,
        ..Message::json(&format!(
            r#"{{"id":{id},"f{}":{id},"small":{}}}"#,
            id * 10 / RECORDS,
            id * if id > RECORDS / 2 { 1_000_000 } else { 1 } * if id > 2_500 { 100 } else { 1 }
        ))
    };
    produce(&world, &(0..RECORDS).map(message).collect::<Vec<_>>());
    let [first, second] = &mut running;
    await_records(&world, &mut [first, second], RECORDS);
    for mut tidegate in running {
        tidegate.assert_conservation();
        tidegate.stop();
    }
    let sum = "SELECT count(*), count(DISTINCT id), sum(small), \
               sum(coalesce(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9)) FROM t";
    let small: i64 = (0..RECORDS)
        .map(|id| {
            id * if id > RECORDS / 2 { 1_000_000 } else { 1 } * if id > 2_500 { 100 } else { 1 }
        })
        .sum();
    let ids = RECORDS * (RECORDS - 1) / 2;
    let expected = [RECORDS, RECORDS, small, ids].map(|number| number.to_string());
    assert_eq!(world.rows(sum), [expected.to_vec()]);
    assert_eq!(letters(&world), grid::<3>(&[]));
    let found = columns(&world);
    assert_eq!(found.len(), 12, "{found:?}");
    assert_eq!(found[1], ["small", "bigint"]);
}

#[test]
fn a_column_becomes_wider_only_as_far_as_its_values_need() {
    let world = World::bare("growth-wider", 1);
    world
        .sql
        .execute("CREATE TABLE t (n smallint, b bigint, r real, v varchar(4), c numeric(4,2))")
        .unwrap();
    let messages = [
        r#"{"n":1,"b":1,"r":1,"v":"abcd","c":1}"#,
        r#"{"n":70000,"v":"abcdefghi","r":1e200}"#,
        r#"{"n":3000000000,"b":18446744073709551615,"v":"x"}"#,
        r#"{"n":2.5}"#,
        r#"{"c":100}"#,
    ];
    write_all(&world, WIDEN, &messages);
    let expected = [
        ["n", "numeric"],
        ["b", "numeric"],
        ["r", "double precision"],
        ["v", "character varying(16)"],
        ["c", "numeric(4,2)"],
    ];
    assert_eq!(columns(&world), grid(&expected));
    let rows = world.rows("SELECT n, b, r, v FROM t ORDER BY n");
    let expected = [
        ["1", "1", "1", "abcd"],
        ["2.5", "~", "~", "~"],
        ["70000", "~", "1e+200", "abcdefghi"],
        ["3000000000", "18446744073709551615", "~", "x"],
    ];
    assert_eq!(rows, grid(&expected));
    assert_eq!(letters(&world)[0][..2], ["4".to_owned(), "out_of_range".to_owned()]);
}

#[test]
fn a_column_that_cannot_become_wider_keeps_its_type_and_the_record_is_kept() {
    let world = World::bare("growth-held", 1);
    world.sql.execute("CREATE TABLE t (n int, m int); CREATE VIEW v AS SELECT n FROM t").unwrap();
    let messages = [r#"{"n":3000000000}"#, r#"{"n":1}"#, r#"{"n":3000000001,"m":3000000001}"#];
    write_all(&world, WIDEN, &messages);
    assert_eq!(columns(&world), grid(&[["n", "integer"], ["m", "integer"]]));
    let found = letters(&world);
    assert_eq!(found.len(), 2, "{found:?}");
    for letter in found {
        assert_eq!(letter[1], "out_of_range");
        assert!(letter[2].contains("cannot alter type of a column used by a view"), "{letter:?}");
    }
    assert_eq!(world.rows("SELECT n FROM t"), grid(&[["1"]]));
}

#[test]
fn fields_that_can_have_no_column_make_dead_letters_which_name_them() {
    let world = World::bare("growth-names", 1);
    world.sql.execute("CREATE TABLE t (id bigint, total int, src text)").unwrap();
    let long = "n".repeat(64);
    let messages = [
        r#"{"id":1,"Total":1}"#.to_owned(),
        format!("{{\"id\":2,\"{long}\":1}}"),
        r#"{"id":3,"ctid":1}"#.to_owned(),
        r#"{"id":4,"":1}"#.to_owned(),
        r#"{"id":5,"a":1}"#.to_owned(),
        r#"{"id":6,"b":1}"#.to_owned(),
        r#"{"id":7,"c":1}"#.to_owned(),
        r#"{"id":8,"a":2,"src":"x"}"#.to_owned(),
    ];
    let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
    let more = "max_added_columns = 2\n[routes.to.columns]\nsrc = { metadata = \"topic\" }";
    write_all(&world, &format!("{ADD_COLUMN}{more}"), &messages);
    let expected = [
        ("0", "differs from the column total only by case"),
        ("1", "more than 63 bytes"),
        ("2", "system column"),
        ("3", "no column of such a name"),
        ("6", "max_added_columns is 2"),
        ("7", "src is fed from something else"),
    ];
    let found = letters(&world);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (letter, (offset, words)) in found.iter().zip(expected) {
        assert_eq!((letter[0].as_str(), letter[1].as_str()), (offset, "unknown_field"));
        assert!(letter[2].contains(words), "'{words}' is not in {letter:?}");
    }
    assert_eq!(
        world.rows("SELECT id, a, b FROM t ORDER BY id"),
        grid(&[["5", "1", "~"], ["6", "~", "1"]])
    );
}

#[test]
fn a_table_with_all_the_columns_that_postgres_has_takes_no_more() {
    let world = World::bare("growth-full", 1);
    let columns: Vec<String> = (0..1599).map(|n| format!("c{n} int")).collect();
    world.sql.execute(&format!("CREATE TABLE t ({})", columns.join(", "))).unwrap();
    let messages = [r#"{"c0":1,"a":1}"#, r#"{"c0":2,"b":1}"#, r#"{"c0":3,"d":1}"#, r#"{"c0":4}"#];
    write_all(&world, ADD_COLUMN, &messages);
    assert_eq!(world.rows("SELECT c0, a FROM t ORDER BY 1"), grid(&[["1", "1"], ["4", "~"]]));
    for letter in letters(&world) {
        assert!(letter[2].contains("1600 columns"), "{letter:?}");
    }
}

#[test]
fn unknown_fields_make_dead_letters_or_overflow_where_that_is_asked_for() {
    let world = World::bare("growth-unknown", 1);
    world.sql.execute("CREATE TABLE t (id bigint, skipped int, extra jsonb)").unwrap();
    let messages =
        [r#"{"id":1,"skipped":1}"#, r#"{"id":2,"x":null}"#, r#"{"id":3,"x":1,"y":{"z":"\u0041"}}"#];
    let skip = "[routes.to.columns]\nskipped = { skip = true }\n";
    let refuse = format!("on_unknown_field = \"dead_letter\"\n{skip}");
    write_all(&world, &refuse, &messages);
    let found = letters(&world);
    assert_eq!(found[0], ["1", "unknown_field", "public.t has no column for `x`"]);
    assert_eq!(found[1], ["2", "unknown_field", "public.t has no column for `x`, `y`"]);
    // What was refused finds its way in when the mapping has a place for it.
    let overflow = format!("on_unknown_field = \"overflow\"\noverflow = \"extra\"\n{skip}");
    world.write_config(&config(&world, &overflow));
    let exit = Tidegate::spawn(
        world.folder.path(),
        &["dlq", "replay", "--reason", "unknown_field"],
        Stdio::null(),
    )
    .wait();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    let expected = [["1", "~"], ["2", r#"{"x": null}"#], ["3", r#"{"x": 1, "y": {"z": "A"}}"#]];
    assert_eq!(world.rows("SELECT id, extra FROM t ORDER BY id"), grid(&expected));
}

#[test]
fn a_table_that_somebody_reads_for_long_is_waited_for_and_nothing_becomes_a_dead_letter() {
    let world = World::bare("growth-locked", 1);
    world.sql.execute("CREATE TABLE t (id bigint)").unwrap();
    let reader = stack::Client::connect(&world.url).unwrap();
    reader.execute("BEGIN; SELECT count(*) FROM t").unwrap();
    produce(&world, &[r#"{"id":1}"#, r#"{"id":2,"a":1}"#, r#"{"id":3,"b":1}"#].map(Message::json));
    let mut tidegate = world.run(&config(&world, ADD_COLUMN), &[]);
    tidegate.await_log("a table cannot change yet, will try again");
    // What came before the new field gets in between two attempts.
    eventually("the first record", || match world.number("SELECT count(*) FROM t") {
        1 => Ok(()),
        count => Err(count.to_string()),
    });
    reader.execute("COMMIT").unwrap();
    await_records(&world, &mut [&mut tidegate], 3);
    // An order to stop ends the wait as well.
    reader.execute("BEGIN; SELECT count(*) FROM t").unwrap();
    produce(&world, &[Message::json(r#"{"id":4,"c":1}"#)]);
    world.await_waiting("ALTER TABLE%");
    tidegate.stop();
    reader.execute("COMMIT").unwrap();
    let rows = world.rows("SELECT id, a, b FROM t ORDER BY id");
    assert_eq!(rows, grid(&[["1", "~", "~"], ["2", "1", "~"], ["3", "~", "1"]]));
    assert_eq!(world.number("SELECT next_offset FROM tidegate.checkpoints"), 3);
    assert_eq!(letters(&world), grid::<3>(&[]));
}

#[test]
fn a_file_whose_table_cannot_change_yet_ends_when_it_is_asked_to_and_skips_no_line() {
    let world = World::bare("growth-file", 1);
    world.sql.execute("CREATE TABLE t (id bigint)").unwrap();
    let path = world.folder.path().join("lines.ndjson");
    std::fs::write(&path, "{\"id\":1}\n{\"id\":2,\"a\":1}\n{\"id\":3}\n{\"id\":4}\n").unwrap();
    let config = format!(
        "[admin]\nlisten = \"127.0.0.1:0\"\n[sources.backlog]\nkind = \"ndjson\"\npath = \"{}\"\n{}\
         [[routes]]\nsource = \"backlog\"\n[[routes.to]]\nsink = \"serving\"\ntable = \"t\"\n{ADD_COLUMN}",
        path.display(),
        world.sink_config("serving")
    );
    let reader = stack::Client::connect(&world.url).unwrap();
    reader.execute("BEGIN; SELECT count(*) FROM t").unwrap();
    let mut tidegate = world.run(&config, &[]);
    tidegate.await_log("a table cannot change yet, will try again");
    // The lines behind it must not get in before it.
    tidegate.stop();
    assert_eq!(world.number("SELECT next_offset FROM tidegate.checkpoints"), 1);
    reader.execute("COMMIT").unwrap();
    let exit = world.run(&config, &[]).wait();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    let rows = world.rows("SELECT id, a FROM t ORDER BY id");
    assert_eq!(rows, grid(&[["1", "~"], ["2", "1"], ["3", "~"], ["4", "~"]]));
}

#[test]
fn a_role_that_does_not_own_the_table_is_refused_at_the_start() {
    let world = World::bare("growth-owner", 1);
    postgres().execute("CREATE ROLE tenant LOGIN PASSWORD 'tenant'").unwrap();
    world.sql.execute("CREATE TABLE t (n int); GRANT ALL ON t TO tenant").unwrap();
    world.sql.execute("GRANT ALL ON DATABASE \"growth-owner\" TO tenant").unwrap();
    let text = config(&world, ADD_COLUMN).replace("tidegate:tidegate@", "tenant:tenant@");
    let exit = world.run(&text, &[]).wait();
    assert_eq!(exit.code, Some(77), "{}", exit.log);
    let said = exit.log.contains("role tenant may not alter public.t, which belongs to tidegate");
    assert!(said, "{}", exit.log);
}
