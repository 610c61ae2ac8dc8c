//! Columns of types without an encoder: their rows go by a temporary table, and Postgres reads them.

use std::process::Stdio;

use crate::{
    support::{Message, Tidegate, World, grid, produce},
    tables::{assert_refused, config, write_all},
};

/// What has no encoder is read by Postgres, and what Postgres cannot read holds up no other row.
#[test]
fn types_without_an_encoder_are_staged_as_texts() {
    let world = World::bare("table-staged", 1);
    world
        .sql
        .execute(
            "CREATE TABLE t (n int PRIMARY KEY, area circle DEFAULT '<(0,0),1>', words tsvector, \
             amount numeric(9,2))",
        )
        .unwrap();
    let messages = [
        r#"{"n":1,"area":"<(1,2),3>","words":"ebb flood","amount":1.005}"#,
        r#"{"n":2,"words":null}"#,
        r#"{"n":3,"area":"round","words":"slack"}"#,
        r#"{"n":4,"area":null,"words":42}"#,
        r#"{"n":1,"area":"<(0,0),9>"}"#,
    ]
    .map(Message::json);
    produce(&world, &messages);
    let path = world.folder.path();
    world.write_config(&config(&world, ""));
    let exit = Tidegate::spawn(path, &["check"], Stdio::null()).wait();
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.log);
    let named = "staged as text, as they have no encoder: area (circle), words (tsvector)";
    assert!(exit.stdout.contains(named), "{}", exit.stdout);
    write_all(&world, "", 5);
    let rows = world.rows("SELECT n, area, words, amount FROM t ORDER BY n");
    let expected = [
        ["1", "<(1,2),3>", "'ebb' 'flood'", "1.01"],
        ["2", "<(0,0),1>", "~", "~"],
        ["4", "~", "'42'", "~"],
    ];
    assert_eq!(rows, grid(&expected));
    let letters = world
        .rows("SELECT \"offset\", reason, sqlstate FROM tidegate.dead_letters ORDER BY \"offset\"");
    assert_eq!(letters, grid(&[["2", "refused", "22P02"], ["4", "refused", "23505"]]));
}

/// As an update of a row, and from the row that is there where a delete only marks it.
#[test]
fn types_without_an_encoder_are_merged_too() {
    let world = World::bare("table-staged-merge", 1);
    world
        .sql
        .execute(
            "CREATE TABLE t (n int PRIMARY KEY, area circle, gone boolean NOT NULL DEFAULT false)",
        )
        .unwrap();
    let put = [r#"{"n":1,"area":"<(1,2),3>"}"#, r#"{"n":2,"area":"<(0,0),1>"}"#].map(Message::json);
    produce(&world, &put);
    write_all(&world, "write = \"mirror\"\nsoft_delete = \"gone\"", 2);
    produce(&world, &[Message::json(r#"{"n":1,"area":"<(5,5),5>"}"#)]);
    produce(&world, &[Message { key: Some(b"2".to_vec()), ..Message::default() }]);
    write_all(&world, "write = \"mirror\"\nsoft_delete = \"gone\"", 4);
    let rows = world.rows("SELECT n, area, gone FROM t ORDER BY n");
    assert_eq!(rows, grid(&[["1", "<(5,5),5>", "f"], ["2", "<(0,0),1>", "t"]]));
    world.sql.execute("CREATE TABLE public.t2 (area tsvector PRIMARY KEY)").unwrap();
    let to = config(&world, "write = \"upsert\"").replace("table = \"t\"", "table = \"t2\"");
    assert_refused(&world, &to, 78, &["column `area`", "neither key nor version"]);
}
