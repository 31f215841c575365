//! PersistentVolumes and claims: binding, local provisioning, reclaiming, protection.
//!
//! Rules beyond Kubernetes' own:
//! - Our provisioner answers to `lotse.dev/local` and to the names that single-node clusters use
//!   ([`LOCAL_PROVISIONERS`]), so manifests written for those work unchanged. A volume is the directory
//!   `volumes_dir/<name of the PersistentVolume>`.
//! - A *Released* volume of ours whose reclaim policy is *Retain* is bound again, with its data, by the next claim with
//!   the namespace, name and class of the former one. So a namespace that was deleted by mistake finds its data when it is
//!   applied again. (Kubernetes would leave the volume Released until somebody edits it.)
//! - There is one node: `WaitForFirstConsumer` binds at once.
//! - A directory has no size: capacity is recorded, not enforced, and a claim that grows just has its number raised.

mod binder;
mod classes;
mod directory;
mod reclaim;

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use kube::ResourceExt;
use lotse_client::{Driver, Key};

use crate::{Context, context::Managed, pod};

/// The provisioner of the classes that we create.
const PROVISIONER: &str = "lotse.dev/local";
/// All names our provisioner answers to.
const LOCAL_PROVISIONERS: [&str; 4] =
    [PROVISIONER, "rancher.io/local-path", "k8s.io/minikube-hostpath", "docker.io/hostpath"];

const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

/// Runs binder, provisioner and reclaimer until dropped.
pub(crate) async fn run(context: Context) {
    let (claims, volumes) = (context.cache::<PersistentVolumeClaim>(), context.cache::<PersistentVolume>());
    let (storage_classes, pods) = (context.cache::<StorageClass>(), context.cache::<Pod>());
    claims.ready().await;
    volumes.ready().await;
    storage_classes.ready().await;
    pods.ready().await;
    classes::ensure(&context).await;

    let (by_class, by_volume) = (claims.clone(), claims.clone());
    let binder = Driver::new(Managed::new(binder::Binder, &context))
        // Two claims must not choose one volume at the same moment.
        .concurrency(1)
        .on_kind(&claims)
        .on(&volumes, move |volume| {
            let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            if let Some((namespace, name)) = reference.and_then(|r| r.namespace.clone().zip(r.name.clone())) {
                return vec![Key::namespaced(namespace, name)];
            }
            unbound(&by_volume.list())
        })
        .on(&storage_classes, move |_| unbound(&by_class.list()))
        .on(&pods, |pod| {
            // The end of a pod may end the protection of its claims.
            if !pod::is_terminal(pod) && !pod::is_terminating(pod) {
                return Vec::new();
            }
            claims_of(pod).into_iter().map(|name| Key { namespace: pod.namespace(), name }).collect()
        })
        .run();
    let reclaimer = Driver::new(Managed::new(reclaim::Reclaimer, &context))
        .on_kind(&volumes)
        .on(&claims, |claim| {
            let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
            volume.filter(|name| !name.is_empty()).map(Key::cluster).into_iter().collect()
        })
        .run();
    tokio::join!(binder, reclaimer);
}

fn unbound(claims: &[Arc<PersistentVolumeClaim>]) -> Vec<Key> {
    let waits = |claim: &&Arc<PersistentVolumeClaim>| {
        claim.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Bound")
    };
    claims.iter().filter(waits).map(|claim| Key::of(claim.as_ref())).collect()
}

/// The names of the claims a pod mounts.
fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => Some(source.claim_name.clone()),
            (None, Some(_)) => Some(format!("{}-{}", pod.name_any(), volume.name)),
            (None, None) => None,
        })
        .collect()
}

/// Whether the volume is a directory that our provisioner made.
fn is_ours(volume: &PersistentVolume) -> bool {
    volume.annotations().get(PROVISIONED_BY).is_some_and(|by| LOCAL_PROVISIONERS.contains(&by.as_str()))
}

fn volume_phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn reclaim_policy(volume: &PersistentVolume) -> &str {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy.unwrap_or("Retain")
}
