//! The directories behind provisioned volumes.
//!
//! Their content belongs to containers, which may be hostile: removal goes from directory to directory by file
//! descriptor, follows no symbolic link, crosses no mount point and cannot leave the volumes directory.

use std::{
    ffi::{CStr, CString},
    fs::{self, DirBuilder, Permissions},
    io,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::OFlag,
    sys::stat::{Mode, fstat},
    unistd::{UnlinkatFlags, unlinkat},
};

use crate::Error;

/// Deeper trees are refused: each level holds a descriptor open.
const MAX_DEPTH: usize = 512;

/// The directory of a volume, or `None` if the name is not one that may stand in a path.
pub(super) fn path(volumes_dir: &Path, volume: &str) -> Option<PathBuf> {
    let ordinary = !volume.is_empty()
        && volume.len() <= 253
        && !volume.starts_with('.')
        && volume.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
    ordinary.then(|| volumes_dir.join(volume))
}

/// Creates the directory of a volume, writable by whatever user its pod runs as. One that exists is kept with its data.
pub(super) fn create(volumes_dir: &Path, volume: &str) -> Result<PathBuf, Error> {
    let Some(path) = path(volumes_dir, volume) else {
        return Err(Error::invalid(format!("PersistentVolume {volume}: the name cannot be used as a directory name")));
    };
    let failed = |source| Error::Directory { action: "create", path: path.clone(), source };
    DirBuilder::new().recursive(true).mode(0o711).create(volumes_dir).map_err(failed)?;
    match DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => fs::set_permissions(&path, Permissions::from_mode(0o777)).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let kind = fs::symlink_metadata(&path).map_err(failed)?.file_type();
            if !kind.is_dir() {
                return Err(failed(io::Error::new(io::ErrorKind::NotADirectory, "something else has this name")));
            }
        }
        Err(error) => return Err(failed(error)),
    }
    Ok(path)
}

/// Removes the directory of a volume with everything in it. One that is gone already is a success.
pub(super) fn remove(volumes_dir: &Path, volume: &str) -> Result<(), Error> {
    let Some(path) = path(volumes_dir, volume) else {
        return Err(Error::invalid(format!("PersistentVolume {volume}: the name cannot be a directory of ours")));
    };
    let failed = |errno: Errno| Error::Directory { action: "remove", path: path.clone(), source: errno.into() };
    let name = CString::new(volume).map_err(|_| failed(Errno::EINVAL))?;
    let root = match open(nix::fcntl::AT_FDCWD, volumes_dir) {
        Ok(root) => root,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    };
    let device = fstat(root.as_fd()).map_err(failed)?.st_dev;
    match empty(&root, &name, device, 0) {
        Ok(()) => {}
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    }
    match unlinkat(root.as_fd(), name.as_c_str(), UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}

fn open<P: ?Sized + nix::NixPath, F: AsFd>(parent: F, name: &P) -> Result<Dir, Errno> {
    Dir::openat(
        parent,
        name,
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

/// Removes everything below `parent/name`.
fn empty(parent: &Dir, name: &CStr, device: nix::libc::dev_t, depth: usize) -> Result<(), Errno> {
    if depth > MAX_DEPTH {
        return Err(Errno::ENAMETOOLONG);
    }
    let mut directory = open(parent.as_fd(), name)?;
    // Another file system is mounted here; its files are not the volume's.
    if fstat(directory.as_fd())?.st_dev != device {
        return Err(Errno::EXDEV);
    }
    let mut entries = Vec::new();
    for entry in directory.iter() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            entries.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    for (name, kind) in entries {
        let is_directory = match kind {
            Some(kind) => kind == Type::Directory,
            // The file system does not say: a removal as a file tells.
            None => false,
        };
        if is_directory {
            remove_tree(&directory, &name, device, depth)?;
            continue;
        }
        match unlinkat(directory.as_fd(), name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(Errno::EISDIR | Errno::EPERM) => remove_tree(&directory, &name, device, depth)?,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn remove_tree(parent: &Dir, name: &CStr, device: nix::libc::dev_t, depth: usize) -> Result<(), Errno> {
    match empty(parent, name, device, depth + 1).and_then(|()| unlinkat(parent.as_fd(), name, UnlinkatFlags::RemoveDir))
    {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn removal_never_leaves_the_volumes_directory() {
        let base = tempfile::tempdir().unwrap();
        let volumes = base.path().join("volumes");
        let outside = base.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "x").unwrap();

        let path = create(&volumes, "pvc-1").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
        fs::create_dir_all(path.join("a/b/c")).unwrap();
        fs::write(path.join("a/b/file"), "x").unwrap();
        symlink(&outside, path.join("a/link")).unwrap();
        symlink(outside.join("precious"), path.join("file-link")).unwrap();
        remove(&volumes, "pvc-1").unwrap();
        assert!(!path.exists());
        assert!(outside.join("precious").exists());

        // A volume directory that was replaced by a link is not followed either.
        symlink(&outside, volumes.join("pvc-2")).unwrap();
        assert!(remove(&volumes, "pvc-2").is_err());
        assert!(outside.join("precious").exists());
        for name in ["..", ".", "", "a/b", "../outside", ".hidden"] {
            assert!(remove(&volumes, name).is_err(), "{name}");
            assert!(create(&volumes, name).is_err(), "{name}");
        }
        assert!(outside.join("precious").exists());
    }

    #[test]
    fn creating_twice_keeps_the_data_and_removing_twice_is_fine() {
        let base = tempfile::tempdir().unwrap();
        let path = create(base.path(), "pvc-1").unwrap();
        fs::write(path.join("data"), "x").unwrap();
        create(base.path(), "pvc-1").unwrap();
        assert!(path.join("data").exists());
        remove(base.path(), "pvc-1").unwrap();
        remove(base.path(), "pvc-1").unwrap();
    }
}
