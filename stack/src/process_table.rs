//! What `/proc` says about the processes of one server.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::unistd::{SysconfVar, sysconf};

/// After so many looks at processes that come and go all the time, the last one counts.
const LOOKS_MAX: usize = 20;

/// Processes whose working directory is `folder` or below: Postgres' backends lead sessions of
/// their own and are orphaned with the postmaster, but they never leave its data directory.
pub(crate) fn pids_inside(folder: &Path) -> Vec<u32> {
    let is_inside = |pid: &u32| {
        fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    };
    pids().filter(is_inside).collect()
}

/// CPU time of the processes inside `folder`, and of all that they started and that have ended.
pub(crate) fn cpu_seconds_inside(folder: &Path) -> f64 {
    let all = || {
        let pids = pids_inside(folder);
        let ended = zombies_of(&pids);
        [pids, ended].concat()
    };
    let mut pids = all();
    // One that was reaped meanwhile may be in neither its own time nor its parent's.
    for _ in 0..LOOKS_MAX {
        let seconds = cpu_seconds(&pids);
        let pids_now = all();
        if pids_now == pids {
            return seconds;
        }
        pids = pids_now;
    }
    cpu_seconds(&pids)
}

/// Children of `parents` that have ended and are not reaped: they have no working directory any more.
fn zombies_of(parents: &[u32]) -> Vec<u32> {
    let is_zombie = |pid: &u32| {
        fields(*pid).is_some_and(|fields| {
            let [state, parent, ..] = fields.as_slice() else { return false };
            state == "Z" && parent.parse().is_ok_and(|parent| parents.contains(&parent))
        })
    };
    pids().filter(is_zombie).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// CPU time of the processes, and of the children that they have reaped.
fn cpu_seconds(pids: &[u32]) -> f64 {
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    let ticks: u64 = pids.iter().filter_map(|pid| cpu_ticks(*pid)).sum();
    ticks as f64 / ticks_per_second as f64
}

/// CPU time of this process, and of the children that it has waited for.
pub fn own_cpu_seconds() -> f64 {
    cpu_seconds(&[std::process::id()])
}

/// The most memory that `pid` ever had resident.
pub(crate) fn peak_memory_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    // proc_pid_status(5): always in kB, which are KiB.
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Whether `pid` sleeps under SIGSTOP.
pub(crate) fn is_suspended(pid: u32) -> bool {
    state(pid).is_some_and(|state| state == "T")
}

/// Whether `pid` exists and neither sleeps under SIGSTOP nor has ended.
pub(crate) fn is_awake(pid: u32) -> bool {
    state(pid).is_some_and(|state| !matches!(state.as_str(), "T" | "Z" | "X"))
}

fn state(pid: u32) -> Option<String> {
    fields(pid)?.into_iter().next()
}

fn cpu_ticks(pid: u32) -> Option<u64> {
    // utime, stime, cutime, cstime: fields 14 to 17 of proc_pid_stat(5), which counts from 1.
    let fields = fields(pid)?;
    fields.get(11..15)?.iter().map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// The fields of `/proc/<pid>/stat` from the third on, the state: the second one, the command's
/// name in parentheses, may itself contain spaces and parentheses.
fn fields(pid: u32) -> Option<Vec<String>> {
    let path: PathBuf = format!("/proc/{pid}/stat").into();
    let stat = fs::read_to_string(path).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_this_process_by_its_working_directory_and_charges_its_cpu_time() {
        let here = std::env::current_dir().unwrap();
        let me = std::process::id();
        assert!(pids_inside(&here).contains(&me));
        assert!(!pids_inside(&here.join("no-such-folder")).contains(&me));

        let before = cpu_seconds(&[me]);
        let mut sum = 0_u64;
        while cpu_seconds(&[me]) < before + 0.05 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(is_awake(me) && !is_suspended(me));
    }

    #[test]
    fn charges_the_cpu_time_of_a_child_that_has_ended_and_is_not_reaped() {
        let folder = std::env::temp_dir().canonicalize().unwrap();
        let folder = folder.join(format!("cpu-time-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        // cat does not know that it has a child, which waits until there is no bash to reap it.
        let script = "parent=$$; (until [ \"$(< /proc/$parent/comm)\" = cat ]; do :; done; \
                      for ((i = 0; i < 300000; i++)); do :; done) & exec cat";
        let mut parent = std::process::Command::new("bash")
            .args(["-c", script])
            .current_dir(&folder)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        while zombies_of(&[parent.id()]).is_empty() {
            std::thread::yield_now();
        }
        let seconds = cpu_seconds_inside(&folder);
        drop(parent.stdin.take());
        parent.wait().unwrap();
        fs::remove_dir(&folder).unwrap();
        assert!(seconds > 0.1, "{seconds}");
    }

    #[test]
    fn the_peak_of_memory_stays_when_the_memory_is_given_back() {
        let me = std::process::id();
        let before = peak_memory_bytes(me).unwrap();
        drop(std::hint::black_box(vec![1_u8; 64 << 20]));
        assert!(peak_memory_bytes(me).unwrap() >= before.max(64 << 20));
    }
}
