//! What the system says of this process (Linux), under the names that Prometheus' own clients use.

use std::fs;

/// What the system says of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) open_fds: usize,
    pub(crate) threads: u64,
    /// As Unix time.
    pub(crate) started_seconds: f64,
}

/// Ticks of a second in /proc (USER_HZ), the same on every architecture that tidegate is built for.
const TICKS: f64 = 100.0;

/// As of now; `None` where there is no /proc.
pub(crate) fn figures() -> Option<Figures> {
    let read = |path| fs::read_to_string(path).ok();
    let open_fds = fs::read_dir("/proc/self/fd").ok()?.count();
    figures_of(
        &read("/proc/self/stat")?,
        &read("/proc/self/status")?,
        &read("/proc/stat")?,
        // One of them is the look itself.
        open_fds.saturating_sub(1),
    )
}

fn figures_of(stat: &str, status: &str, system: &str, open_fds: usize) -> Option<Figures> {
    // The second field is the program's name in parentheses, and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // proc(5) counts from 1, and two are gone.
    let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Figures {
        cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS,
        resident_bytes: value_of(status, "VmRSS:")? * 1024,
        open_fds,
        threads: value_of(status, "Threads:")?,
        started_seconds: value_of(system, "btime")? as f64 + ticks(22)? / TICKS,
    })
}

fn value_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 9 0 1000 5 6";
        let status = "Name:\ta) b\nVmRSS:\t    2048 kB\nThreads:\t9\n";
        let expected = Figures {
            cpu_seconds: 3.0,
            resident_bytes: 2 << 20,
            open_fds: 4,
            threads: 9,
            started_seconds: 1_700_000_010.0,
        };
        assert_eq!(figures_of(stat, status, "cpu 1\nbtime 1700000000\n", 4), Some(expected));
    }

    #[test]
    fn this_process_has_figures() {
        let found = figures().unwrap();
        assert!(found.resident_bytes > 1 << 20 && found.threads >= 1, "{found:?}");
    }
}
