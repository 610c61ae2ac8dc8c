//! Lines in, lines out: ndjson sources and sinks.

use std::{fs, io::Write as _, process::Stdio, time::Duration};

use nix::sys::signal::Signal;

use crate::support::{Chance, World, eventually};

const LINES: i64 = 60_000;

fn write_lines(world: &World) -> String {
    let path = world.folder.path().join("orders.ndjson");
    let mut text = String::new();
    for n in 0..LINES {
        text.push_str(&format!("{{\"order_id\":{n},\"amount\":{}.25}}\n", n % 100));
        if n % 1000 == 999 {
            text.push_str("not json\n\r\n");
        }
    }
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn config(world: &World, path: &str) -> String {
    format!(
        "[admin]\nlisten = \"127.0.0.1:0\"\n[batch]\nrows = 100\n[sources.backlog]\n\
         kind = \"ndjson\"\npath = \"{path}\"\n{}[[routes]]\nsource = \"backlog\"\n\
         [[routes.to]]\nsink = \"serving\"\ntable = \"orders\"\n[routes.to.columns]\n\
         kafka_partition = {{ metadata = \"partition\" }}\n\
         kafka_offset = {{ metadata = \"offset\" }}\n",
        world.sink_config("serving")
    )
}

fn assert_all_lines(world: &World) {
    let sql = "SELECT count(*), count(DISTINCT order_id), sum(amount) FROM orders";
    let sum: f64 = (0..LINES).map(|n| (n % 100) as f64 + 0.25).sum();
    let count = LINES.to_string();
    assert_eq!(world.rows(sql), [[count.clone(), count, format!("{sum:.2}")]]);
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), LINES / 1000);
}

#[test]
fn a_file_becomes_rows_exactly_once_through_kills_and_stops() {
    let mut chance = Chance::new();
    let world = World::new("files-kills", 1);
    let path = write_lines(&world);
    let config = config(&world, &path);
    for round in 0..4 {
        let before = world.count_orders();
        let mut tidegate = world.run(&config, &[]);
        // What the one before had on its way may arrive after its end.
        tidegate.address();
        world.await_more_orders_than(before);
        chance.pass_up_to(Duration::from_millis(30));
        if round == 3 { drop(tidegate.stop()) } else { drop(tidegate.kill()) }
    }
    assert!(world.count_orders() < LINES, "every kill came too late");
    for _ in 0..2 {
        // It ends by itself, and a second run of a file that is done has nothing to do.
        let exit = world.run(&config, &[]).wait();
        assert_eq!(exit.code, Some(0), "{}", exit.log);
        assert_all_lines(&world);
    }
}

#[test]
fn a_pipe_becomes_rows_as_its_lines_come_and_ends_with_its_input() {
    let world = World::new("files-stdin", 1);
    let mut tidegate = world.run_with(&config(&world, "-"), &[], Stdio::piped());
    let mut pipe = tidegate.stdin();
    pipe.write_all(b"{\"order_id\":1,\"amount\":1}\n{\"order_id\":2,").unwrap();
    world.await_more_orders_than(0);
    pipe.write_all(b"\"amount\":2}\nno\n{\"order_id\":3,\"amount\":3}").unwrap();
    drop(pipe);
    let exit = tidegate.wait();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    let rows = world.rows("SELECT order_id, amount, kafka_offset FROM orders ORDER BY 1");
    assert_eq!(rows, [["1", "1.00", "0"], ["2", "2.00", "1"], ["3", "3.00", "3"]]);
    assert_eq!(world.number("SELECT \"offset\" FROM tidegate.dead_letters"), 2);
}

const PASS_ON: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n[sources.in]\nkind = \"ndjson\"\n\
    path = \"-\"\n[sinks.out]\nkind = \"ndjson\"\npath = \"-\"\n[[routes]]\nsource = \"in\"\n\
    [[routes.to]]\nsink = \"out\"\n";

#[test]
fn standard_input_goes_to_standard_output_line_by_line() {
    let world = World::bare("files-stdout", 1);
    let mut tidegate = world.run_with(PASS_ON, &[], Stdio::piped());
    let mut pipe = tidegate.stdin();
    pipe.write_all(b"{\"a\": 1}\nnot json\n\n\"text\"\r\n{\"b\":[2]}\n").unwrap();
    drop(pipe);
    let exit = tidegate.wait();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert_eq!(exit.stdout, "{\"a\": 1}\n{\"b\":[2]}\n");
    let rejected: Vec<_> = exit.log.lines().filter(|line| line.contains("value_hex")).collect();
    assert_eq!(rejected.len(), 2, "{}", exit.log);
    assert!(rejected[0].contains("\"reason\":\"malformed\"") && rejected[0].contains("not json"));
}

#[test]
fn a_pipe_without_input_does_not_keep_the_process_from_ending() {
    let world = World::bare("files-silent", 1);
    let mut tidegate = world.run_with(PASS_ON, &[], Stdio::piped());
    let _pipe = tidegate.stdin();
    tidegate.await_ready();
    tidegate.signal(Signal::SIGINT);
    let exit = tidegate.wait();
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.took < Duration::from_secs(5), "{:?}", exit.took);
}

#[test]
fn a_line_that_a_crash_has_torn_does_not_spoil_the_next() {
    let world = World::bare("files-torn", 1);
    let out = world.folder.path().join("out.ndjson");
    fs::write(&out, "{\"a\":1}\n{\"a\":2,\"text\":\"brok").unwrap();
    let config = PASS_ON.replace(
        "kind = \"ndjson\"\npath = \"-\"\n[[routes]]",
        &format!("kind = \"ndjson\"\npath = \"{}\"\n[[routes]]", out.display()),
    );
    let mut tidegate = world.run_with(&config, &[], Stdio::piped());
    let mut pipe = tidegate.stdin();
    pipe.write_all(b"{\"a\":2,\"text\":\"whole\"}\n").unwrap();
    drop(pipe);
    assert_eq!(tidegate.wait().code, Some(0));
    let text = fs::read_to_string(&out).unwrap();
    assert_eq!(text, "{\"a\":1}\n{\"a\":2,\"text\":\"whole\"}\n");
}

#[test]
fn a_reader_that_leaves_ends_the_run() {
    let world = World::bare("files-closed", 1);
    world.write_config(PASS_ON);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("run")
        .current_dir(world.folder.path())
        .stdin(Stdio::piped())
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"{\"a\":1}\n").unwrap();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("the end", || match child.try_wait().unwrap() {
            Some(status) => Ok(status),
            None => Err("still running".to_owned()),
        })
    }));
    child.kill().ok();
    child.wait().unwrap();
    assert_eq!(ended.unwrap().code(), Some(69));
}
