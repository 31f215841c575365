//! `secret` volumes: in memory, never on disk.

use k8s_openapi::api::core::v1::{SecretVolumeSource, Volume};

use super::{BoxFuture, Context, Mounted, VolumeType, atomic_writer, content};
use crate::error::Result;

pub(super) fn of(volume: &Volume) -> Option<Box<dyn VolumeType>> {
    volume.secret.clone().map(|source| Box::new(SecretVolume(source)) as _)
}

struct SecretVolume(SecretVolumeSource);

impl VolumeType for SecretVolume {
    fn set_up<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted>> {
        Box::pin(async move {
            let (source, optional) = (&self.0, self.0.optional == Some(true));
            let name = source.secret_name.as_deref().unwrap_or_default();
            let secret = context.sources.secret(context.namespace(), name);
            let mut payload = atomic_writer::Payload::new();
            match &secret {
                Some(secret) => {
                    let default = source.default_mode.unwrap_or(content::DEFAULT_MODE);
                    let data = content::of_secret(secret);
                    content::add_keys(context, &mut payload, &data, source.items.as_deref(), default, optional)?;
                }
                None if optional => {}
                None => return Err(context.error(format!("secret \"{name}\" not found"))),
            }
            context.in_memory()?;
            atomic_writer::write(&context.dir, &payload, context.fs_group())?;
            Ok(Mounted { path: context.dir.clone(), read_only: true, renew: None })
        })
    }
}

// === impl Context ===

impl Context<'_> {
    /// Puts the volume's directory into memory, once.
    pub(super) fn in_memory(&self) -> Result<()> {
        if !self.mounts.is_mounted(&self.dir)? {
            self.mounts.tmpfs(&self.dir, None, 0o755)?;
        }
        Ok(())
    }
}
