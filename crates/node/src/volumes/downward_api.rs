//! `downwardAPI` volumes.

use k8s_openapi::api::core::v1::{DownwardAPIVolumeSource, Volume};

use super::{BoxFuture, Context, Mounted, VolumeType, atomic_writer, content};
use crate::error::Result;

pub(super) fn of(volume: &Volume) -> Option<Box<dyn VolumeType>> {
    volume.downward_api.clone().map(|source| Box::new(DownwardApiVolume(source)) as _)
}

struct DownwardApiVolume(DownwardAPIVolumeSource);

impl VolumeType for DownwardApiVolume {
    fn set_up<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted>> {
        Box::pin(async move {
            let mut payload = atomic_writer::Payload::new();
            let default = self.0.default_mode.unwrap_or(content::DEFAULT_MODE);
            content::add_fields(context, &mut payload, self.0.items.as_deref().unwrap_or_default(), default)?;
            atomic_writer::write(&context.dir, &payload, context.fs_group())?;
            Ok(Mounted { path: context.dir.clone(), read_only: true, renew: None })
        })
    }
}
