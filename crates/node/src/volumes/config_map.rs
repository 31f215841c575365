//! `configMap` volumes.

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, Volume};

use super::{BoxFuture, Context, Mounted, VolumeType, atomic_writer, content};
use crate::error::Result;

pub(super) fn of(volume: &Volume) -> Option<Box<dyn VolumeType>> {
    volume.config_map.clone().map(|source| Box::new(ConfigMapVolume(source)) as _)
}

struct ConfigMapVolume(ConfigMapVolumeSource);

impl VolumeType for ConfigMapVolume {
    fn set_up<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted>> {
        Box::pin(async move {
            let (source, optional) = (&self.0, self.0.optional == Some(true));
            let map = context.sources.config_map(context.namespace(), &source.name);
            let mut payload = atomic_writer::Payload::new();
            match &map {
                Some(map) => {
                    let default = source.default_mode.unwrap_or(content::DEFAULT_MODE);
                    let data = content::of_config_map(map);
                    content::add_keys(context, &mut payload, &data, source.items.as_deref(), default, optional)?;
                }
                None if optional => {}
                None => return Err(context.error(format!("configmap \"{}\" not found", source.name))),
            }
            atomic_writer::write(&context.dir, &payload, context.fs_group())?;
            Ok(Mounted { path: context.dir.clone(), read_only: true, renew: None })
        })
    }
}
