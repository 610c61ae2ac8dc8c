use std::time::Duration;

use stack::{Error, Postgres, PostgresOptions, StopMode};

const LIMIT: Duration = Duration::from_secs(30);

fn primary() -> Postgres {
    let settings = vec![("shared_buffers".to_owned(), "16MB".to_owned())];
    Postgres::start(PostgresOptions { settings, data_dir: None }).unwrap()
}

fn rows(postgres: &Postgres) -> i64 {
    postgres.query_one_i64("SELECT count(*) FROM t").unwrap()
}

#[test]
fn a_standby_that_lags_is_promoted_without_what_it_has_not_got_and_gets_a_standby_itself() {
    let first = primary();
    first.execute("CREATE TABLE t AS SELECT 1 AS n").unwrap();
    let second = first.start_standby(None).unwrap();
    assert!(second.is_standby().unwrap() && !first.is_standby().unwrap());
    assert_eq!(second.query_one_i64("SHOW max_connections").unwrap(), 200);
    first.execute("INSERT INTO t VALUES (2)").unwrap();
    second.wait_until_caught_up_with(&first, LIMIT).unwrap();
    assert_eq!(rows(&second), 2);
    let refused = second.execute("INSERT INTO t VALUES (3)").unwrap_err();
    assert!(matches!(refused, Error::Postgres { .. }), "{refused:?}");

    second.stop_receiving().unwrap();
    first.execute("INSERT INTO t VALUES (3)").unwrap();
    let waited = second.wait_until_caught_up_with(&first, Duration::from_millis(300));
    assert!(matches!(waited, Err(Error::TimedOut { .. })), "{waited:?}");
    second.receive_again().unwrap();
    second.wait_until_caught_up_with(&first, LIMIT).unwrap();
    assert_eq!(rows(&second), 3);

    second.stop_receiving().unwrap();
    first.execute("INSERT INTO t VALUES (4)").unwrap();
    assert_eq!(rows(&first), 4);
    let port = first.port();
    first.stop(StopMode::Immediate).unwrap();
    drop(first);
    second.promote().unwrap();
    assert_eq!(rows(&second), 3);
    second.execute("INSERT INTO t VALUES (5), (6)").unwrap();

    let third = second.start_standby(Some(port)).unwrap();
    assert_eq!(third.port(), port);
    second.execute("INSERT INTO t VALUES (7)").unwrap();
    third.wait_until_caught_up_with(&second, LIMIT).unwrap();
    assert_eq!(rows(&third), 6);
}

#[test]
fn a_standby_gets_what_it_missed_while_it_was_stopped_and_the_log_was_recycled() {
    let primary = primary();
    primary.execute("CREATE TABLE t (n int)").unwrap();
    let standby = primary.start_standby(None).unwrap();
    standby.stop(StopMode::Fast).unwrap();
    for _ in 0..3 {
        primary.execute("INSERT INTO t VALUES (1)").unwrap();
        primary.execute("SELECT pg_switch_wal()").unwrap();
        primary.execute("CHECKPOINT").unwrap();
    }
    standby.start_again().unwrap();
    standby.wait_until_caught_up_with(&primary, LIMIT).unwrap();
    assert_eq!(rows(&standby), 3);
}
