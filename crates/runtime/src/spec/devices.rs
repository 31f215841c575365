//! The host's devices, for privileged containers.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::Path,
};

use nix::sys::stat::{major, minor};
use serde_json::{Value, json};

/// Directories in `/dev` that hold no devices of the machine or that every container has of its own.
const SKIPPED: [&str; 6] = ["pts", "shm", "mqueue", "fd", ".udev", ".lxc"];
/// How deep `/dev` is looked into.
const DEPTH: usize = 4;

/// All device nodes in `/dev`, in the form of the runtime specification. The terminal that we may have ourselves is left out.
pub(super) fn host_devices() -> Value {
    let mut found = Vec::new();
    collect(Path::new("/dev"), DEPTH, &mut found);
    Value::Array(found)
}

fn collect(directory: &Path, depth: usize, found: &mut Vec<Value>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else { continue };
        let kind = metadata.file_type();
        if kind.is_dir() {
            if depth > 0 && !entry.file_name().to_str().is_some_and(|name| SKIPPED.contains(&name)) {
                collect(&path, depth - 1, found);
            }
        } else if (kind.is_char_device() || kind.is_block_device()) && path != Path::new("/dev/console") {
            found.push(json!({
                "path": path,
                "type": if kind.is_block_device() { "b" } else { "c" },
                "major": major(metadata.rdev()),
                "minor": minor(metadata.rdev()),
                "fileMode": metadata.permissions().mode() & 0o777,
                "uid": metadata.uid(),
                "gid": metadata.gid(),
            }));
        }
    }
}
