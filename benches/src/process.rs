//! What processes cost, as the kernel counts it.

use std::{fs, path::Path};

use nix::unistd::{SysconfVar, sysconf};

/// Processor time of a process since its start, in seconds; children not included. 0 for a process that is gone.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0.0 };
    // The name, in parentheses, may contain anything.
    let Some((_, fields)) = stat.rsplit_once(')') else { return 0.0 };
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / ticks_per_second()
}

fn ticks_per_second() -> f64 {
    sysconf(SysconfVar::CLK_TCK).ok().flatten().map_or(100.0, |ticks| ticks as f64)
}

/// Memory of a process in MB (10^6 bytes).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident, shared pages counted in full.
    pub(crate) rss: f64,
    /// Resident, shared pages divided by their number of users.
    pub(crate) pss: f64,
    /// Not backed by a file: what the process has written itself.
    pub(crate) anonymous: f64,
}

/// Memory of a process now; zeros for one that is gone.
pub(crate) fn memory(pid: u32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).map_or(0.0, |kib| kib * 1024.0 / 1e6)
    };
    Memory { rss: field("Rss:"), pss: field("Pss:"), anonymous: field("Anonymous:") }
}

/// Processes whose file `/proc/PID/NAME` contains a text; NUL bytes count as spaces.
fn find(name: &str, text: &str) -> Vec<u32> {
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<u32> = all
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let content = fs::read(Path::new("/proc").join(format!("{pid}")).join(name)).unwrap_or_default();
            String::from_utf8_lossy(&content).replace('\0', " ").contains(text)
        })
        .collect();
    found.sort_unstable();
    found
}

/// Shims of a cluster, by its directory for sockets.
pub(crate) fn shims(run_dir: &Path) -> Vec<u32> {
    let ours = find("cmdline", &format!(" {}/", run_dir.display()));
    find("cmdline", " shim ").into_iter().filter(|pid| ours.contains(pid)).collect()
}

/// Processes in control groups whose path contains `part`.
pub(crate) fn in_cgroup(part: &str) -> Vec<u32> {
    find("cgroup", part)
}

/// The three load averages.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
