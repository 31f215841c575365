//! `projected` volumes: tokens, ConfigMaps, Secrets and fields in one directory, in memory.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PodSpec, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume};

use super::{
    BoxFuture, Context, Mounted, VolumeType,
    atomic_writer::{self, File, Payload},
    content,
};
use crate::error::Result;

pub(super) fn of(volume: &Volume) -> Option<Box<dyn VolumeType>> {
    volume.projected.clone().map(|source| Box::new(Projected(source)) as _)
}

struct Projected(ProjectedVolumeSource);

impl VolumeType for Projected {
    fn set_up<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted>> {
        Box::pin(async move {
            let default = self.0.default_mode.unwrap_or(content::DEFAULT_MODE);
            let mut payload = Payload::new();
            let mut renew: Option<Duration> = None;
            for source in self.0.sources.iter().flatten() {
                if let Some(projection) = &source.service_account_token {
                    let after = add_token(context, &mut payload, projection, default).await?;
                    renew = Some(renew.map_or(after, |old| old.min(after)));
                } else if let Some(projection) = &source.config_map {
                    let optional = projection.optional == Some(true);
                    match context.sources.config_map(context.namespace(), &projection.name) {
                        Some(map) => {
                            let (data, items) = (content::of_config_map(&map), projection.items.as_deref());
                            content::add_keys(context, &mut payload, &data, items, default, optional)?;
                        }
                        None if optional => {}
                        None => return Err(context.error(format!("configmap \"{}\" not found", projection.name))),
                    }
                } else if let Some(projection) = &source.secret {
                    let optional = projection.optional == Some(true);
                    match context.sources.secret(context.namespace(), &projection.name) {
                        Some(secret) => {
                            let (data, items) = (content::of_secret(&secret), projection.items.as_deref());
                            content::add_keys(context, &mut payload, &data, items, default, optional)?;
                        }
                        None if optional => {}
                        None => return Err(context.error(format!("secret \"{}\" not found", projection.name))),
                    }
                } else if let Some(projection) = &source.downward_api {
                    let items = projection.items.as_deref().unwrap_or_default();
                    content::add_fields(context, &mut payload, items, default)?;
                } else {
                    return Err(context.error(
                        "projected sources other than serviceAccountToken, configMap, secret and downwardAPI are not \
                         supported by this node",
                    ));
                }
            }
            context.in_memory()?;
            atomic_writer::write(&context.dir, &payload, context.fs_group())?;
            Ok(Mounted { path: context.dir.clone(), read_only: true, renew })
        })
    }
}

async fn add_token(
    context: &Context<'_>,
    payload: &mut Payload,
    projection: &ServiceAccountTokenProjection,
    default_mode: i32,
) -> Result<Duration> {
    let audience = projection.audience.as_deref().filter(|audience| !audience.is_empty());
    let token = context.tokens.get(context.pod, audience, projection.expiration_seconds).await?;
    let user = context.pod.spec.as_ref().and_then(single_user);
    // KEP-2451: readable for the user of the containers only where that is one and the same.
    let mode = match (context.fs_group(), user) {
        (Some(_), _) | (None, Some(_)) => 0o600,
        (None, None) => content::mode(None, default_mode),
    };
    let user = if context.fs_group().is_some() { None } else { user };
    let file = File { data: token.value.into_bytes(), mode, user };
    content::add(context, payload, &projection.path, file)?;
    Ok(token.renew_in)
}

/// The user of all containers, when every one of them runs as the same.
fn single_user(spec: &PodSpec) -> Option<u32> {
    let pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = crate::containers::all_containers(spec)
        .map(|container| container.security_context.as_ref().and_then(|context| context.run_as_user).or(pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}
