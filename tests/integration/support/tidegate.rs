//! The real binary as a child process.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::wait::{LIMIT, eventually};

const LOG_TAIL_LINES: usize = 60;

/// A running `tidegate`. Dropping it kills it, and shows its log if the test has failed.
pub(crate) struct Tidegate {
    child: Child,
    folder: PathBuf,
    number: u32,
}

/// How a `tidegate` ended.
#[derive(Debug)]
pub(crate) struct Exit {
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// How long it took from the order to the end.
    pub(crate) took: Duration,
    pub(crate) stdout: String,
    pub(crate) log: String,
}

impl Tidegate {
    /// Starts the binary; its output goes to files in `folder`.
    pub(crate) fn spawn(folder: &Path, arguments: &[&str], stdin: Stdio) -> Self {
        Self::spawn_at(folder, arguments, stdin, "")
    }

    /// As `spawn`, with a failpoint: `name=action@passage`.
    pub(crate) fn spawn_at(
        folder: &Path,
        arguments: &[&str],
        stdin: Stdio,
        failpoint: &str,
    ) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = |kind: &str| File::create(folder.join(format!("{number}.{kind}"))).unwrap();
        // Ends with the test binary, however that ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_tidegate")])
            .args(arguments)
            .env("TIDEGATE_FAILPOINT", failpoint)
            .current_dir(folder)
            .stdin(stdin)
            .stdout(file("out"))
            .stderr(file("log"))
            .spawn()
            .unwrap();
        Self { child, folder: folder.to_owned(), number }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        self.read("log")
    }

    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("{}.{kind}", self.number))
    }

    fn read(&self, kind: &str) -> String {
        let bytes = fs::read(self.path(kind)).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    /// SIGSTOP, and waits until it has stopped: the thread that gets the signal tells the others, and
    /// they run on until it is scheduled.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.pid());
        eventually("every thread has stopped", || {
            for task in fs::read_dir(&tasks).unwrap() {
                let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
                let (_, state) = stat.rsplit_once(") ").unwrap();
                if !state.starts_with('T') {
                    return Err(stat);
                }
            }
            Ok(())
        });
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(mut self) -> String {
        assert!(self.is_running(), "it ended before it was killed");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.log()
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn terminate(self) -> Exit {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// SIGTERM; the end must be orderly and in time.
    pub(crate) fn stop(self) -> Exit {
        let exit = self.terminate();
        assert_eq!(exit.code, Some(0), "{}", exit.log);
        assert!(exit.took < Duration::from_secs(10), "{:?}\n{}", exit.took, exit.log);
        exit
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> Exit {
        let since = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if since.elapsed() > LIMIT => panic!("it does not end"),
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        Exit {
            code: status.code(),
            took: since.elapsed(),
            stdout: self.read("out"),
            log: self.log(),
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the log says so; fails early if it ends without having said it.
    pub(crate) fn await_log(&mut self, text: &str) -> String {
        eventually(&format!("a log line with '{text}'"), || {
            let running = self.is_running();
            let log = self.log();
            if log.contains(text) {
                return Ok(log);
            }
            assert!(running, "it ended without a log line with '{text}':\n{log}");
            Err("not there yet".to_owned())
        })
    }

    /// The admin server's address.
    pub(crate) fn address(&mut self) -> String {
        let log = self.await_log("admin server on http://");
        let (_, rest) = log.split_once("admin server on http://").unwrap();
        rest.split(' ').next().unwrap().to_owned()
    }

    /// Status code and body of a page of the admin server.
    pub(crate) fn get(&mut self, path: &str) -> (u16, String) {
        let address = self.address();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, body.to_owned())
    }

    pub(crate) fn status(&mut self) -> Value {
        let (code, body) = self.get("/status");
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// The sum of a metric over its series.
    pub(crate) fn metric(&mut self, name: &str) -> f64 {
        self.metric_with(name, "")
    }

    /// The sum of a metric over the series with a label such as `kind="lost"`.
    pub(crate) fn metric_with(&mut self, name: &str, label: &str) -> f64 {
        let (_, page) = self.get("/metrics");
        let of_it =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        page.lines()
            .filter(of_it)
            .filter(|line| line.contains(label))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// How many partitions it owns now.
    pub(crate) fn owned(&mut self) -> i32 {
        assert!(self.is_running(), "it ended:\n{}", self.log());
        self.metric("tidegate_partitions_assigned") as i32
    }

    /// Changes of its assignment, of one kind: `assign`, `revoke` or `lost`.
    pub(crate) fn rebalances(&mut self, kind: &str) -> f64 {
        self.metric_with("tidegate_rebalances_total", &format!("kind=\"{kind}\""))
    }

    /// Waits until it reads this many partitions.
    pub(crate) fn await_partitions(&mut self, partitions: i64) {
        eventually(&format!("{partitions} partitions"), || {
            assert!(self.is_running(), "it ended:\n{}", self.log());
            let status = self.status();
            let is_running = |source: &&Value| source["state"] == "running";
            let sources = status["sources"].as_array().unwrap();
            let owned: i64 =
                sources.iter().filter(is_running).filter_map(|s| s["partitions"].as_i64()).sum();
            if owned == partitions { Ok(()) } else { Err(status["sources"].to_string()) }
        });
    }

    pub(crate) fn await_ready(&mut self) {
        eventually("readiness", || {
            assert!(self.is_running(), "it ended:\n{}", self.log());
            let (code, body) = self.get("/readyz");
            if code == 200 { Ok(()) } else { Err(body) }
        });
    }

    /// Waits until `/readyz` says that it is not ready, and says so in these words.
    pub(crate) fn await_degraded(&mut self, reason: &str) {
        eventually(&format!("'{reason}' on /readyz"), || {
            assert!(self.is_running(), "it ended:\n{}", self.log());
            let (code, body) = self.get("/readyz");
            if code == 503 && body.contains(reason) { Ok(()) } else { Err(body) }
        });
    }

    /// Waits until nothing is in flight, then holds every lane to the law
    /// consumed = written + coalesced + filtered + dead-lettered + in flight.
    pub(crate) fn assert_conservation(&mut self) -> Counts {
        eventually("nothing in flight and nothing unaccounted for", || {
            let status = self.status();
            let mut sum = Counts::default();
            for lane in status["lanes"].as_array().unwrap() {
                let count = |key: &str| lane[key].as_u64().unwrap();
                let counts = Counts {
                    consumed: count("consumed"),
                    written: count("written"),
                    coalesced: count("coalesced"),
                    filtered: count("filtered"),
                    dead_lettered: count("dead_lettered"),
                };
                let passed_over = counts.coalesced + counts.filtered;
                let settled = counts.written + passed_over + counts.dead_lettered;
                if count("in_flight") > 0 || counts.consumed != settled {
                    return Err(lane.to_string());
                }
                sum.consumed += counts.consumed;
                sum.written += counts.written;
                sum.coalesced += counts.coalesced;
                sum.filtered += counts.filtered;
                sum.dead_lettered += counts.dead_lettered;
            }
            Ok(sum)
        })
    }

    /// Lets a fault last, and holds the process to its memory meanwhile.
    pub(crate) fn watch_memory(&mut self, duration: Duration, max_mib: u64) {
        let until = Instant::now() + duration;
        while Instant::now() < until {
            assert!(self.is_running(), "it ended:\n{}", self.log());
            let rss_mib = self.rss_mib();
            assert!(rss_mib < max_mib, "{rss_mib} MiB");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Resident set, in MiB.
    pub(crate) fn rss_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }
}

/// Counts of one process, over all its lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) consumed: u64,
    pub(crate) written: u64,
    pub(crate) coalesced: u64,
    pub(crate) filtered: u64,
    pub(crate) dead_lettered: u64,
}

impl Drop for Tidegate {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            // A test that fails may have taken the folder away; a second panic would end all tests.
            let log = fs::read(self.path("log")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
            eprintln!("--- log of tidegate {} ---\n{tail}", self.pid());
        }
    }
}
