//! The mounts that volumes need, behind a trait so that volumes are tested without privileges.

use std::{os::unix::fs::MetadataExt, path::Path};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::{Context, Result};

/// Memory file systems for secrets, tokens and `emptyDir` of medium `Memory`.
pub(crate) trait Mounts: Send + Sync {
    /// Mounts a tmpfs on `dir`; `size_bytes` limits it. `mode` is the root directory's.
    fn tmpfs(&self, dir: &Path, size_bytes: Option<u64>, mode: u32) -> Result<()>;
    /// Takes away the mount on `dir` without following a link.
    fn unmount(&self, dir: &Path) -> Result<()>;
    /// Whether `dir` is the root of a mount.
    fn is_mounted(&self, dir: &Path) -> Result<bool>;
}

/// The kernel's mounts.
#[derive(Debug, Default)]
pub(crate) struct KernelMounts;

impl Mounts for KernelMounts {
    fn tmpfs(&self, dir: &Path, size_bytes: Option<u64>, mode: u32) -> Result<()> {
        let mut options = format!("mode={mode:o}");
        if let Some(size) = size_bytes {
            options.push_str(&format!(",size={size}"));
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), dir, Some("tmpfs"), flags, Some(options.as_str()))
            .context(|| format!("cannot mount a tmpfs on {}", dir.display()))
    }

    fn unmount(&self, dir: &Path) -> Result<()> {
        umount2(dir, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .context(|| format!("cannot unmount {}", dir.display()))
    }

    fn is_mounted(&self, dir: &Path) -> Result<bool> {
        let own = match std::fs::symlink_metadata(dir) {
            Ok(own) => own,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).context(|| format!("cannot stat {}", dir.display())),
        };
        let Some(parent) = dir.parent() else { return Ok(true) };
        let parent = std::fs::symlink_metadata(parent).context(|| format!("cannot stat {}", parent.display()))?;
        Ok(own.is_dir() && own.dev() != parent.dev())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_tmpfs_is_limited_and_taken_away_again() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("v");
        std::fs::create_dir(&target).unwrap();
        assert!(!KernelMounts.is_mounted(&target).unwrap());
        KernelMounts.tmpfs(&target, Some(64 * 1024), 0o755).unwrap();
        assert!(KernelMounts.is_mounted(&target).unwrap());
        std::fs::write(target.join("small"), "x").unwrap();
        assert!(std::fs::write(target.join("large"), vec![0; 1 << 20]).is_err());
        assert!(super::super::beneath::remove_tree(&target).is_err(), "a mount is not entered");
        KernelMounts.unmount(&target).unwrap();
        assert!(!KernelMounts.is_mounted(&target).unwrap() && !target.join("small").exists());
    }
}
