//! What every end-to-end test needs: a cluster of its own, kubectl, curl, git, and patience with a limit.
//!
//! A failing expectation panics with everything that the command printed: these are tests, and the panic is the report.
#![allow(clippy::panic, clippy::missing_panics_doc)]

mod background;
mod busybox;
mod cluster;
mod command;
mod repository;
mod shared;

pub use background::Background;
pub use cluster::{Cluster, Options, run_dir, state_dir};
pub use command::{Answer, run, wait_until};
pub use repository::Repository;
pub use shared::Shared;

use std::path::PathBuf;

/// The project's root.
pub fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).unwrap_or_default()
}

/// A binary of the same build as this test.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let directory = test.parent().and_then(|deps| deps.parent()).map(PathBuf::from).unwrap_or_default();
    let path = directory.join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// An image made by `scripts/images.sh`: the archive and its configuration.
pub fn image(name: &str) -> (PathBuf, PathBuf) {
    let directory = project().join(".cache/images");
    let paths = (directory.join(format!("{name}.tar")), directory.join(format!("{name}.json")));
    assert!(paths.0.exists(), "{} is missing: run `scripts/images.sh` first", paths.0.display());
    paths
}
