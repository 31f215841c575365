//! Readings of the machine: processors, memory, disk, kernel.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::containers::fields::Capacity;

/// Memory in bytes, from `/proc/meminfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    pub(crate) available: u64,
}

/// Bytes and inodes of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) total: u64,
    pub(crate) available: u64,
    pub(crate) inodes: u64,
    pub(crate) inodes_free: u64,
}

// === impl Disk ===

impl Disk {
    /// How full it is, in per cent.
    pub(crate) fn used_percent(self) -> u64 {
        self.available.saturating_mul(100).checked_div(self.total).map_or(0, |free| 100_u64.saturating_sub(free))
    }
}

pub(crate) fn memory() -> Memory {
    parse_memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

fn parse_memory(text: &str) -> Memory {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    Memory { total: value("MemTotal").unwrap_or(0), available: value("MemAvailable").unwrap_or(0) }
}

/// Zero for a path that does not exist.
pub(crate) fn disk(path: &Path) -> Disk {
    statvfs(path).map_or_else(
        |_| Disk::default(),
        |stat| Disk {
            total: stat.blocks() * stat.fragment_size(),
            available: stat.blocks_available() * stat.fragment_size(),
            inodes: stat.files(),
            inodes_free: stat.files_available(),
        },
    )
}

pub(crate) fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

/// Processes now and at most.
pub(crate) fn processes() -> (u64, u64) {
    let loadavg = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let running = loadavg.split_whitespace().nth(3).and_then(|word| word.split('/').nth(1)?.parse().ok());
    let max = read("/proc/sys/kernel/pid_max").parse().unwrap_or(u64::MAX);
    (running.unwrap_or(0), max)
}

/// A file's text without surrounding space; empty when it cannot be read.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// `PRETTY_NAME` of `/etc/os-release`.
pub(crate) fn os_image() -> String {
    let text = read("/etc/os-release");
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

pub(crate) fn capacity(root: &Path) -> Capacity {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Capacity {
        cpu_millis: signed(processors() * 1000),
        memory_bytes: signed(memory().total),
        storage_bytes: signed(disk(root).total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_real() {
        let parsed = parse_memory("MemTotal:       4 kB\nMemFree: 1 kB\nMemAvailable:   2 kB\n");
        assert_eq!(parsed, Memory { total: 4096, available: 2048 });
        let (memory, disk) = (memory(), disk(Path::new("/")));
        assert!(memory.total > memory.available && memory.available > 0);
        assert!(disk.total > 0 && disk.used_percent() <= 100 && processors() > 0 && processes().0 > 0);
    }
}
