//! Applying a layer's tar stream to a directory tree.
//!
//! Every path is opened relative to the tree's root by the kernel (`RESOLVE_IN_ROOT`), so no link inside the tree or in the
//! archive can lead out of it, and the last component is never followed. The tree is a mounted overlay when there are layers
//! below, which makes whiteouts (image specification, "layer.md") ordinary removals. Device nodes are skipped: containers
//! get theirs from the runtime.
#![allow(unsafe_code)]

use std::{
    collections::HashSet,
    ffi::{CStr, CString, OsStr, OsString},
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    libc,
    sys::{
        stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, mkdirat, utimensat},
        time::TimeSpec,
    },
    unistd::{Gid, LinkatFlags, Uid, fchownat, linkat, symlinkat},
};
use tar::EntryType;

use crate::{
    Error,
    beneath::{Root, descriptor_path, is_plain_name},
};

/// Bytes that may always be unpacked before the ratio counts.
const RATIO_FREE_BYTES: u64 = 64 << 20;
/// Longest path in an archive (`PATH_MAX`).
const PATH_BYTES: usize = 4096;
/// Prefix that marks a removal.
const WHITEOUT: &[u8] = b".wh.";
/// Marks a directory that hides everything below.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The one extended attribute that programs depend on (`ping`), as PAX spells it.
const CAPABILITY: &str = "SCHILY.xattr.security.capability";
const CAPABILITY_ATTRIBUTE: &CStr = c"security.capability";

/// Bounds of one archive.
#[derive(Clone, Debug)]
pub(crate) struct UnpackLimits {
    /// Most bytes of all files together.
    pub bytes: u64,
    /// Most entries.
    pub entries: u64,
}

impl UnpackLimits {
    /// The limits for an archive that is `compressed` bytes long.
    pub(crate) fn new(limits: &crate::config::ImageLimits, compressed: u64) -> Self {
        let by_ratio = compressed.saturating_mul(limits.ratio).saturating_add(RATIO_FREE_BYTES);
        Self { bytes: limits.unpacked_bytes.min(by_ratio), entries: limits.entries }
    }
}

/// Applies `archive` (an uncompressed tar stream) to the tree at `target` and returns the bytes of all files in it.
pub(crate) fn unpack<R: Read>(archive: R, target: &Path, limits: &UnpackLimits) -> Result<u64, Error> {
    let root = Root::open(target)
        .map_err(|error| Error::Io { context: format!("opening {}", target.display()), source: error.into() })?;
    let base = fs::canonicalize(target)
        .map_err(|source| Error::Io { context: format!("resolving {}", target.display()), source })?;
    let mut unpacker =
        Unpacker { root, base, parent: None, touched: HashSet::new(), hasher: RandomState::new(), bytes: 0, limits };
    let mut archive = tar::Archive::new(archive);
    let entries =
        archive.entries().map_err(|error| Error::image(format!("the layer is not a tar archive: {error}")))?;
    let mut count = 0;
    for entry in entries {
        let mut entry = entry.map_err(|error| Error::image(format!("the layer's tar archive is broken: {error}")))?;
        count += 1;
        if count > limits.entries {
            return Err(Error::image(format!("the layer has more than {} entries", limits.entries)));
        }
        let name = entry.path_bytes().into_owned();
        unpacker
            .apply(&mut entry, &name)
            .map_err(|why| Error::image(format!("entry {:?}: {why}", String::from_utf8_lossy(&name))))?;
    }
    Ok(unpacker.bytes)
}

struct Unpacker<'a> {
    root: Root,
    base: PathBuf,
    /// The directory of the last entry, since entries of a directory follow each other.
    parent: Option<(PathBuf, OwnedFd, PathBuf)>,
    /// Hashes of the real paths that this archive has made or gone through; an opaque whiteout spares these.
    touched: HashSet<u64>,
    hasher: RandomState,
    bytes: u64,
    limits: &'a UnpackLimits,
}

/// Why an entry is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("its path leaves the image (\"..\")")]
    Traversal,
    #[error("the link's target {0:?} leaves the image (\"..\")")]
    LinkTraversal(String),
    #[error("the path is too long or contains a null byte")]
    Path,
    #[error("the whiteout names no file")]
    Whiteout,
    #[error("the link has no target")]
    NoTarget,
    #[error("hard link to {target:?}: {source}")]
    HardLink { target: String, source: Errno },
    #[error("archive entries of type {0:?} are not part of image layers")]
    Kind(EntryType),
    #[error("the owner {0} is not a user or group id")]
    Owner(u64),
    #[error("the layer's files exceed {0} bytes")]
    Size(u64),
    #[error("{0}: {1}")]
    Io(&'static str, #[source] io::Error),
}

fn step<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Refusal {
    move |error| Refusal::Io(what, error.into())
}

/// Splits an archive path into directory and name; both empty for the root itself. Leading slashes and `.` mean nothing.
fn split(path: &[u8], traversal: impl FnOnce() -> Refusal) -> Result<(PathBuf, OsString), Refusal> {
    if path.len() > PATH_BYTES || path.contains(&0) {
        return Err(Refusal::Path);
    }
    let mut components: Vec<&[u8]> = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(traversal()),
            name => components.push(name),
        }
    }
    let name = components.pop().unwrap_or_default();
    let directory = components.iter().map(|component| OsStr::from_bytes(component)).collect();
    Ok((directory, OsStr::from_bytes(name).to_owned()))
}

impl Unpacker<'_> {
    fn apply<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, path: &[u8]) -> Result<(), Refusal> {
        let mut kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::Char | EntryType::Block) {
            return Ok(());
        }
        if kind.is_file() && path.ends_with(b"/") {
            kind = EntryType::Directory;
        }
        let (directory, name) = split(path, || Refusal::Traversal)?;
        if name.is_empty() {
            return self.apply_root(entry, kind);
        }
        if name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(&directory, &name);
        }
        self.enter(&directory)?;
        let Some((_, parent, real)) = self.parent.take() else { return Err(Refusal::Path) };
        let result = self.create(entry, kind, &parent, &real, &name);
        // Replacing something may have changed where `directory` leads.
        if let Ok(false) = result {
            self.parent = Some((directory, parent, real));
        }
        result.map(|_| ())
    }

    fn apply_root<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, kind: EntryType) -> Result<(), Refusal> {
        if kind != EntryType::Directory {
            return Err(Refusal::Kind(kind));
        }
        let root = self
            .root
            .open_in(Path::new("."), OFlag::O_RDONLY | OFlag::O_DIRECTORY)
            .map_err(step("opening the root"))?;
        self.describe(entry, &File::from(root))
    }

    /// Makes `directory` the current parent.
    fn enter(&mut self, directory: &Path) -> Result<(), Refusal> {
        if self.parent.as_ref().is_some_and(|(current, ..)| current == directory) {
            return Ok(());
        }
        let descriptor = self.root.make_directories(directory).map_err(step("opening its directory"))?;
        let real = self.real_path(&descriptor)?;
        let mut prefix = PathBuf::new();
        for component in real.components() {
            prefix.push(component);
            self.touch(&prefix);
        }
        self.parent = Some((directory.to_owned(), descriptor, real));
        Ok(())
    }

    /// Where an open directory lies in the tree.
    fn real_path(&self, descriptor: &OwnedFd) -> Result<PathBuf, Refusal> {
        let path = fs::read_link(descriptor_path(descriptor)).map_err(step("resolving its directory"))?;
        path.strip_prefix(&self.base).map(Path::to_owned).map_err(|_| Refusal::Traversal)
    }

    fn touch(&mut self, path: &Path) {
        self.touched.insert(self.hasher.hash_one(path));
    }

    fn is_touched(&self, path: &Path) -> bool {
        self.touched.contains(&self.hasher.hash_one(path))
    }

    /// Creates the entry; says whether something was replaced.
    fn create<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        kind: EntryType,
        parent: &OwnedFd,
        real: &Path,
        name: &OsStr,
    ) -> Result<bool, Refusal> {
        let existing = match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())),
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(step("looking for it")(error)),
        };
        let keeps_directory = kind == EntryType::Directory && existing == Some(SFlag::S_IFDIR);
        let replaces = existing.is_some() && !keeps_directory;
        if kind == EntryType::Link {
            self.hard_link(entry, parent, name, replaces)?;
            self.touch(&real.join(name));
            return Ok(replaces);
        }
        if replaces {
            remove(parent, name).map_err(step("replacing it"))?;
        }
        self.touch(&real.join(name));
        let private = Mode::from_bits_truncate(0o600);
        match kind {
            EntryType::Directory => {
                if !keeps_directory {
                    mkdirat(parent, name, Mode::from_bits_truncate(0o700)).map_err(step("making the directory"))?;
                }
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let directory = openat(parent, name, flags, Mode::empty()).map_err(step("opening the directory"))?;
                self.describe(entry, &File::from(directory))?;
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or(Refusal::NoTarget)?.into_owned();
                if target.is_empty() || target.len() > PATH_BYTES || target.contains(&0) {
                    return Err(Refusal::NoTarget);
                }
                symlinkat(OsStr::from_bytes(&target), parent, name).map_err(step("making the link"))?;
                let (user, group) = owner(entry)?;
                fchownat(parent, name, Some(user), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)
                    .map_err(step("setting the owner"))?;
                let time = modified(entry);
                utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)
                    .map_err(step("setting the time"))?;
            }
            EntryType::Fifo => {
                let name_c = CString::new(name.as_bytes()).map_err(|_| Refusal::Path)?;
                // SAFETY: `parent` is an open descriptor and `name_c` a null-terminated string that outlives the call.
                let made = unsafe { libc::mkfifoat(parent.as_raw_fd(), name_c.as_ptr(), private.bits()) };
                Errno::result(made).map_err(step("making the pipe"))?;
                let (user, group) = owner(entry)?;
                fchownat(parent, name, Some(user), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)
                    .map_err(step("setting the owner"))?;
                fchmodat(parent, name, mode(entry), FchmodatFlags::FollowSymlink).map_err(step("setting the mode"))?;
            }
            kind if kind.is_file() || matches!(kind, EntryType::Continuous | EntryType::GNUSparse) => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let mut file = File::from(openat(parent, name, flags, private).map_err(step("creating it"))?);
                self.copy(entry, &mut file)?;
                self.describe(entry, &file)?;
            }
            other => return Err(Refusal::Kind(other)),
        }
        Ok(replaces)
    }

    fn copy<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, file: &mut File) -> Result<(), Refusal> {
        let mut buffer = [0; 64 << 10];
        loop {
            let count = match entry.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Refusal::Io("reading it", error)),
            };
            self.bytes += count as u64;
            if self.bytes > self.limits.bytes {
                return Err(Refusal::Size(self.limits.bytes));
            }
            file.write_all(&buffer[..count]).map_err(step("writing it"))?;
        }
    }

    fn hard_link<R: Read>(
        &mut self,
        entry: &tar::Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
        replaces: bool,
    ) -> Result<(), Refusal> {
        let target = entry.link_name_bytes().ok_or(Refusal::NoTarget)?;
        let shown = || String::from_utf8_lossy(&target).into_owned();
        let (directory, target_name) = split(&target, || Refusal::LinkTraversal(shown()))?;
        if target_name.is_empty() {
            return Err(Refusal::NoTarget);
        }
        let failed = |source| Refusal::HardLink { target: shown(), source };
        let from = self.root.open_in(&directory, OFlag::O_PATH | OFlag::O_DIRECTORY).map_err(failed)?;
        let found = fstatat(&from, target_name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed)?;
        if replaces {
            let own = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed)?;
            if (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino) {
                return Ok(());
            }
            remove(parent, name).map_err(step("replacing it"))?;
        }
        linkat(&from, target_name.as_os_str(), parent, name, LinkatFlags::empty()).map_err(failed)
    }

    fn whiteout(&mut self, directory: &Path, name: &OsStr) -> Result<(), Refusal> {
        let descriptor = match self.root.open_in(directory, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Ok(descriptor) => descriptor,
            // Hiding something that is not there.
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            Err(error) => return Err(step("opening its directory")(error)),
        };
        let real = self.real_path(&descriptor)?;
        self.parent = None;
        if name.as_bytes() == OPAQUE {
            return self.hide_below(&descriptor, &real).map_err(step("hiding what is below"));
        }
        let hidden = OsStr::from_bytes(name.as_bytes().strip_prefix(WHITEOUT).unwrap_or_default());
        if hidden.as_bytes().starts_with(WHITEOUT) {
            // Bookkeeping of aufs (`.wh..wh.plnk`), which the specification reserves.
            return Ok(());
        }
        if !is_plain_name(hidden) {
            return Err(Refusal::Whiteout);
        }
        if self.is_touched(&real.join(hidden)) {
            return Ok(());
        }
        match remove(&descriptor, hidden) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(step("removing what it hides")),
        }
    }

    /// Removes what lower layers have in a directory and leaves what this archive has put there.
    fn hide_below(&self, directory: &OwnedFd, real: &Path) -> io::Result<()> {
        for child in fs::read_dir(descriptor_path(directory))? {
            let child = child?;
            let path = real.join(child.file_name());
            if !self.is_touched(&path) {
                remove(directory, &child.file_name())?;
            } else if child.file_type()?.is_dir() {
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let below = openat(directory, child.file_name().as_os_str(), flags, Mode::empty())?;
                self.hide_below(&below, &path)?;
            }
        }
        Ok(())
    }

    /// Sets owner, mode, file capability and time, in the order in which they do not undo each other.
    fn describe<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, file: &File) -> Result<(), Refusal> {
        let (user, group) = owner(entry)?;
        std::os::unix::fs::fchown(file, Some(user.as_raw()), Some(group.as_raw()))
            .map_err(step("setting the owner"))?;
        fchmod(file, mode(entry)).map_err(step("setting the mode"))?;
        let time = modified(entry);
        let capability = match entry.pax_extensions() {
            Ok(Some(extensions)) => extensions
                .flatten()
                .find(|extension| extension.key() == Ok(CAPABILITY))
                .map(|extension| extension.value_bytes().to_vec()),
            _ => None,
        };
        if let Some(value) = capability {
            // SAFETY: the descriptor is open; name and value point at live memory of the stated length.
            let set = unsafe {
                libc::fsetxattr(file.as_raw_fd(), CAPABILITY_ATTRIBUTE.as_ptr(), value.as_ptr().cast(), value.len(), 0)
            };
            Errno::result(set).map_err(step("setting the file's capabilities"))?;
        }
        nix::sys::stat::futimens(file, &time, &time).map_err(step("setting the time"))
    }
}

fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let path = descriptor_path(parent).join(name);
    if fs::symlink_metadata(&path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn owner<R: Read>(entry: &tar::Entry<'_, R>) -> Result<(Uid, Gid), Refusal> {
    // 4294967295 means "unchanged" to chown(2).
    let id = |value: u64| u32::try_from(value).ok().filter(|id| *id != u32::MAX).ok_or(Refusal::Owner(value));
    let user = entry.header().uid().map_err(step("reading its owner"))?;
    let group = entry.header().gid().map_err(step("reading its group"))?;
    Ok((Uid::from_raw(id(user)?), Gid::from_raw(id(group)?)))
}

fn mode<R: Read>(entry: &tar::Entry<'_, R>) -> Mode {
    Mode::from_bits_truncate(entry.header().mode().unwrap_or(0o644) & 0o7777)
}

fn modified<R: Read>(entry: &tar::Entry<'_, R>) -> TimeSpec {
    // Years beyond 2446 do not fit ext4's inodes.
    const LATEST: u64 = 15_032_385_535;
    let seconds = entry.header().mtime().unwrap_or(0).min(LATEST);
    TimeSpec::new(seconds as libc::time_t, 0)
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
