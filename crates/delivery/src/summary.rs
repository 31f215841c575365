//! What an Application's status says about what was seen.

use crate::{
    application::*,
    controller::{Controller, Observation},
    health::{self, HealthStatus},
    live::{ObjectId, Tracked},
    plan, sync,
};

impl Controller {
    /// Fills the part of `status` that describes what was seen.
    pub(crate) fn summarize(&self, spec: &ApplicationSpec, observation: &Observation, status: &mut ApplicationStatus) {
        let mut resources = Vec::with_capacity(observation.targets.len());
        let mut overall: Option<(HealthStatus, String)> = None;
        let mut shared = Vec::new();
        for (desired, compared) in &observation.targets {
            let mut verdict = compared.health.clone();
            if let Some(verdict) = &mut verdict
                && matches!(verdict.status, HealthStatus::Progressing | HealthStatus::Degraded)
                && let Some(cause) = self.blocker(&desired.id)
            {
                verdict.message = cause;
            }
            if let Some(verdict) = &verdict {
                let worse = overall.as_ref().is_none_or(|(worst, _)| verdict.status > *worst);
                if worse && verdict.status != HealthStatus::Healthy {
                    let cause = Some(verdict.message.as_str()).filter(|cause| !cause.is_empty());
                    let cause = cause.unwrap_or_else(|| verdict.status.as_str());
                    overall = Some((verdict.status, format!("{} {}: {cause}", desired.id.kind, desired.id.name)));
                }
            }
            if let Some(owner) = &compared.other_owner {
                shared.push(format!("{} {} is managed by Application {owner} too", desired.id.kind, desired.id.name));
            }
            let wave = plan::wave(&desired.object);
            resources.push(ResourceStatus {
                group: desired.id.group.clone(),
                version: desired.gvk.version.clone(),
                kind: desired.id.kind.clone(),
                namespace: desired.id.namespace.clone(),
                name: desired.id.name.clone(),
                status: if compared.in_sync { "Synced" } else { "OutOfSync" }.to_owned(),
                health: verdict.map(Into::into),
                requires_pruning: false,
                sync_wave: (wave != 0).then_some(wave),
            });
        }
        for (id, tracked) in &observation.surplus {
            resources.push(ResourceStatus {
                group: id.group.clone(),
                version: tracked.version.clone(),
                kind: id.kind.clone(),
                namespace: id.namespace.clone(),
                name: id.name.clone(),
                status: "OutOfSync".to_owned(),
                requires_pruning: true,
                ..ResourceStatus::default()
            });
        }
        if observation.rendered.manifests.is_empty() {
            let source = spec.all_sources().first().map(|source| source.path.clone()).unwrap_or_default();
            let message = format!(
                "{source:?} holds no manifests (.yaml, .yml, .json); set directory.recurse to read the directories below"
            );
            status.conditions.push(Condition { kind: "SyncWarning".to_owned(), message, last_transition_time: None });
        }
        // A failure stays visible until a later sync has succeeded.
        if let Some(failed) = status.operation_state.as_ref().filter(|state| state.phase == "Failed") {
            let message = failed.message.clone();
            status.conditions.push(Condition { kind: "SyncError".to_owned(), message, last_transition_time: None });
        }
        let in_sync = observation.targets.iter().all(|(_, compared)| compared.in_sync)
            && observation.surplus.iter().all(|(_, tracked)| !prunable(tracked));
        let hooks = observation.rendered.manifests.iter().filter(|manifest| plan::is_hook(&manifest.object)).count();
        if hooks > 0 {
            let message = format!("{hooks} hooks are left out: sync hooks are not supported yet");
            status.conditions.push(Condition { kind: "SyncWarning".to_owned(), message, last_transition_time: None });
        }
        if let Some(first) = shared.first() {
            status.conditions.push(Condition {
                kind: "SharedResourceWarning".to_owned(),
                message: first.clone(),
                last_transition_time: None,
            });
        }
        let (health, message) = overall.unwrap_or((HealthStatus::Healthy, String::new()));
        status.health = Health { status: health.as_str().to_owned(), message };
        status.sync = SyncStatus {
            status: if in_sync { "Synced" } else { "OutOfSync" }.to_owned(),
            revision: observation.rendered.commit.id.clone(),
            compared_to: Some(ComparedTo {
                source: spec.all_sources().first().map(|source| (*source).clone()).unwrap_or_default(),
                destination: spec.destination.clone(),
            }),
        };
        status.source_type = format!("{:?}", observation.rendered.source_type);
        status.summary.images = sync::images(&observation.targets);
        status.resources = resources;
    }

    /// Why the pods of a workload do not get ready.
    fn blocker(&self, id: &ObjectId) -> Option<String> {
        let owned_by = |owners: &[(String, String)], references: Option<&Vec<_>>| {
            references.into_iter().flatten().any(
                |reference: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
                    owners.iter().any(|(kind, name)| *kind == reference.kind && *name == reference.name)
                },
            )
        };
        let mut owners = vec![(id.kind.clone(), id.name.clone())];
        for set in self.replica_sets.in_namespace(&id.namespace) {
            if owned_by(&owners, set.metadata.owner_references.as_ref()) {
                owners.push(("ReplicaSet".to_owned(), set.metadata.name.clone().unwrap_or_default()));
            }
        }
        let mut causes: Vec<String> = self
            .pods
            .in_namespace(&id.namespace)
            .iter()
            .filter(|pod| {
                let itself = id.kind == "Pod" && pod.metadata.name.as_deref() == Some(id.name.as_str());
                itself || owned_by(&owners, pod.metadata.owner_references.as_ref())
            })
            .filter_map(|pod| health::blocker(pod))
            .collect();
        causes.sort_unstable();
        causes.into_iter().next()
    }
}

/// Whether the object would be deleted by a sync that prunes.
pub(crate) fn prunable(tracked: &Tracked) -> bool {
    !tracked.deleting && !plan::has_sync_option(tracked.sync_options.as_deref(), "Prune=false")
}

/// The worst health of all objects.
pub(crate) fn worst_health(observation: &Observation) -> HealthStatus {
    let verdicts = observation.targets.iter().filter_map(|(_, compared)| compared.health.as_ref());
    verdicts.map(|verdict| verdict.status).max().unwrap_or(HealthStatus::Healthy)
}
