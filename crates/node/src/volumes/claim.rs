//! `persistentVolumeClaim` (and generic `ephemeral`) volumes whose PersistentVolume is a path of this node.

use k8s_openapi::api::core::v1::Volume;

use super::{BoxFuture, Context, Mounted, VolumeType, host_path, ownership};
use crate::error::Result;

pub(super) fn of(volume: &Volume) -> Option<Box<dyn VolumeType>> {
    if let Some(source) = &volume.persistent_volume_claim {
        let read_only = source.read_only.unwrap_or(false);
        return Some(Box::new(Claim { name: Some(source.claim_name.clone()), read_only }));
    }
    volume.ephemeral.as_ref().map(|_| Box::new(Claim { name: None, read_only: false }) as _)
}

struct Claim {
    /// `None` for a generic ephemeral volume, whose claim is called `<pod>-<volume>`.
    name: Option<String>,
    read_only: bool,
}

impl VolumeType for Claim {
    fn set_up<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted>> {
        Box::pin(async move {
            let pod = &context.pod.metadata;
            let name = match &self.name {
                Some(name) => name.clone(),
                None => format!("{}-{}", pod.name.as_deref().unwrap_or_default(), context.name),
            };
            let claim = context
                .sources
                .claim(context.namespace(), &name)
                .ok_or_else(|| context.error(format!("persistentvolumeclaim \"{name}\" not found")))?;
            if self.name.is_none() {
                let owned =
                    claim.metadata.owner_references.iter().flatten().any(|owner| Some(&owner.uid) == pod.uid.as_ref());
                if !owned {
                    return Err(context.error(format!("persistentvolumeclaim \"{name}\" does not belong to this pod")));
                }
            }
            let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
            let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
            if phase != "Bound" || volume.is_empty() {
                return Err(context.error(format!("persistentvolumeclaim \"{name}\" is not bound yet (phase {phase})")));
            }
            let volume = context
                .sources
                .persistent_volume(volume)
                .ok_or_else(|| context.error(format!("persistentvolume \"{volume}\" not found")))?;
            let spec = volume.spec.as_ref();
            let path = match spec.map(|spec| (&spec.host_path, &spec.local)) {
                // A container that is not root must be able to write to a directory that was made for it.
                Some((Some(source), _)) => {
                    host_path::check(context, &source.path, source.type_.as_deref().unwrap_or_default(), 0o777)?
                }
                Some((None, Some(source))) => host_path::check(context, &source.path, "", 0o777)?,
                _ => {
                    let volume = volume.metadata.name.as_deref().unwrap_or_default();
                    return Err(context.error(format!(
                        "persistentvolume \"{volume}\" is neither of type hostPath nor local, which this node supports"
                    )));
                }
            };
            if !self.read_only {
                ownership::apply(context, &path).await?;
            }
            Ok(Mounted { path, read_only: self.read_only, renew: None })
        })
    }
}
