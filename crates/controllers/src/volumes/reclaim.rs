//! What becomes of a volume without its claim: phases, Retain, Delete, protection.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeStatus};
use kube::{Api, ResourceExt, api::DeleteParams, runtime::events::EventType};
use lotse_client::{Key, Next};
use serde_json::json;

use super::{directory, is_ours, reclaim_policy, volume_phase};
use crate::{
    Context, Error,
    context::{Controller, describe, now},
    pod,
};

const NAME: &str = "persistentvolume";
pub(super) const PROTECTION: &str = "kubernetes.io/pv-protection";

pub(super) struct Reclaimer;

/// What a volume needs next.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    Protect,
    Unprotect,
    /// A new phase with a message.
    Phase(&'static str, Option<String>),
    /// Remove directory and object.
    Destroy,
}

impl Controller for Reclaimer {
    const NAME: &'static str = "persistentvolume-reclaim";

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let Some(volume) = context.cache::<PersistentVolume>().get(key) else { return Ok(Next::Done) };
        let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        let claim = reference.and_then(|reference| reference.namespace.clone().zip(reference.name.clone())).and_then(
            |(namespace, name)| context.cache::<PersistentVolumeClaim>().get(&Key::namespaced(namespace, name)),
        );
        let volumes: Api<PersistentVolume> = Api::all(context.client());
        match plan(&volume, claim.as_deref()) {
            Step::Nothing => {}
            Step::Protect => {
                let mut finalizers = volume.finalizers().to_vec();
                finalizers.push(PROTECTION.to_owned());
                context
                    .merge_with(volumes, NAME, volume.as_ref(), json!({"metadata": {"finalizers": finalizers}}))
                    .await?;
            }
            Step::Unprotect => unprotect(context, &volume).await?,
            Step::Phase(phase, message) => {
                // "Released" is the first step towards removal: the cache may be wrong, the server is not.
                if phase == "Released" && !claim_is_gone(context, &volume).await? {
                    return Ok(Next::After(std::time::Duration::from_millis(200)));
                }
                let status = PersistentVolumeStatus {
                    phase: Some(phase.to_owned()),
                    message,
                    reason: None,
                    last_phase_transition_time: Some(pod::time(now())),
                };
                context.status_with(volumes, NAME, volume.as_ref(), volume.status.as_ref(), &status).await?;
            }
            Step::Destroy => {
                if !claim_is_gone(context, &volume).await? {
                    return Ok(Next::After(std::time::Duration::from_millis(200)));
                }
                destroy(context, &volume).await?;
            }
        }
        Ok(Next::Done)
    }
}

fn plan(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Step {
    let protected = volume.finalizers().iter().any(|name| name == PROTECTION);
    let phase = volume_phase(volume);
    let go = |wanted: &'static str| if phase == wanted { Step::Nothing } else { Step::Phase(wanted, None) };
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let uid = reference.and_then(|reference| reference.uid.as_deref()).filter(|uid| !uid.is_empty());
    let bound = uid.is_some() && claim.is_some_and(|claim| claim.metadata.uid.as_deref() == uid);
    if volume.metadata.deletion_timestamp.is_some() {
        return if protected && !bound { Step::Unprotect } else { Step::Nothing };
    }
    if !protected {
        return Step::Protect;
    }
    if uid.is_none() {
        return go("Available");
    }
    if bound {
        let volume_name = claim.and_then(|claim| claim.spec.as_ref()).and_then(|spec| spec.volume_name.as_deref());
        let elsewhere = volume_name.is_some_and(|name| !name.is_empty() && name != volume.name_any());
        return if elsewhere && phase == "Available" {
            Step::Nothing
        } else if volume_name.unwrap_or_default().is_empty() {
            // The binder is at work; a fresh volume is not bound yet.
            if phase.is_empty() { Step::Phase("Available", None) } else { Step::Nothing }
        } else {
            go("Bound")
        };
    }
    if phase != "Released" && phase != "Failed" {
        return Step::Phase("Released", None);
    }
    match reclaim_policy(volume) {
        "Retain" => go("Released"),
        "Delete" if is_ours(volume) => Step::Destroy,
        _ if phase == "Failed" => Step::Nothing,
        other => Step::Phase(
            "Failed",
            Some(format!(
                "persistentVolumeReclaimPolicy {other} is not possible: the volume was not provisioned here; use Retain"
            )),
        ),
    }
}

/// Asks the server itself whether the claim with the recorded uid exists no more: data are at stake.
async fn claim_is_gone(context: &Context, volume: &PersistentVolume) -> Result<bool, Error> {
    let Some(reference) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else { return Ok(false) };
    let (Some(namespace), Some(name), Some(uid)) = (&reference.namespace, &reference.name, &reference.uid) else {
        return Ok(false);
    };
    let api = context.namespaced::<PersistentVolumeClaim>(namespace);
    let live = api.get_opt(name).await.map_err(Error::api("get claim of", describe(volume)))?;
    Ok(live.is_none_or(|live| live.metadata.uid.as_ref() != Some(uid)))
}

async fn unprotect(context: &Context, volume: &PersistentVolume) -> Result<(), Error> {
    let finalizers: Vec<_> = volume.finalizers().iter().filter(|name| *name != PROTECTION).collect();
    let patch = json!({"metadata": {"finalizers": finalizers}});
    match context.merge_with(Api::all(context.client()), NAME, volume, patch).await {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// Removes the data, then the object. Only the directory that belongs to this name is ever removed: a path that was
/// edited to point elsewhere makes the volume Failed.
async fn destroy(context: &Context, volume: &Arc<PersistentVolume>) -> Result<(), Error> {
    let name = volume.name_any();
    let volumes_dir = context.config.volumes_dir.clone();
    let recorded = volume.spec.as_ref().and_then(|spec| {
        let host = spec.host_path.as_ref().map(|source| source.path.clone());
        host.or_else(|| spec.local.as_ref().map(|source| source.path.clone()))
    });
    let expected = directory::path(&volumes_dir, &name).map(|path| path.to_string_lossy().into_owned());
    let outcome = if expected.is_some() && recorded == expected {
        let volume = name.clone();
        tokio::task::spawn_blocking(move || directory::remove(&volumes_dir, &volume))
            .await
            .unwrap_or_else(|_| Err(Error::invalid(format!("PersistentVolume {name}: removal was interrupted"))))
    } else {
        Err(Error::invalid(format!(
            "PersistentVolume {name}: its path is not the directory that was provisioned; remove the data by hand"
        )))
    };
    let volumes: Api<PersistentVolume> = Api::all(context.client());
    if let Err(error) = outcome {
        let message = error.user_message();
        context.event(NAME, volume.as_ref(), EventType::Warning, "VolumeFailedDelete", message.clone()).await;
        let status = PersistentVolumeStatus {
            phase: Some("Failed".to_owned()),
            message: Some(message),
            reason: None,
            last_phase_transition_time: Some(pod::time(now())),
        };
        if volume_phase(volume) != "Failed" {
            context.status_with(volumes, NAME, volume.as_ref(), volume.status.as_ref(), &status).await?;
        }
        return Err(error);
    }
    context.delete_with(volumes, volume.as_ref(), DeleteParams::background()).await
}

#[cfg(test)]
#[path = "reclaim_tests.rs"]
mod tests;
