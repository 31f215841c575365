//! `emptyDir` volumes, on disk or in memory; they live as long as the pod.

use std::os::unix::fs::PermissionsExt;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Volume};

use super::{BoxFuture, Context, Mounted, VolumeType, ownership};
use crate::{
    containers::resources,
    error::{Context as _, Result},
};

pub(super) fn of(volume: &Volume) -> Option<Box<dyn VolumeType>> {
    volume.empty_dir.clone().map(|source| Box::new(EmptyDir(source)) as _)
}

/// A volume without a source.
pub(super) fn plain() -> Box<dyn VolumeType> {
    Box::new(EmptyDir(EmptyDirVolumeSource::default()))
}

struct EmptyDir(EmptyDirVolumeSource);

impl VolumeType for EmptyDir {
    fn set_up<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted>> {
        Box::pin(async move {
            match self.0.medium.as_deref().unwrap_or_default() {
                "" => {
                    let permissions = std::fs::Permissions::from_mode(0o777);
                    let meta = context.dir.metadata().context(|| format!("cannot stat {}", context.dir.display()))?;
                    // Only a fresh directory: a mode that a container has set since is its own.
                    if meta.permissions().mode() & 0o777 == 0o755 {
                        std::fs::set_permissions(&context.dir, permissions)
                            .context(|| format!("cannot set the mode of {}", context.dir.display()))?;
                    }
                }
                "Memory" => {
                    if !context.mounts.is_mounted(&context.dir)? {
                        let limit = self.0.size_limit.as_ref().and_then(resources::units);
                        let limit = limit.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
                        context.mounts.tmpfs(&context.dir, limit, 0o777)?;
                    }
                }
                medium => return Err(context.error(format!("emptyDir.medium {medium} is not supported by this node"))),
            }
            ownership::apply(context, &context.dir).await?;
            Ok(Mounted { path: context.dir.clone(), read_only: false, renew: None })
        })
    }
}
