use std::{fs, time::Duration};

use stack::{Disk, Error, Postgres, PostgresOptions};

const BYTES: u64 = 8 << 20;

/// A server with a table on a disk of its own; none where disks cannot be mounted.
fn server_with_a_disk() -> Option<(Postgres, Disk)> {
    let postgres = Postgres::start(PostgresOptions::default()).unwrap();
    let disk = match postgres.create_tablespace("small", BYTES) {
        Err(error @ Error::NotMounted { .. }) if !nix::unistd::geteuid().is_root() => {
            eprintln!("NOT TESTED, as only root may mount: {error}");
            return None;
        }
        mounted => mounted.unwrap(),
    };
    postgres.execute("CREATE TABLE t (text text) TABLESPACE small").unwrap();
    Some((postgres, disk))
}

fn mounts_below(place: &str) -> usize {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    mounts.lines().filter(|line| line.split(' ').nth(1).unwrap().starts_with(place)).count()
}

#[test]
fn a_disk_that_is_full_fails_the_insert_and_serves_again_when_it_is_free() {
    let Some((postgres, disk)) = server_with_a_disk() else { return };
    let insert = "INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 100)";
    postgres.execute(insert).unwrap();

    disk.fill().unwrap();
    let client = postgres.client().unwrap();
    let refused = client.execute(insert).unwrap_err();
    let Error::Postgres { source, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(source.code().unwrap().code(), "53100");
    // Only the tablespace is full.
    client.execute("CREATE TABLE elsewhere AS SELECT 1").unwrap();

    disk.free().unwrap();
    disk.free().unwrap();
    client.execute(insert).unwrap();
    assert_eq!(postgres.query_one_i64("SELECT count(*) FROM t").unwrap(), 200);
}

#[test]
fn a_disk_goes_with_its_server_and_the_standby_has_one_of_its_own() {
    let Some((primary, disk)) = server_with_a_disk() else { return };
    primary.execute("INSERT INTO t VALUES ('row')").unwrap();
    let standby = primary.start_standby(None).unwrap();
    let copy = standby.disk("small").unwrap().unwrap();
    assert!(standby.disk("other").unwrap().is_none());
    disk.fill().unwrap();
    primary.execute("UPDATE t SET text = 'new row'").unwrap();
    standby.wait_until_caught_up_with(&primary, Duration::from_secs(30)).unwrap();
    assert_eq!(standby.query_one_i64("SELECT count(*) FROM t WHERE text = 'new row'").unwrap(), 1);

    let homes = [disk.path(), copy.path()].map(|path| path.to_str().unwrap().to_owned());
    assert_eq!(homes.each_ref().map(|home| mounts_below(home)), [1, 1]);
    drop((primary, standby));
    assert_eq!(homes.each_ref().map(|home| mounts_below(home)), [0, 0]);
    assert!(homes.iter().all(|home| !fs::exists(home).unwrap()));
}
