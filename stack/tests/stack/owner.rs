//! The binary `stack` as the owner: what it says, and what is left when it is gone.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

/// A folder for the homes of servers, which nobody else uses, and one for the state.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stack"));
        command.current_dir(&self.folder).env("TMPDIR", self.folder.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn fail(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The homes of servers, without the lock beside them.
    fn homes(&self) -> Vec<PathBuf> {
        let root = self.folder.path().join(format!("tidegate-stack-{}", nix::unistd::getuid()));
        let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    }

    /// Every process that works inside, but this one's own.
    fn processes(&self) -> Vec<PathBuf> {
        let here = |path: &Path| fs::read_link(path.join("cwd")).is_ok_and(|cwd| self.holds(&cwd));
        let entries = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| here(path)).collect()
    }

    fn holds(&self, folder: &Path) -> bool {
        folder.starts_with(self.folder.path())
    }
}

fn start_in_foreground(place: &Place) -> Child {
    let mut owner = place.command(&["up"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"), "the stack did not come up");
    owner
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn shared_memory_segments() -> Vec<String> {
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    table.lines().filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
}

#[test]
fn nothing_outlives_an_owner_that_is_killed_not_even_frozen_backends() {
    let place = Place::new();
    let mut owner = start_in_foreground(&place);
    assert_eq!(place.homes().len(), 2);
    let postgres = place.homes().into_iter().find(|home| home.join("sockets").exists()).unwrap();
    let pid_file = fs::read_to_string(postgres.join("data/postmaster.pid")).unwrap();
    let segment = pid_file.lines().nth(6).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    assert!(shared_memory_segments().contains(&segment));
    // A postmaster and its backends, a JVM, the owner.
    assert!(place.processes().len() > 5);
    place.succeed(&["suspend", "postgres"]);

    owner.kill().unwrap();
    owner.wait().unwrap();

    wait_until("processes are left", || place.processes().is_empty());
    wait_until("files are left", || place.homes().is_empty());
    assert!(!shared_memory_segments().contains(&segment));
}

#[test]
fn a_detached_stack_takes_orders_until_it_is_taken_down() {
    let place = Place::new();
    assert!(place.fail(&["status"]).contains("not up"));
    let env = place.succeed(&["up", "--detach", "--postgres-setting", "shared_buffers=32MB"]);
    assert_eq!(fs::read_to_string(place.folder.path().join(".stack/env")).unwrap(), env);
    assert!(place.fail(&["up"]).contains("already up"));
    assert!(place.fail(&["up", "--detach"]).contains("already up"));

    place.succeed(&["create-topic", "orders", "--partitions", "2", "--setting", "retention.ms=9"]);
    assert!(place.fail(&["create-topic", "orders"]).contains("TopicAlreadyExists"));
    place.succeed(&["delete-topic", "orders"]);
    let shown = place.succeed(&["psql", "-Atc", "SHOW shared_buffers"]);
    assert_eq!(shown.trim(), "32MB");

    let state = |service: &str| {
        let status = place.succeed(&["status"]);
        let line = status.lines().find(|line| line.starts_with(service)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    place.succeed(&["kill", "postgres"]);
    place.succeed(&["suspend", "kafka-1"]);
    assert_eq!((state("postgres").as_str(), state("kafka-1").as_str()), ("stopped", "suspended"));
    assert!(place.fail(&["stop", "postgres"]).contains("not running"));
    assert!(place.fail(&["stop", "kafka-2"]).contains("no kafka-2"));
    assert!(place.fail(&["stop", "mysql"]).contains("none of postgres"));
    place.succeed(&["start", "postgres"]);
    place.succeed(&["resume", "kafka"]);
    assert_eq!((state("postgres").as_str(), state("kafka-1").as_str()), ("running", "running"));

    place.succeed(&["down"]);
    assert!(place.homes().is_empty());
    wait_until("processes are left", || place.processes().is_empty());
    assert!(!place.folder.path().join(".stack").exists());
}

#[test]
fn a_missing_download_names_the_script_that_fetches_it() {
    let place = Place::new();
    let output = place.command(&["up", "--detach"]).env("TIDEGATE_CACHE", "/nowhere").output();
    let error = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(error.contains("/nowhere/kafka-4.1.0; run scripts/setup.sh"), "{error}");
    assert!(!place.folder.path().join(".stack").exists());
    assert!(place.homes().is_empty());
}
