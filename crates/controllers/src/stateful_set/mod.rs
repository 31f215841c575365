//! StatefulSets: pods with an ordinal, a stable name and claims of their own.
//!
//! `plan` decides (pure), this file carries out.

mod plan;

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{ResourceExt, runtime::events::EventType};
use lotse_client::{Driver, Key, Next};
use serde_json::json;

use self::plan::{Observed, Step};
use crate::{
    Context, Error, claim,
    context::{Controller, Managed, now},
    pod, revision, selector,
};

const NAME: &str = "statefulset";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

struct Sets;

/// Runs the controller until dropped.
pub(crate) async fn run(context: Context) {
    let (sets, pods) = (context.cache::<StatefulSet>(), context.cache::<Pod>());
    let claims = context.cache::<PersistentVolumeClaim>();
    sets.ready().await;
    pods.ready().await;
    claims.ready().await;
    context.cache::<k8s_openapi::api::apps::v1::ControllerRevision>().ready().await;
    let by_selector = sets.clone();
    Driver::new(Managed::new(Sets, &context))
        .on_kind(&sets)
        .on_owned::<StatefulSet, Pod>(&pods)
        .on(&pods, move |pod| {
            if claim::controller_of(&pod.metadata).is_some() {
                return Vec::new();
            }
            let matching = by_selector.filter(|set| {
                set.metadata.namespace == pod.metadata.namespace
                    && selector::matches(&set.spec.selector, pod.metadata.labels.as_ref())
            });
            matching.iter().map(|set| Key::of(set.as_ref())).collect()
        })
        .run()
        .await;
}

impl Controller for Sets {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let Some(set) = context.cache::<StatefulSet>().get(key) else { return Ok(Next::Done) };
        let mut pods: Vec<Arc<Pod>> = claim::claim(context, NAME, set.as_ref(), &set.spec.selector).await?;
        pods.retain(|pod| plan::ordinal(&set, &pod.name_any()).is_some());
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        let revisions = revision::sync(context, NAME, set.as_ref(), &set.spec.selector, &set.spec.template).await?;
        let update = revisions.update.name_any();
        let status = set.status.as_ref();
        let current = status
            .and_then(|status| status.current_revision.clone())
            .filter(|current| revisions.all.iter().any(|revision| revision.name_any() == *current))
            .unwrap_or_else(|| update.clone());
        let hash_of = |name: &str| {
            let found = revisions.all.iter().find(|revision| revision.name_any() == name);
            found.and_then(|revision| revision.labels().get(revision::HASH).cloned()).unwrap_or_default()
        };
        let (current_hash, update_hash) = (hash_of(&current), hash_of(&update));
        let observed = Observed {
            set: &set,
            pods: &pods,
            current: &current_hash,
            update: &update_hash,
            current_name: &current,
            update_name: &update,
            now: now(),
        };
        let steps = plan::plan(&observed);
        let mut failure = None;
        for step in &steps {
            let outcome = match step {
                Step::Create { ordinal, revision } => {
                    let recorded = revisions
                        .all
                        .iter()
                        .find(|recorded| recorded.labels().get(revision::HASH) == Some(revision))
                        .and_then(|recorded| revision::template(recorded));
                    let template = recorded.unwrap_or_else(|| set.spec.template.clone());
                    create(context, &set, *ordinal, revision, &template).await
                }
                Step::Delete(pod) => delete(context, &set, pod).await,
                Step::Relabel(pod) => relabel(context, &set, pod).await,
            };
            if let Err(error) = outcome {
                failure = Some(error);
                break;
            }
        }
        let uid = set.uid().unwrap_or_default();
        let mut pods = context
            .cache::<Pod>()
            .filter(|pod| pod.metadata.namespace == key.namespace && claim::is_controlled_by(&pod.metadata, &uid));
        pods.retain(|pod| plan::ordinal(&set, &pod.name_any()).is_some());
        let observed = Observed { pods: &pods, now: now(), ..observed };
        let new_status = plan::status(&observed);
        context.status(NAME, set.as_ref(), set.status.as_ref(), &new_status).await?;
        if let Some(error) = failure {
            return Err(error);
        }
        retain_claims(context, &set, &pods).await?;
        let live = |recorded: &k8s_openapi::api::apps::v1::ControllerRevision| {
            let name = Some(recorded.name_any());
            new_status.current_revision == name
                || new_status.update_revision == name
                || pods.iter().any(|pod| pod.labels().get(revision::HASH) == recorded.labels().get(revision::HASH))
        };
        revision::clean_up(context, &revisions, set.spec.revision_history_limit, live).await?;
        let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
        let soonest = pods.iter().filter_map(|pod| pod::available_in(pod, min_ready, observed.now)).min();
        Ok(soonest.map_or(Next::Done, |delay| Next::After(delay + std::time::Duration::from_millis(10))))
    }
}

/// `<template>-<set>-<ordinal>`, the name of a claim for ever.
fn claim_name(template: &PersistentVolumeClaim, set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", template.name_any(), set.name_any())
}

/// The pod with this ordinal.
fn new_pod(set: &StatefulSet, ordinal: i32, revision: &str, template: &PodTemplateSpec) -> Pod {
    let name = format!("{}-{ordinal}", set.name_any());
    let namespace = set.namespace().unwrap_or_default();
    let mut pod = pod::from_template(template, &namespace, String::new(), claim::controller_reference(set));
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    pod.metadata.labels.get_or_insert_default().extend([
        (POD_NAME.to_owned(), name.clone()),
        (POD_INDEX.to_owned(), ordinal.to_string()),
        (revision::HASH.to_owned(), revision.to_owned()),
    ]);
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    if let Some(service) = set.spec.service_name.as_ref().filter(|service| !service.is_empty()) {
        spec.subdomain = Some(service.clone());
    }
    let claims: Vec<Volume> = set
        .spec
        .volume_claim_templates
        .iter()
        .flatten()
        .map(|template| Volume {
            name: template.name_any(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name(template, set, ordinal),
                ..PersistentVolumeClaimVolumeSource::default()
            }),
            ..Volume::default()
        })
        .collect();
    if !claims.is_empty() {
        let volumes = spec.volumes.get_or_insert_default();
        volumes.retain(|volume| claims.iter().all(|claim| claim.name != volume.name));
        volumes.extend(claims);
    }
    pod
}

async fn create(
    context: &Context,
    set: &Arc<StatefulSet>,
    ordinal: i32,
    revision: &str,
    template: &PodTemplateSpec,
) -> Result<(), Error> {
    for template in set.spec.volume_claim_templates.iter().flatten() {
        let name = claim_name(template, set, ordinal);
        let key = Key { namespace: set.namespace(), name: name.clone() };
        if let Some(existing) = context.cache::<PersistentVolumeClaim>().get(&key) {
            if existing.metadata.deletion_timestamp.is_some() {
                // A pod on a claim that is about to go would lose its data: wait until the claim is gone.
                return Err(Error::invalid(format!(
                    "PersistentVolumeClaim {key} is being deleted; its pod waits for it"
                )));
            }
            continue;
        }
        let mut claim = template.clone();
        claim.metadata.name = Some(name.clone());
        claim.metadata.namespace = set.namespace();
        claim.status = None;
        if let Some(labels) = &set.spec.selector.match_labels {
            claim.metadata.labels.get_or_insert_default().extend(labels.clone());
        }
        match context.create(NAME, &claim).await {
            Ok(_) => {
                let note = format!(
                    "create Claim {name} Pod {}-{ordinal} in StatefulSet {} success",
                    set.name_any(),
                    set.name_any()
                );
                context.event(NAME, set.as_ref(), EventType::Normal, "SuccessfulCreate", note).await;
            }
            Err(error) if error.is_already_exists() => {}
            Err(error) => {
                let note = format!("create Claim {name} failed: {}", error.user_message());
                context.event(NAME, set.as_ref(), EventType::Warning, "FailedCreate", note).await;
                return Err(error);
            }
        }
    }
    let pod = new_pod(set, ordinal, revision, template);
    let name = pod.name_any();
    match context.create(NAME, &pod).await {
        Ok(_) => {
            let note = format!("create Pod {name} in StatefulSet {} successful", set.name_any());
            context.event(NAME, set.as_ref(), EventType::Normal, "SuccessfulCreate", note).await;
            Ok(())
        }
        Err(error) => {
            let note =
                format!("create Pod {name} in StatefulSet {} failed error: {}", set.name_any(), error.user_message());
            context.event(NAME, set.as_ref(), EventType::Warning, "FailedCreate", note).await;
            Err(error)
        }
    }
}

async fn delete(context: &Context, set: &Arc<StatefulSet>, pod: &Arc<Pod>) -> Result<(), Error> {
    context.delete(pod.as_ref()).await?;
    let note = format!("delete Pod {} in StatefulSet {} successful", pod.name_any(), set.name_any());
    context.event(NAME, set.as_ref(), EventType::Normal, "SuccessfulDelete", note).await;
    Ok(())
}

/// Puts back the identity labels of a pod that lost them (or was adopted without).
async fn relabel(context: &Context, set: &Arc<StatefulSet>, pod: &Arc<Pod>) -> Result<(), Error> {
    let Some(ordinal) = plan::ordinal(set, &pod.name_any()) else { return Ok(()) };
    let labels: BTreeMap<_, _> = [(POD_NAME, pod.name_any()), (POD_INDEX, ordinal.to_string())].into();
    context.merge(NAME, pod.as_ref(), json!({"metadata": {"labels": labels}})).await.map(drop)
}

/// Keeps the owner references of the claims equal to `persistentVolumeClaimRetentionPolicy` (KEP-1847): a claim that
/// shall go with the set is owned by it, one that shall go when scaled away is owned by its pod.
async fn retain_claims(context: &Context, set: &Arc<StatefulSet>, pods: &[Arc<Pod>]) -> Result<(), Error> {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |value: Option<&String>| value.is_some_and(|value| value == "Delete");
    let when_deleted = deletes(policy.and_then(|policy| policy.when_deleted.as_ref()));
    let when_scaled = deletes(policy.and_then(|policy| policy.when_scaled.as_ref()));
    let set_uid = set.uid().unwrap_or_default();
    for pod in pods {
        let Some(ordinal) = plan::ordinal(set, &pod.name_any()) else { continue };
        let condemned = !plan::range(set).contains(&ordinal);
        for template in set.spec.volume_claim_templates.iter().flatten() {
            let key = Key { namespace: set.namespace(), name: claim_name(template, set, ordinal) };
            let Some(claim) = context.cache::<PersistentVolumeClaim>().get(&key) else { continue };
            let pod_uid = pod.uid().unwrap_or_default();
            let mut wanted: Vec<OwnerReference> = claim
                .owner_references()
                .iter()
                .filter(|owner| owner.uid != set_uid && owner.kind != "Pod")
                .cloned()
                .collect();
            // Not a controller reference: a claim has no controller.
            let plain = |reference| OwnerReference { controller: None, block_owner_deletion: None, ..reference };
            match (when_scaled && condemned, when_deleted) {
                (true, _) => wanted.push(plain(claim::controller_reference(pod.as_ref()))),
                (false, true) => wanted.push(plain(claim::controller_reference(set.as_ref()))),
                (false, false) => {}
            }
            let same = claim.owner_references().len() == wanted.len()
                && wanted.iter().all(|owner| claim.owner_references().iter().any(|old| old.uid == owner.uid));
            // Only touch references of ours: without a policy and without references there is nothing to do.
            let ours = claim.owner_references().iter().any(|owner| owner.uid == set_uid || owner.uid == pod_uid);
            if !same && (ours || when_deleted || when_scaled) {
                let patch = json!({"metadata": {"ownerReferences": wanted}});
                context.merge(NAME, claim.as_ref(), patch).await?;
            }
        }
    }
    Ok(())
}
