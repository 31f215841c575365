//! `hostPath` volumes and their types.

use std::{
    os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::Volume;

use super::{BoxFuture, Context, Mounted, VolumeType};
use crate::error::{Context as _, Result};

pub(super) fn of(volume: &Volume) -> Option<Box<dyn VolumeType>> {
    let source = volume.host_path.as_ref()?;
    Some(Box::new(HostPath { path: source.path.clone(), kind: source.type_.clone().unwrap_or_default() }))
}

struct HostPath {
    path: String,
    kind: String,
}

impl VolumeType for HostPath {
    fn set_up<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted>> {
        Box::pin(async move {
            let path = check(context, &self.path, &self.kind, 0o755)?;
            Ok(Mounted { path, read_only: false, renew: None })
        })
    }
}

/// Checks the path against `kind` and creates what the kinds `…OrCreate` ask for (a directory with `create_mode`).
pub(super) fn check(context: &Context<'_>, path: &str, kind: &str, create_mode: u32) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    let parent = |part| matches!(part, std::path::Component::ParentDir);
    if !path.is_absolute() || path.components().any(parent) {
        return Err(context.error(format!("hostPath.path {} must be absolute and without ..", path.display())));
    }
    match kind {
        "DirectoryOrCreate" if !path.exists() => create_dir(&path, create_mode)?,
        "FileOrCreate" if !path.exists() => {
            let mut options = std::fs::OpenOptions::new();
            options
                .write(true)
                .create_new(true)
                .mode(0o644)
                .open(&path)
                .context(|| format!("cannot create file {}", path.display()))?;
        }
        _ => {}
    }
    let refuse = |what: &str| Err(context.error(format!("hostPath type check failed: {} {what}", path.display())));
    let Ok(meta) = path.metadata() else { return refuse("does not exist") };
    let file_type = meta.file_type();
    match kind {
        "" => {}
        "DirectoryOrCreate" | "Directory" if file_type.is_dir() => {}
        "DirectoryOrCreate" | "Directory" => return refuse("is not a directory"),
        "FileOrCreate" | "File" if file_type.is_file() => {}
        "FileOrCreate" | "File" => return refuse("is not a file"),
        "Socket" if file_type.is_socket() => {}
        "Socket" => return refuse("is not a socket file"),
        "CharDevice" if file_type.is_char_device() => {}
        "CharDevice" => return refuse("is not a character device"),
        "BlockDevice" if file_type.is_block_device() => {}
        "BlockDevice" => return refuse("is not a block device"),
        other => return Err(context.error(format!("hostPath.type {other} is not known"))),
    }
    Ok(path)
}

/// The last directory gets `mode` exactly, whatever the daemon's umask is.
fn create_dir(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let context = || format!("cannot create directory {}", path.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path).context(context)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).context(context)
}
