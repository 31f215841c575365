//! What the mounts of a container show.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use nix::{fcntl::OFlag, sys::stat::Mode};

use crate::{
    Error, Mount, MountSource,
    beneath::{Root, descriptor_path},
    error::IoContext,
    snapshot,
};

/// Finds what a mount shows. A `subPath` is resolved by the kernel beneath its volume and bound by descriptor to a place of
/// ours, so that nobody can change afterwards what it leads to (CVE-2021-25741).
pub(super) fn source(mount: &Mount, place: &Path) -> Result<PathBuf, Error> {
    let MountSource::Bind { path, sub_path, .. } = &mount.source else { return Ok(PathBuf::new()) };
    if !mount.destination.is_absolute() {
        return Err(Error::start(format!("mount path {} must be absolute", mount.destination.display())));
    }
    let missing = |error: nix::Error| Error::start(format!("mount source {}: {}", path.display(), error.desc()));
    let Some(sub_path) = sub_path.as_ref().filter(|sub_path| !sub_path.as_os_str().is_empty()) else {
        fs::metadata(path).map_err(|error| Error::start(format!("mount source {}: {error}", path.display())))?;
        return Ok(path.clone());
    };
    let root = Root::open(path).map_err(missing)?;
    let refuse = |error: nix::Error| {
        Error::start(format!(
            "subPath {:?} of {}: {}",
            sub_path,
            path.display(),
            match error {
                nix::Error::EXDEV => "it leads outside of the volume",
                other => other.desc(),
            }
        ))
    };
    if sub_path.is_absolute() || sub_path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(refuse(nix::Error::EXDEV));
    }
    let found = match root.open_beneath(sub_path, OFlag::O_PATH) {
        Err(nix::Error::ENOENT) => {
            // As open as the volume itself: what `fsGroup` may write to, it may write to here.
            let mode = nix::sys::stat::fstat(root.descriptor()).map_err(refuse)?.st_mode;
            root.make_directories_beneath(sub_path, Mode::from_bits_truncate(mode)).map_err(refuse)?
        }
        other => other.map_err(refuse)?,
    };
    let is_directory = nix::sys::stat::fstat(&found).map_err(refuse)?.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR;
    let made = if is_directory { fs::create_dir(place) } else { File::create_new(place).map(|_| ()) };
    made.context(|| format!("making {}", place.display()))?;
    snapshot::bind(&descriptor_path(&found), place)?;
    Ok(place.to_owned())
}
