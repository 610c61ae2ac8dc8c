//! What `/proc` says about the processes of one server.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::unistd::{SysconfVar, sysconf};

/// Processes whose working directory is `folder` or below: Postgres' backends lead sessions of
/// their own and are orphaned with the postmaster, but they never leave its data directory.
pub(crate) fn pids_inside(folder: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
        })
        .collect()
}

/// CPU time of the processes, and of the children that they have reaped.
pub(crate) fn cpu_seconds(pids: &[u32]) -> f64 {
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
    fn the_peak_of_memory_stays_when_the_memory_is_given_back() {
        let me = std::process::id();
        let before = peak_memory_bytes(me).unwrap();
        drop(std::hint::black_box(vec![1_u8; 64 << 20]));
        assert!(peak_memory_bytes(me).unwrap() >= before.max(64 << 20));
    }
}
