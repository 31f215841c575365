//! Which objects a pod refers to, and in which state they are.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use k8s_openapi::api::core::v1::Pod;

use crate::{containers::all_containers, sources::Sources};

/// Kinds whose change may concern a running pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
    Claim,
}

/// Names in the pod's namespace.
fn references(pod: &Pod) -> BTreeSet<(Kind, String)> {
    let mut result = BTreeSet::new();
    let Some(spec) = &pod.spec else { return result };
    let mut add = |kind, name: &str| {
        result.insert((kind, name.to_owned()));
    };
    for container in all_containers(spec) {
        for from in container.env_from.iter().flatten() {
            from.config_map_ref.iter().for_each(|reference| add(Kind::ConfigMap, &reference.name));
            from.secret_ref.iter().for_each(|reference| add(Kind::Secret, &reference.name));
        }
        for from in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            from.config_map_key_ref.iter().for_each(|reference| add(Kind::ConfigMap, &reference.name));
            from.secret_key_ref.iter().for_each(|reference| add(Kind::Secret, &reference.name));
        }
    }
    for volume in spec.volumes.iter().flatten() {
        volume.config_map.iter().for_each(|source| add(Kind::ConfigMap, &source.name));
        volume
            .secret
            .iter()
            .filter_map(|source| source.secret_name.as_deref())
            .for_each(|name| add(Kind::Secret, name));
        volume.persistent_volume_claim.iter().for_each(|source| add(Kind::Claim, &source.claim_name));
        if volume.ephemeral.is_some() {
            add(Kind::Claim, &format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name));
        }
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            source.config_map.iter().for_each(|source| add(Kind::ConfigMap, &source.name));
            source.secret.iter().for_each(|source| add(Kind::Secret, &source.name));
        }
    }
    for secret in spec.image_pull_secrets.iter().flatten() {
        add(Kind::Secret, &secret.name);
    }
    result
}

/// Whether the pod refers to the object.
pub(crate) fn refers_to(pod: &Pod, kind: Kind, namespace: &str, name: &str) -> bool {
    pod.metadata.namespace.as_deref() == Some(namespace) && references(pod).contains(&(kind, name.to_owned()))
}

/// A number that changes whenever one of the referenced objects, or the pod's own labels or annotations, change.
pub(crate) fn fingerprint(pod: &Pod, sources: &dyn Sources) -> u64 {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    for (kind, name) in references(pod) {
        let revision = match kind {
            Kind::ConfigMap => {
                sources.config_map(namespace, &name).and_then(|map| map.metadata.resource_version.clone())
            }
            Kind::Secret => {
                sources.secret(namespace, &name).and_then(|secret| secret.metadata.resource_version.clone())
            }
            // A claim's spec and the phase matter; its size or conditions do not touch what is mounted.
            Kind::Claim => sources.claim(namespace, &name).map(|claim| {
                let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).unwrap_or_default();
                let phase = claim.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
                let known = sources.persistent_volume(&volume).is_some();
                format!("{volume}/{phase}/{known}")
            }),
        };
        (kind, name, revision).hash(&mut hasher);
    }
    pod.metadata.labels.hash(&mut hasher);
    pod.metadata.annotations.hash(&mut hasher);
    hasher.finish()
}
