use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use stack::{Client, Error, Postgres, PostgresOptions, State, StopMode};

#[test]
fn committed_rows_survive_kill_and_immediate_stop_and_a_frozen_server_answers_later() {
    let settings = vec![("shared_buffers".to_owned(), "16MB".to_owned())];
    let postgres = Postgres::start(PostgresOptions { settings, data_dir: None }).unwrap();
    let client = postgres.client().unwrap();
    let shown = client.query_text("SHOW shared_buffers").unwrap();
    assert_eq!(shown, [[Some("16MB".to_owned())]]);
    assert_eq!(client.query_text("SHOW fsync").unwrap(), [[Some("on".to_owned())]]);
    client.execute("CREATE TABLE t (n int)").unwrap();
    assert_eq!(client.execute("INSERT INTO t SELECT generate_series(1, 5)").unwrap(), 5);

    // An open transaction holds a backend; it has to go with the postmaster.
    client.execute("BEGIN; INSERT INTO t VALUES (6)").unwrap();
    postgres.kill().unwrap();
    assert_eq!(postgres.state(), State::Stopped);
    assert!(matches!(client.execute("COMMIT"), Err(Error::Postgres { .. })));
    postgres.start_again().unwrap();
    assert_eq!(postgres.query_one_i64("SELECT count(*) FROM t").unwrap(), 5);

    postgres.restart(StopMode::Immediate).unwrap();
    postgres.restart(StopMode::Fast).unwrap();
    assert_eq!(postgres.query_one_i64("SELECT count(*) FROM t").unwrap(), 5);

    let client = postgres.client().unwrap();
    postgres.suspend().unwrap();
    assert_eq!(postgres.state(), State::Suspended);
    let asked = std::thread::spawn(move || client.query_one_i64("SELECT 42"));
    assert!(matches!(postgres.client(), Err(Error::TimedOut { .. })));
    assert!(!asked.is_finished());
    postgres.resume().unwrap();
    assert_eq!(asked.join().unwrap().unwrap(), 42);

    // Also from the state that ignores every signal but two.
    postgres.suspend().unwrap();
    postgres.stop(StopMode::Fast).unwrap();
    assert!(matches!(postgres.suspend(), Err(Error::NotRunning { .. })));
}

#[test]
fn a_wrong_password_is_refused_and_databases_are_apart() {
    let postgres = Postgres::start(PostgresOptions::default()).unwrap();
    let wrong = postgres.url().replace(":tidegate@", ":wrong@");
    assert_ne!(wrong, postgres.url());
    let refused = Client::connect(&wrong).unwrap_err();
    assert!(matches!(refused, Error::Postgres { .. }), "{refused:?}");

    let url = postgres.create_database("other").unwrap();
    let other = Client::connect(&url).unwrap();
    other.execute("CREATE TABLE only_there (n int)").unwrap();
    postgres.execute("SELECT * FROM only_there").unwrap_err();
    let two_rows = other.query_one_i64("SELECT generate_series(1, 2)");
    assert!(matches!(two_rows, Err(Error::NotOneInteger { .. })), "{two_rows:?}");
}

#[test]
fn cpu_time_counts_the_backends_that_have_ended() {
    let postgres = Postgres::start(PostgresOptions::default()).unwrap();
    let before = postgres.cpu_seconds();
    // Its connection ends with it, so its backend is a reaped child of the postmaster.
    postgres
        .query_one_i64("SELECT sum(sqrt(n))::bigint FROM generate_series(1, 3000000) n")
        .unwrap();
    let wait_for_its_end = "SELECT count(*) FROM pg_stat_activity \
                            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    while postgres.query_one_i64(wait_for_its_end).unwrap() > 0 {}
    assert!(postgres.cpu_seconds() > before + 0.1);
}

#[test]
fn a_given_folder_holds_the_data_for_the_next_start() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    set_mode(folder.path(), 0o755);
    let options =
        || PostgresOptions { data_dir: Some(folder.path().to_owned()), ..Default::default() };
    let first = Postgres::start(options()).unwrap();
    first.execute("CREATE TABLE t AS SELECT 7 AS n").unwrap();
    drop(first);
    let second = Postgres::start(options()).unwrap();
    assert_eq!(second.query_one_i64("SELECT n FROM t").unwrap(), 7);
}

#[test]
fn a_folder_that_the_servers_user_cannot_enter_is_named() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    set_mode(folder.path(), 0o700);
    let data_dir = Some(folder.path().join("data"));
    let started = Postgres::start(PostgresOptions { data_dir, ..Default::default() });
    if nix::unistd::geteuid().is_root() {
        let error = started.unwrap_err();
        let named =
            matches!(&error, Error::NotAccessible { folder: at, .. } if at == folder.path());
        assert!(named, "{error:?}");
    } else {
        // Only root runs Postgres as somebody else.
        started.unwrap();
    }
}

fn set_mode(folder: &Path, mode: u32) {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}
