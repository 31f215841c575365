//! Removal and ownership of trees by file descriptor: links are never followed, other file systems never entered
//! (CVE-2017-1002102).

use std::{
    ffi::CString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat},
    sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat},
    unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat},
};

use crate::error::{Context, Error, Result};

/// Deeper trees are refused instead of exhausting descriptors or the stack.
const MAX_DEPTH: usize = 256;

const OPEN_DIR: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Removes `path` and everything below it. Succeeds when it does not exist.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    let context = || format!("cannot remove {}", path.display());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let parent = match open(parent, OPEN_DIR, Mode::empty()) {
        Ok(parent) => parent,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno).context(context),
    };
    let name = CString::new(name.as_encoded_bytes()).map_err(|_| Errno::EINVAL).context(context)?;
    let device = match fstatat(&parent, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => stat.st_dev,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno).context(context),
    };
    if device != fstat(&parent).context(context)?.st_dev {
        return Err(Errno::EXDEV).context(|| format!("{} is a mount point and is not entered", path.display()));
    }
    remove_entry(parent.as_fd(), &name, device, 0).context(context)
}

fn remove_entry(parent: BorrowedFd<'_>, name: &CString, device: u64, depth: usize) -> nix::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::ELOOP);
    }
    match unlinkat(parent, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    let fd = match openat(parent, name.as_c_str(), OPEN_DIR, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    if fstat(&fd)?.st_dev != device {
        return Err(Errno::EXDEV);
    }
    for (child, _) in entries(&fd)? {
        remove_entry(fd.as_fd(), &child, device, depth + 1)?;
    }
    match unlinkat(parent, name.as_c_str(), UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn entries(fd: &OwnedFd) -> nix::Result<Vec<(CString, Option<Type>)>> {
    let mut dir = Dir::openat(fd, ".", OPEN_DIR, Mode::empty())?;
    let mut result = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            result.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    Ok(result)
}

/// Gives `path` and everything below it to `group`, as `fsGroup` asks: group read and write, set-group-id directories.
/// With `only_on_mismatch` nothing is touched when the root already is as it should be.
pub(crate) fn give_to_group(path: &Path, group: u32, only_on_mismatch: bool) -> Result<()> {
    let context = || format!("cannot change the group of {} to {group}", path.display());
    // A link in the path of a hostPath volume is the administrator's business; below the volume none is followed.
    let root = open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    let root = match root {
        Ok(root) => root,
        // A volume that is a single file or a socket has no tree.
        Err(Errno::ENOTDIR | Errno::ENXIO) => {
            return fchownat(AT_FDCWD, path, None, Some(Gid::from_raw(group)), AtFlags::AT_SYMLINK_NOFOLLOW)
                .context(context);
        }
        Err(errno) => return Err(errno).context(context),
    };
    let stat = fstat(&root).context(context)?;
    if only_on_mismatch && stat.st_gid == group && stat.st_mode & 0o2070 == 0o2070 {
        return Ok(());
    }
    give_dir(&root, &stat, group, stat.st_dev, 0).context(context)
}

fn give_dir(dir: &OwnedFd, stat: &FileStat, group: u32, device: u64, depth: usize) -> nix::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::ELOOP);
    }
    let owner = (None::<Uid>, Some(Gid::from_raw(group)));
    for (name, _) in entries(dir)? {
        let child = match fstatat(dir, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(child) => child,
            Err(Errno::ENOENT) => continue,
            Err(errno) => return Err(errno),
        };
        if child.st_dev != device {
            continue;
        }
        let kind = SFlag::from_bits_truncate(child.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFDIR {
            let fd = openat(dir, name.as_c_str(), OPEN_DIR, Mode::empty())?;
            give_dir(&fd, &child, group, device, depth + 1)?;
        } else if kind == SFlag::S_IFREG {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
            let fd = openat(dir, name.as_c_str(), flags, Mode::empty())?;
            nix::unistd::fchown(&fd, owner.0, owner.1)?;
            fchmod(&fd, Mode::from_bits_truncate((child.st_mode & 0o7777) | 0o060))?;
        } else {
            fchownat(dir, name.as_c_str(), owner.0, owner.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
    }
    nix::unistd::fchown(dir, owner.0, owner.1)?;
    fchmod(dir, Mode::from_bits_truncate((stat.st_mode & 0o7777) | 0o2070))
}

/// Reads at most `limit` bytes from the end of a regular file without following a link, `None` when there is none.
pub(crate) fn read_tail(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    use std::io::{Read, Seek, SeekFrom};
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = match open(path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(errno).context(|| format!("cannot open {}", path.display())),
    };
    let mut file = std::fs::File::from(file);
    let read = |error: std::io::Error| Error::Io { context: format!("cannot read {}", path.display()), source: error };
    let meta = file.metadata().map_err(read)?;
    if !meta.is_file() {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(meta.len().saturating_sub(limit))).map_err(read)?;
    let mut data = Vec::new();
    file.take(limit).read_to_end(&mut data).map_err(read)?;
    Ok(Some(data))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn removal_takes_links_and_leaves_their_targets() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, tree) = (dir.path().join("victim"), dir.path().join("tree"));
        std::fs::create_dir_all(victim.join("sub")).unwrap();
        std::fs::write(victim.join("sub/file"), "keep").unwrap();
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        symlink(&victim, tree.join("a/link")).unwrap();
        symlink(victim.join("sub/file"), tree.join("a/b/file")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(std::fs::read_to_string(victim.join("sub/file")).unwrap(), "keep");
        remove_tree(&tree).unwrap();
        let link = dir.path().join("root-link");
        symlink(&victim, &link).unwrap();
        remove_tree(&link).unwrap();
        assert!(victim.join("sub/file").exists() && !link.exists());
    }

    #[test]
    fn a_tree_is_given_to_the_group_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, tree) = (dir.path().join("outside"), dir.path().join("tree"));
        std::fs::write(&outside, "x").unwrap();
        std::fs::create_dir_all(tree.join("sub")).unwrap();
        std::fs::write(tree.join("sub/file"), "x").unwrap();
        std::fs::set_permissions(tree.join("sub/file"), std::fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        let before = outside.metadata().unwrap();
        let group = if nix::unistd::geteuid().is_root() { 4242 } else { nix::unistd::getegid().as_raw() };
        give_to_group(&tree, group, false).unwrap();
        let file = tree.join("sub/file").metadata().unwrap();
        assert_eq!((file.gid(), file.mode() & 0o777), (group, 0o660));
        assert_eq!(tree.join("sub").metadata().unwrap().mode() & 0o2070, 0o2070);
        let after = outside.metadata().unwrap();
        assert_eq!((after.gid(), after.mode()), (before.gid(), before.mode()));
    }

    #[test]
    fn the_tail_is_bounded_and_links_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, "0123456789").unwrap();
        assert_eq!(read_tail(&file, 4).unwrap().unwrap(), b"6789");
        assert_eq!(read_tail(&dir.path().join("none"), 4).unwrap(), None);
        symlink("/etc/passwd", dir.path().join("l")).unwrap();
        assert!(read_tail(&dir.path().join("l"), 4).is_err());
    }
}
