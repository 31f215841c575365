//! Files that are either old or new after a crash, never in between.
//!
//! What must outlive a power loss is written with [`write()`]: images. The state of pods is written with [`replace()`]: it must
//! outlive the daemon, but describes processes that a power loss ends, and a sync costs more than the rest of a pod's start.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, error::IoContext};

/// Largest state file that is read back.
const STATE_BYTES: u64 = 64 << 20;

/// Replaces `path` with `bytes`: temporary file, fsync, rename, fsync of the directory.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace_after(path, bytes, |file, temporary| {
        file.sync_data().context(|| format!("syncing {}", temporary.display()))
    })?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Replaces `path` with `bytes` so that a process that is killed, or another one that reads, leaves or finds the old or the new
/// content. After a power loss it may also be missing or cut off.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace_after(path, bytes, |_, _| Ok(()))
}

fn replace_after(
    path: &Path,
    bytes: &[u8],
    before_rename: impl FnOnce(&File, &Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = Path::new(&name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)
        .context(|| format!("creating {}", temporary.display()))?;
    file.write_all(bytes).context(|| format!("writing {}", temporary.display()))?;
    before_rename(&file, temporary)?;
    fs::rename(temporary, path).context(|| format!("replacing {}", path.display()))
}

/// Makes renames and creations in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), Error> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .context(|| format!("syncing {}", directory.display()))
}

/// [`write()`] of a value as JSON.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    write(path, &encode(path, value)?)
}

/// [`replace()`] with a value as JSON.
pub(crate) fn replace_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    replace(path, &encode(path, value)?)
}

fn encode<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(std::io::Error::from).context(|| format!("encoding {}", path.display()))
}

/// Reads a value as JSON; `None` when the file does not exist.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(|| format!("reading {}", path.display())),
    };
    if length > STATE_BYTES {
        return Err(Error::InvalidInput { message: format!("{} is larger than a state file can be", path.display()) });
    }
    let bytes = fs::read(path).context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(std::io::Error::from)
        .context(|| format!("parsing {}", path.display()))
}
