//! What the runtime needs to know at start.

use std::{ffi::OsString, path::PathBuf, time::Duration};

/// Settings of [`crate::Runtime`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Images, snapshots and the state of pods; survives a reboot. One runtime at a time owns it.
    pub root: PathBuf,
    /// Sockets; may be lost at reboot. Should be short, since a socket's path is limited to 107 bytes.
    pub run_dir: PathBuf,
    /// Absolute path in every cgroup hierarchy under which pods are placed, e.g. `/lotse-default`.
    pub cgroup_parent: String,
    /// Program and first arguments that run [`crate::shim_main`]. The program is opened once, when the runtime opens.
    pub shim: Vec<OsString>,
    /// How much an image may cost.
    pub limits: ImageLimits,
}

impl Config {
    /// Settings with everything but the places at its default.
    pub fn new(root: impl Into<PathBuf>, run_dir: impl Into<PathBuf>, cgroup_parent: impl Into<String>) -> Self {
        Self {
            root: root.into(),
            run_dir: run_dir.into(),
            cgroup_parent: cgroup_parent.into(),
            shim: vec![OsString::from("/proc/self/exe"), OsString::from("shim")],
            limits: ImageLimits::default(),
        }
    }
}

/// Bounds on what an archive or a registry may make us store.
#[derive(Clone, Debug)]
pub struct ImageLimits {
    /// Most bytes of one compressed layer.
    pub layer_bytes: u64,
    /// Most bytes of one layer once unpacked.
    pub unpacked_bytes: u64,
    /// Most entries of one layer.
    pub entries: u64,
    /// Most unpacked bytes for each compressed byte, counted beyond the first 64 MiB.
    pub ratio: u64,
    /// Most layers of one image; overlayfs has a limit of its own.
    pub layers: usize,
    /// Most time for one pull.
    pub pull_deadline: Duration,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self {
            layer_bytes: 16 << 30,
            unpacked_bytes: 32 << 30,
            entries: 1_000_000,
            ratio: 200,
            layers: 127,
            pull_deadline: Duration::from_secs(30 * 60),
        }
    }
}
