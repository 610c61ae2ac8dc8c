//! The torture itself, short and with a fixed seed. It runs the `tidegate` that was built beside
//! it: `cargo build --release --workspace` comes first, as in `make test`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

/// Every kind of fault, and twice those that the promise is most about.
const PLAN: &[(&str, u64)] = &[
    ("kill", 2),
    ("term", 1),
    ("zombie", 1),
    ("resize", 1),
    ("broker", 1),
    ("freeze", 1),
    ("immediate", 1),
    ("backends", 1),
    ("stall", 1),
    ("cut", 1),
    ("commit", 2),
    ("throttle", 1),
    ("disk", 1),
    ("lock", 1),
    ("failover", 1),
];

/// With it many of them overlap, which keeps the test short.
const SEED: &str = "2";

/// A folder for the servers' homes and one for the report, which nobody else uses.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    fn torture(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_torture"))
            .env("TMPDIR", self.folder.path())
            .arg("--output")
            .arg(self.output())
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Homes of servers and instances that were not cleared.
    fn homes(&self) -> Vec<PathBuf> {
        let places = entries(self.folder.path()).into_iter().filter(|path| *path != self.output());
        places.flat_map(|place| entries(&place)).filter(|path| path.is_dir()).collect()
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn nothing_is_lost_or_doubled_whatever_breaks() {
    let place = Place::new();
    let mut plan = PLAN.to_vec();
    if !nix::unistd::geteuid().is_root() {
        // Past the capture of the test harness, so that it is seen.
        std::io::stderr()
            .write_all(b"NOT TESTED: a full disk, which only root can mount\n")
            .unwrap();
        plan.retain(|(kind, _)| *kind != "disk");
    }
    let orders: Vec<String> = plan.iter().map(|(kind, times)| format!("{kind}={times}")).collect();

    let output = place.torture(&["--seed", SEED, "--plan", &orders.join(",")]);

    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let faults: u64 = plan.iter().map(|(_, times)| times).sum();
    let last = format!("torture: faults={faults} lost=0 duplicated=0");
    assert_eq!(stdout.lines().last(), Some(last.as_str()), "{stdout}");

    let json = fs::read(place.output().join("torture.json")).unwrap();
    let report: Value = serde_json::from_slice(&json).unwrap();
    let mut told: Vec<(&str, u64)> = report["kinds"].as_array().unwrap().iter().map(told).collect();
    let mut planned = plan;
    told.sort_unstable();
    planned.sort_unstable();
    assert_eq!(told, planned);
    assert_eq!(report["exact"], true);
    let produced = report["produced"].as_u64().unwrap();
    assert!(produced > 100_000, "{produced} records are no load");
    let settled = ["written", "dead_lettered"].map(|key| report[key].as_u64().unwrap());
    assert_eq!(settled[0] + settled[1], produced);
    assert!(settled[1] > 0, "no dead letters");
    assert!(report["balance_samples"].as_u64().unwrap() > 100, "{report}");
    assert_eq!(place.homes(), Vec::<PathBuf>::new());
}

fn told(kind: &Value) -> (&str, u64) {
    assert!(kind["longest_recovery_s"].as_f64().unwrap() > 0.0, "{kind}");
    assert_eq!((&kind["lost"], &kind["duplicated"]), (&0.into(), &0.into()), "{kind}");
    (kind["fault"].as_str().unwrap(), kind["times"].as_u64().unwrap())
}

#[test]
fn an_unknown_fault_is_refused_before_anything_starts() {
    let place = Place::new();
    let output = place.torture(&["--plan", "flood=2"]);
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("there is no fault 'flood'") && error.contains("failover"), "{error}");
    assert!(!place.output().exists());
}
