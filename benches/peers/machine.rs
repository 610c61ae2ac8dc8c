//! What the results depend on.

use std::{fs, thread};

/// A line on processor, memory and system.
pub(crate) fn describe() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let cpu = value_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let memory = value_of("/proc/meminfo", "MemTotal")
        .and_then(|text| text.strip_suffix("kB")?.trim().parse::<f64>().ok())
        .map_or_else(String::new, |kib| format!(", {:.0} GiB of memory", kib / (1 << 20) as f64));
    let system = value_of("/etc/os-release", "PRETTY_NAME").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Without what a distribution or a cloud appends to it.
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    format!("{cores} CPUs ({cpu}){memory}; {}, Linux {kernel}", system.trim_matches('"'))
}

/// Of the first line that starts with the key, behind the colon or equals sign.
fn value_of(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim_start_matches([' ', '\t', ':', '=']).trim().to_owned())
}
