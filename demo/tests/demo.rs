//! The demo itself, with fewer orders. It runs the `tidegate` that was built beside it:
//! `cargo build --release --workspace` comes first, as in `make test`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

/// A running demo, and a folder for its servers that nobody else uses.
struct Demo {
    place: TempDir,
    child: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let place = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_demo"))
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
            .env("TMPDIR", place.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        Self { place, child, lines: Box::new(lines) }
    }

    /// Reads on until rows arrive.
    fn wait_for_rows(&mut self) {
        let written = |line: &str| {
            let (_, rest) = line.split_once("written")?;
            rest.split_whitespace().next().map(|rows| rows != "0")
        };
        assert!(self.lines.any(|line| written(&line) == Some(true)), "no rows arrive");
    }

    fn signal(&self, pid: u32, signal: &str) {
        let status = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Processes that work in the demo's folders.
    fn processes(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            fs::read_link(format!("/proc/{pid}/cwd"))
                .is_ok_and(|cwd| cwd.starts_with(self.place.path()))
        })
        .collect()
    }

    fn tidegate(&self) -> u32 {
        let is_tidegate = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "tidegate\n")
        };
        self.processes().into_iter().find(is_tidegate).unwrap()
    }

    fn homes(&self) -> Vec<PathBuf> {
        let roots = fs::read_dir(self.place.path()).unwrap().map(|root| root.unwrap().path());
        let entries = roots.flat_map(|root| fs::read_dir(root).unwrap());
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
    }

    fn is_gone(&self) -> bool {
        self.processes().is_empty() && self.homes().is_empty()
    }

    fn errors(&mut self) -> String {
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        errors
    }
}

#[test]
fn every_order_is_proved_and_the_last_line_says_so() {
    let mut demo = Demo::start(&["--rows", "50000", "--steady-seconds", "1"]);
    let lines: Vec<String> = demo.lines.by_ref().collect();
    let text = lines.join("\n");
    assert!(demo.child.wait().unwrap().success(), "{text}\n{}", demo.errors());
    let last = lines.last().unwrap();
    assert_eq!(last, "demo: produced=90000 written=90000 lost=0 duplicated=0", "{text}");
    assert_eq!(lines.iter().filter(|line| line.ends_with("  ok")).count(), 6, "{text}");
    assert!(text.contains("touched since") && text.contains("the same answer"), "{text}");
    assert!(text.contains("p99") && text.contains("bottleneck"), "{text}");
    assert!(demo.is_gone());
}

#[test]
fn ctrl_c_leaves_nothing_running() {
    let mut demo = Demo::start(&["--rows", "100000000"]);
    demo.wait_for_rows();
    assert_eq!(demo.homes().len(), 3);
    demo.signal(demo.child.id(), "-INT");
    assert_eq!(demo.child.wait().unwrap().code(), Some(130), "{}", demo.errors());
    assert!(demo.is_gone());
}

#[test]
fn kill_leaves_nothing_running_either() {
    let mut demo = Demo::start(&["--rows", "100000000"]);
    demo.wait_for_rows();
    demo.signal(demo.child.id(), "-KILL");
    assert_eq!(demo.child.wait().unwrap().signal(), Some(9));
    let deadline = Instant::now() + LIMIT;
    while !demo.is_gone() {
        assert!(Instant::now() < deadline, "{:?} {:?}", demo.processes(), demo.homes());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_death_of_tidegate_is_told_at_once() {
    let mut demo = Demo::start(&["--rows", "100000000"]);
    demo.wait_for_rows();
    demo.signal(demo.tidegate(), "-KILL");
    assert_eq!(demo.child.wait().unwrap().code(), Some(1));
    let errors = demo.errors();
    assert!(errors.contains("tidegate ended with signal: 9"), "{errors}");
    assert!(demo.is_gone());
}
