//! Overlay mounts and their removal.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::chdir,
};

use crate::{Error, error::IoContext};

/// What `mount(2)` takes in its last argument: one page of the smallest kind.
const OPTIONS_BYTES: usize = 4095;

/// One overlay.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    /// Directory that holds the layers.
    pub layers: PathBuf,
    /// Names in it, base first.
    pub lower: Vec<String>,
    /// Where changes go.
    pub upper: PathBuf,
    /// Scratch space on the same file system as `upper`.
    pub work: PathBuf,
}

impl Overlay {
    /// Mounts it. Layers are named relative to their directory, so that 127 of them fit into the options; for that the
    /// mounting thread has a working directory of its own.
    pub(crate) fn mount(&self, target: &Path) -> Result<(), Error> {
        let lower: Vec<&str> = self.lower.iter().rev().map(String::as_str).collect();
        // Without these a layer could refer to files elsewhere in the stack and would depend on kernel defaults.
        let options = format!(
            "lowerdir={},upperdir={},workdir={},index=off,metacopy=off,redirect_dir=off",
            lower.join(":"),
            self.upper.display(),
            self.work.display(),
        );
        if options.len() > OPTIONS_BYTES {
            return Err(Error::image(format!("{} layers are too many for one mount", self.lower.len())));
        }
        let mounting = || -> nix::Result<()> {
            unshare(CloneFlags::CLONE_FS)?;
            chdir(&self.layers)?;
            mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        };
        std::thread::scope(|scope| scope.spawn(mounting).join().unwrap_or(Err(Errno::EIO)))
            .context(|| format!("mounting {} layers at {}", self.lower.len(), target.display()))
    }
}

/// Mounts a file or directory on another one.
pub(crate) fn bind(source: &Path, target: &Path) -> Result<(), Error> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .context(|| format!("binding {}", target.display()))?;
    mount(None::<&str>, target, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)
        .context(|| format!("making {} private", target.display()))
}

/// Mounts memory.
pub(crate) fn tmpfs(target: &Path, options: &str) -> Result<(), Error> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options))
        .context(|| format!("mounting {}", target.display()))
}

/// Mount points at or beneath a directory, the deepest first.
pub(crate) fn mounts_beneath(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let table = fs::read_to_string("/proc/self/mountinfo").context(|| "reading the mount table")?;
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescape(path)))
        .filter(|path| path.starts_with(directory))
        .collect();
    found.reverse();
    Ok(found)
}

/// Undoes the octal escapes of `/proc/self/mountinfo`.
fn unescape(path: &str) -> String {
    if !path.contains('\\') {
        return path.to_owned();
    }
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (escape, character)| path.replace(escape, character))
}

/// Unmounts everything at or beneath a directory and then removes it. If something stays mounted nothing is removed, since
/// that would delete what is mounted (CVE-2017-1002102).
pub(crate) fn remove_tree(directory: &Path) -> Result<(), Error> {
    let directory = match fs::canonicalize(directory) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context(|| format!("removing {}", directory.display())),
    };
    for point in mounts_beneath(&directory)? {
        match umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(error) => return Err(error).context(|| format!("unmounting {}", point.display())),
        }
    }
    if let Some(point) = mounts_beneath(&directory)?.first() {
        return Err(Error::Io {
            context: format!("removing {}: {} is still mounted", directory.display(), point.display()),
            source: Errno::EBUSY.into(),
        });
    }
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("removing {}", directory.display()))
        }
        _ => Ok(()),
    }
}
