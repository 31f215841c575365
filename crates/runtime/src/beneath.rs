//! Opening paths that somebody else chose, without leaving a root (`openat2(2)`).

use std::{
    ffi::OsStr,
    fs::File,
    io::Read,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat},
};

/// A directory out of which nothing opened here can lead.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

/// `openat2` gives up with EAGAIN when something was renamed meanwhile; so many attempts are made.
const ATTEMPTS: usize = 32;

impl Root {
    /// Opens the directory itself; `path` is trusted.
    pub(crate) fn open(path: &Path) -> nix::Result<Self> {
        nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).map(Self)
    }

    /// Opens `path` as a process would whose root this directory is: links are followed, absolute ones from the root.
    pub(crate) fn open_in(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        self.resolve(path, flags, ResolveFlag::RESOLVE_IN_ROOT)
    }

    /// Opens `path` only if neither it nor a link on the way leads outside.
    pub(crate) fn open_beneath(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        self.resolve(path, flags, ResolveFlag::RESOLVE_BENEATH)
    }

    fn resolve(&self, path: &Path, flags: OFlag, resolve: ResolveFlag) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let mut attempts = 0;
        loop {
            match openat2(&self.0, path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) if attempts < ATTEMPTS => attempts += 1,
                other => return other,
            }
        }
    }

    /// The root itself.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.0
    }

    /// Opens a directory (`O_PATH`), making what is missing with mode 0755. Links are followed within the root.
    pub(crate) fn make_directories(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.make(path, ResolveFlag::RESOLVE_IN_ROOT, Mode::from_bits_truncate(0o755))
    }

    /// Like [`Self::make_directories`], but a link that leads outside is an error.
    pub(crate) fn make_directories_beneath(&self, path: &Path, mode: Mode) -> nix::Result<OwnedFd> {
        self.make(path, ResolveFlag::RESOLVE_BENEATH, mode)
    }

    fn make(&self, path: &Path, resolve: ResolveFlag, mode: Mode) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        match self.resolve(path, flags, resolve) {
            Err(Errno::ENOENT) => {}
            other => return other,
        }
        let mut reached = PathBuf::new();
        let mut directory = self.resolve(Path::new("."), flags, resolve)?;
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::ParentDir => return Err(Errno::EXDEV),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            };
            reached.push(name);
            directory = match self.resolve(&reached, flags, resolve) {
                Ok(next) => next,
                Err(Errno::ENOENT) => {
                    let made = match mkdirat(&directory, name, mode) {
                        Ok(()) => true,
                        Err(Errno::EEXIST) => false,
                        Err(error) => return Err(error),
                    };
                    let next = self.resolve(&reached, flags, resolve)?;
                    if made {
                        // The process's umask has taken bits away.
                        fchmodat(AT_FDCWD, &descriptor_path(&next), mode, FchmodatFlags::FollowSymlink)?;
                    }
                    next
                }
                Err(error) => return Err(error),
            };
        }
        Ok(directory)
    }

    /// Reads a regular file of at most `limit` bytes; `None` when there is none.
    pub(crate) fn read_file(&self, path: &Path, limit: u64) -> std::io::Result<Option<Vec<u8>>> {
        let file = match self.open_in(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        if metadata.len() > limit {
            return Err(std::io::Error::other(format!("/{} is larger than {limit} bytes", path.display())));
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

/// A name for the file behind a descriptor that calls taking a path accept.
pub(crate) fn descriptor_path(descriptor: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd()))
}

/// Whether `name` can be one component of a path.
pub(crate) fn is_plain_name(name: &OsStr) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(only)) if only == name) && components.next().is_none()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::{
        fs,
        os::unix::fs::{MetadataExt, symlink},
    };

    use super::*;

    #[test]
    fn absolute_links_stay_in_the_root() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("etc")).unwrap();
        fs::write(directory.path().join("etc/passwd"), "inside").unwrap();
        symlink("/etc", directory.path().join("link")).unwrap();
        symlink("../../../../../etc", directory.path().join("up")).unwrap();
        let root = Root::open(directory.path()).unwrap();
        for path in ["etc/passwd", "/link/passwd", "up/passwd", "../../etc/passwd"] {
            assert_eq!(root.read_file(Path::new(path), 100).unwrap().unwrap(), b"inside", "{path}");
        }
        assert_eq!(root.open_beneath(Path::new("link/passwd"), OFlag::O_PATH).unwrap_err(), Errno::EXDEV);
        assert_eq!(root.open_beneath(Path::new("../x"), OFlag::O_PATH).unwrap_err(), Errno::EXDEV);
    }

    #[test]
    fn directories_are_made_through_links_but_not_outside() {
        let directory = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), directory.path().join("away")).unwrap();
        let root = Root::open(directory.path()).unwrap();
        assert!(root.make_directories_beneath(Path::new("away/x"), Mode::from_bits_truncate(0o750)).is_err());
        // In the root's own view the link's target is a path that does not exist there.
        let _ = root.make_directories(Path::new("away/x"));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        root.make_directories_beneath(Path::new("a/b/c"), Mode::from_bits_truncate(0o750)).unwrap();
        assert!(directory.path().join("a/b/c").is_dir());
        // The setgid bit and write access for the group survive the umask.
        root.make_directories_beneath(Path::new("shared/x"), Mode::from_bits_truncate(0o2775)).unwrap();
        for made in ["shared", "shared/x"] {
            let mode = fs::metadata(directory.path().join(made)).unwrap().mode() & 0o7777;
            assert_eq!(mode, 0o2775, "{made}");
        }
    }

    #[test]
    fn a_fifo_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&directory.path().join("passwd"), Mode::from_bits_truncate(0o600)).unwrap();
        let root = Root::open(directory.path()).unwrap();
        assert!(root.read_file(Path::new("passwd"), 100).unwrap().is_none());
    }
}
