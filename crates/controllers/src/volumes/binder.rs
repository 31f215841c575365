//! Binds claims to volumes and makes volumes for claims whose class is ours.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        core::v1::{
            HostPathVolumeSource, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference,
            PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus, PersistentVolumeSpec,
            PersistentVolumeStatus, Pod, VolumeNodeAffinity,
        },
        storage::v1::StorageClass,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{Api, ResourceExt, core::ObjectMeta, runtime::events::EventType};
use lotse_client::{Key, Next};
use serde_json::json;

use super::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, LOCAL_PROVISIONERS, PROVISIONED_BY, claims_of, classes, directory, is_ours,
    reclaim_policy, volume_phase,
};
use crate::{
    Context, Error,
    context::{Controller, now},
    pod,
    quantity::{self, Nano},
    selector,
};

const NAME: &str = "persistentvolume";
const PROTECTION: &str = "kubernetes.io/pvc-protection";

pub(super) struct Binder;

/// What a claim needs next.
#[derive(Debug, PartialEq)]
enum Step {
    /// Nothing uses the claim that is being deleted.
    Unprotect,
    /// It is being deleted but pods use it.
    WaitForPods,
    Protect,
    /// `class` is written into the claim if it had none.
    Bind {
        volume: Arc<PersistentVolume>,
        class: String,
    },
    Provision {
        class: Arc<StorageClass>,
    },
    /// Bound before: status, capacity.
    Refresh {
        volume: Arc<PersistentVolume>,
    },
    /// The volume is gone or belongs to somebody else.
    Lost,
    /// Nothing fits; reason and sentence for the Event.
    Wait {
        reason: &'static str,
        message: String,
    },
}

/// Everything the decision may look at.
struct Observed<'a> {
    claim: &'a PersistentVolumeClaim,
    volumes: &'a [Arc<PersistentVolume>],
    classes: &'a [Arc<StorageClass>],
    /// Whether a pod that is not terminal mounts the claim.
    in_use: bool,
}

impl Controller for Binder {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let Some(claim) = context.cache::<PersistentVolumeClaim>().get(key) else { return Ok(Next::Done) };
        let in_use = !context
            .cache::<Pod>()
            .filter(|pod| {
                pod.metadata.namespace == key.namespace && !pod::is_terminal(pod) && claims_of(pod).contains(&key.name)
            })
            .is_empty();
        let step = plan(&Observed {
            claim: &claim,
            volumes: &context.cache::<PersistentVolume>().list(),
            classes: &context.cache::<StorageClass>().list(),
            in_use,
        });
        match step {
            Step::WaitForPods => {}
            Step::Unprotect => {
                let finalizers: Vec<_> = claim.finalizers().iter().filter(|name| *name != PROTECTION).collect();
                let patch = json!({"metadata": {"finalizers": finalizers}});
                match context.merge(NAME, claim.as_ref(), patch).await {
                    Err(error) if error.is_not_found() => {}
                    outcome => drop(outcome?),
                }
            }
            Step::Protect => {
                let mut finalizers = claim.finalizers().to_vec();
                finalizers.push(PROTECTION.to_owned());
                context.merge(NAME, claim.as_ref(), json!({"metadata": {"finalizers": finalizers}})).await?;
                return Ok(Next::After(Duration::ZERO));
            }
            Step::Provision { class } => {
                provision(context, &claim, &class).await?;
                return Ok(Next::After(Duration::ZERO));
            }
            Step::Bind { volume, class } => {
                bind(context, &claim, &volume, &class).await?;
                return Ok(Next::After(Duration::ZERO));
            }
            Step::Refresh { volume } => refresh(context, &claim, &volume).await?,
            Step::Lost => {
                let status = PersistentVolumeClaimStatus {
                    phase: Some("Lost".to_owned()),
                    ..claim.status.clone().unwrap_or_default()
                };
                if claim.status.as_ref() != Some(&status) {
                    let note = "Bound claim has lost its PersistentVolume. Data on the volume is lost!".to_owned();
                    context.event(NAME, claim.as_ref(), EventType::Warning, "ClaimLost", note).await;
                }
                context.status(NAME, claim.as_ref(), claim.status.as_ref(), &status).await?;
            }
            Step::Wait { reason, message } => {
                let mut status = claim.status.clone().unwrap_or_default();
                let first = status.phase.as_deref() != Some("Pending");
                status.phase = Some("Pending".to_owned());
                context.status(NAME, claim.as_ref(), claim.status.as_ref(), &status).await?;
                // Said when it begins and then every five minutes, not with every look.
                context.event(NAME, claim.as_ref(), EventType::Normal, reason, message).await;
                return Ok(if first {
                    Next::After(Duration::from_secs(15))
                } else {
                    Next::After(Duration::from_secs(300))
                });
            }
        }
        Ok(Next::Done)
    }
}

fn requested(claim: &PersistentVolumeClaim) -> Nano {
    let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()).and_then(|r| r.requests.as_ref());
    requests.and_then(|requests| requests.get("storage")).map_or(0, quantity::value)
}

fn capacity(volume: &PersistentVolume) -> Nano {
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    capacity.and_then(|capacity| capacity.get("storage")).map_or(0, quantity::value)
}

fn class_of(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or_default()
}

/// What a volume's claim reference says about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reference {
    Free,
    /// By name only, as a user writes it.
    Reserved,
    Ours,
    /// By name, with the uid of a claim that is gone.
    Former,
    Taken,
}

fn reference(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Reference {
    let Some(reference) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else { return Reference::Free };
    let same_name = reference.namespace == claim.metadata.namespace && reference.name == claim.metadata.name;
    match reference.uid.as_deref().filter(|uid| !uid.is_empty()) {
        _ if !same_name => Reference::Taken,
        None => Reference::Reserved,
        uid if uid == claim.metadata.uid.as_deref() => Reference::Ours,
        Some(_) => Reference::Former,
    }
}

/// Whether a volume can serve a claim with this class, size aside.
fn suits(volume: &PersistentVolume, claim: &PersistentVolumeClaim, class: &str) -> bool {
    let (Some(volume_spec), Some(spec)) = (&volume.spec, &claim.spec) else { return false };
    let modes = volume_spec.access_modes.as_deref().unwrap_or_default();
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    volume.metadata.deletion_timestamp.is_none()
        && class_of(volume) == class
        && spec.access_modes.iter().flatten().all(|wanted| modes.contains(wanted))
        && mode(&volume_spec.volume_mode) == mode(&spec.volume_mode)
        && spec.selector.as_ref().is_none_or(|wanted| selector::matches(wanted, volume.metadata.labels.as_ref()))
}

fn plan(observed: &Observed<'_>) -> Step {
    let Observed { claim, volumes, classes, in_use } = *observed;
    let protected = claim.finalizers().iter().any(|name| name == PROTECTION);
    if claim.metadata.deletion_timestamp.is_some() {
        return if protected && !in_use { Step::Unprotect } else { Step::WaitForPods };
    }
    if !protected {
        return Step::Protect;
    }
    let Some(spec) = &claim.spec else {
        return Step::Wait {
            reason: "FailedBinding",
            message: "spec is missing; write accessModes and resources".to_owned(),
        };
    };
    let default = || {
        classes
            .iter()
            .filter(|class| classes::is_default(class))
            .max_by_key(|class| class.metadata.creation_timestamp.clone())
    };
    let class = match &spec.storage_class_name {
        Some(name) => name.clone(),
        None => default().map(|class| class.name_any()).unwrap_or_default(),
    };
    if let Some(name) = spec.volume_name.as_deref().filter(|name| !name.is_empty()) {
        let completed = claim.annotations().contains_key(BIND_COMPLETED);
        let volume = volumes.iter().find(|volume| volume.name_any() == name);
        return match volume.map(|volume| (volume, reference(volume, claim))) {
            Some((volume, Reference::Ours)) if completed => Step::Refresh { volume: volume.clone() },
            Some((volume, Reference::Ours | Reference::Free | Reference::Reserved)) if !completed => {
                Step::Bind { volume: volume.clone(), class: class_of(volume).to_owned() }
            }
            // The claim was restored (say, from a backup) with its volume name: the data are the claim's.
            Some((volume, Reference::Former)) if volume_phase(volume) == "Released" && is_ours(volume) => {
                Step::Bind { volume: volume.clone(), class: class_of(volume).to_owned() }
            }
            _ if completed => Step::Lost,
            Some(_) => Step::Wait {
                reason: "FailedBinding",
                message: format!("volume {name:?} already bound to a different claim."),
            },
            None => Step::Wait { reason: "FailedBinding", message: format!("volume {name:?} does not exist yet.") },
        };
    }
    // What was bound to this claim, or promised to it, comes before any other volume, whatever its size.
    let of_kind = |wanted: Reference| {
        volumes.iter().find(|volume| reference(volume, claim) == wanted && suits(volume, claim, &class))
    };
    if let Some(volume) = of_kind(Reference::Ours) {
        return Step::Bind { volume: volume.clone(), class };
    }
    let large_enough = |volume: &&Arc<PersistentVolume>| capacity(volume) >= requested(claim);
    if let Some(volume) = of_kind(Reference::Reserved).filter(large_enough) {
        return Step::Bind { volume: volume.clone(), class };
    }
    let returning = |volume: &&Arc<PersistentVolume>| {
        volume_phase(volume) == "Released" && reclaim_policy(volume) == "Retain" && is_ours(volume)
    };
    if let Some(volume) = of_kind(Reference::Former).filter(returning) {
        return Step::Bind { volume: volume.clone(), class };
    }
    let free = volumes.iter().filter(|volume| {
        reference(volume, claim) == Reference::Free && suits(volume, claim, &class) && large_enough(volume)
    });
    if let Some(volume) = free.min_by_key(|volume| (capacity(volume), volume.name_any())) {
        return Step::Bind { volume: volume.clone(), class };
    }
    if class.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set".to_owned();
        return Step::Wait { reason: "FailedBinding", message };
    }
    let Some(found) = classes.iter().find(|candidate| candidate.name_any() == class) else {
        let message = format!("storageclass.storage.k8s.io {class:?} not found");
        return Step::Wait { reason: "ProvisioningFailed", message };
    };
    let provisioner = found.provisioner.as_str();
    if provisioner == "kubernetes.io/no-provisioner" {
        let message = format!("waiting for a PersistentVolume of storage class {class:?}: it has no provisioner");
        return Step::Wait { reason: "FailedBinding", message };
    }
    if !LOCAL_PROVISIONERS.contains(&provisioner) {
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator."
        );
        return Step::Wait { reason: "ExternalProvisioning", message };
    }
    if spec.selector.is_some() {
        let message =
            "spec.selector is set: a claim with a selector is never provisioned; create a matching volume".to_owned();
        return Step::Wait { reason: "ProvisioningFailed", message };
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        let message = format!("spec.volumeMode Block is not supported by class {class:?}; use Filesystem");
        return Step::Wait { reason: "ProvisioningFailed", message };
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        let message = format!("spec.dataSource is not supported by class {class:?}; remove it and copy the data");
        return Step::Wait { reason: "ProvisioningFailed", message };
    }
    Step::Provision { class: found.clone() }
}

/// The name of the volume for a claim. One per claim, so that a second attempt finds the first.
fn volume_name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.uid().unwrap_or_default())
}

fn claim_reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        namespace: claim.namespace(),
        name: claim.metadata.name.clone(),
        uid: claim.uid(),
        resource_version: claim.resource_version(),
        field_path: None,
    }
}

async fn provision(context: &Context, claim: &PersistentVolumeClaim, class: &StorageClass) -> Result<(), Error> {
    let name = volume_name(claim);
    let (volumes_dir, volume) = (context.config.volumes_dir.clone(), name.clone());
    let created = tokio::task::spawn_blocking(move || directory::create(&volumes_dir, &volume)).await;
    let created =
        created.unwrap_or_else(|_| Err(Error::invalid(format!("PersistentVolume {name}: creation was interrupted"))));
    let path = match created {
        Ok(path) => path,
        Err(error) => {
            let note = format!(
                "failed to provision volume with StorageClass {:?}: {}",
                class.name_any(),
                error.user_message()
            );
            context.event(NAME, claim, EventType::Warning, "ProvisioningFailed", note).await;
            return Err(error);
        }
    };
    let node = context.cache::<Node>().get(&Key::cluster(&context.config.node_name));
    let volume = new_volume(claim, class, &name, &path.to_string_lossy(), &context.config.node_name, node.as_deref());
    match context.create_with(Api::all(context.client()), NAME, &volume).await {
        Ok(_) => {
            let note = format!("Successfully provisioned volume {name}");
            context.event(NAME, claim, EventType::Normal, "ProvisioningSucceeded", note).await;
            Ok(())
        }
        Err(error) if error.is_already_exists() => Ok(()),
        Err(error) => Err(error),
    }
}

fn new_volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    name: &str,
    path: &str,
    node_name: &str,
    node: Option<&Node>,
) -> PersistentVolume {
    let spec = claim.spec.clone().unwrap_or_default();
    let size =
        spec.resources.and_then(|resources| resources.requests).and_then(|mut requests| requests.remove("storage"));
    let hostname = node.and_then(|node| node.labels().get("kubernetes.io/hostname").cloned());
    let term = NodeSelectorTerm {
        match_expressions: Some(vec![NodeSelectorRequirement {
            key: "kubernetes.io/hostname".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![hostname.unwrap_or_else(|| node_name.to_owned())]),
        }]),
        match_fields: None,
    };
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some([(PROVISIONED_BY.to_owned(), class.provisioner.clone())].into()),
            finalizers: Some(vec![super::reclaim::PROTECTION.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes,
            capacity: Some([("storage".to_owned(), size.unwrap_or_else(|| Quantity("1Gi".to_owned())))].into()),
            claim_ref: Some(claim_reference(claim)),
            host_path: Some(HostPathVolumeSource {
                path: path.to_owned(),
                type_: Some("DirectoryOrCreate".to_owned()),
            }),
            mount_options: class.mount_options.clone(),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector { node_selector_terms: vec![term] }),
            }),
            persistent_volume_reclaim_policy: Some(class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned())),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: spec.volume_mode,
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// Both sides, volume first: a crash in between is finished by the next pass, which finds the volume already ours.
async fn bind(
    context: &Context,
    claim: &Arc<PersistentVolumeClaim>,
    volume: &Arc<PersistentVolume>,
    class: &str,
) -> Result<(), Error> {
    let volumes: Api<PersistentVolume> = Api::all(context.client());
    let mut volume = volume.clone();
    let size = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage").cloned());
    // The user named the volume in the claim: that is no choice of the controller.
    let by_user = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).is_some_and(|name| !name.is_empty());
    let mut annotations: BTreeMap<&str, &str> = BTreeMap::new();
    if reference(&volume, claim) != Reference::Ours {
        let chosen = reference(&volume, claim) == Reference::Free;
        let mut patch = json!({"spec": {"claimRef": claim_reference(claim)}});
        if chosen {
            patch["metadata"] = json!({"annotations": {BOUND_BY_CONTROLLER: "yes"}});
        }
        // A directory has no size: the number follows the claim.
        if is_ours(&volume) && capacity(&volume) < requested(claim) {
            patch["spec"]["capacity"] = json!({"storage": size});
        }
        volume = Arc::new(context.merge_with(volumes.clone(), NAME, volume.as_ref(), patch).await?);
    }
    if volume_phase(&volume) != "Bound" {
        let status = PersistentVolumeStatus {
            phase: Some("Bound".to_owned()),
            last_phase_transition_time: Some(pod::time(now())),
            message: None,
            reason: None,
        };
        context.status_with(volumes, NAME, volume.as_ref(), volume.status.as_ref(), &status).await?;
    }
    annotations.insert(BIND_COMPLETED, "yes");
    if !by_user {
        annotations.insert(BOUND_BY_CONTROLLER, "yes");
    }
    let mut spec = json!({"volumeName": volume.name_any()});
    if claim.spec.as_ref().is_some_and(|spec| spec.storage_class_name.is_none()) && !class.is_empty() {
        spec["storageClassName"] = json!(class);
    }
    let patch = json!({"metadata": {"annotations": annotations}, "spec": spec});
    let claim = context.merge(NAME, claim.as_ref(), patch).await?;
    refresh(context, &claim, &volume).await
}

/// The status of a bound claim; a claim that has grown raises the number on its volume first.
async fn refresh(
    context: &Context,
    claim: &PersistentVolumeClaim,
    volume: &Arc<PersistentVolume>,
) -> Result<(), Error> {
    let mut volume = volume.clone();
    if is_ours(&volume) && capacity(&volume) < requested(claim) {
        let size =
            claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage").cloned());
        let patch = json!({"spec": {"capacity": {"storage": size}}});
        volume = Arc::new(context.merge_with(Api::all(context.client()), NAME, volume.as_ref(), patch).await?);
    }
    let spec = volume.spec.as_ref();
    let status = PersistentVolumeClaimStatus {
        phase: Some("Bound".to_owned()),
        access_modes: spec.and_then(|spec| spec.access_modes.clone()),
        capacity: spec.and_then(|spec| spec.capacity.clone()),
        ..claim.status.clone().unwrap_or_default()
    };
    context.status(NAME, claim, claim.status.as_ref(), &status).await
}

#[cfg(test)]
#[path = "binder_tests.rs"]
mod tests;
