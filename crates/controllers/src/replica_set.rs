//! ReplicaSets and ReplicationControllers: as many active pods as asked for.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
        core::v1::{
            Pod, PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
        },
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{Resource, ResourceExt, runtime::events::EventType};
use lotse_client::{Driver, Key, Next, Object};
use serde::Serialize;

use crate::{
    Context, Error, claim,
    context::{Controller, Managed, now},
    pod, selector,
};

/// At most this many pods are created or deleted in one step.
const BURST: usize = 500;

/// A kind that keeps a number of equal pods.
pub(crate) trait Replicated: Object + Resource<Scope = NamespaceResourceScope> + Serialize {
    /// Name of its controller.
    const CONTROLLER: &'static str;
    /// `status` of the kind.
    type Status: Serialize + Send + Sync;

    fn selector(&self) -> LabelSelector;
    fn template(&self) -> Option<&PodTemplateSpec>;
    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn status(&self) -> Option<&Self::Status>;
    /// The status for what was counted; conditions other than ReplicaFailure are kept.
    fn new_status(&self, counts: &Counts, failure: Option<&Failure>, now: Timestamp) -> Self::Status;
}

/// What was counted among the owned pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    replicas: i32,
    fully_labeled: i32,
    ready: i32,
    available: i32,
    terminating: i32,
}

/// Why the number of pods could not be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    reason: &'static str,
    message: String,
}

/// What brings the observed pods to the desired number.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

pub(crate) struct Controlled<K>(PhantomData<fn() -> K>);

/// Runs the controller of kind `K` until dropped.
pub(crate) async fn run<K: Replicated>(context: Context) {
    let (sets, pods) = (context.cache::<K>(), context.cache::<Pod>());
    sets.ready().await;
    pods.ready().await;
    let by_selector = sets.clone();
    Driver::new(Managed::new(Controlled::<K>(PhantomData), &context))
        .on_kind(&sets)
        .on_owned::<K, Pod>(&pods)
        .on(&pods, move |pod| {
            if claim::controller_of(&pod.metadata).is_some() || pod.metadata.labels.is_none() {
                return Vec::new();
            }
            let matching = by_selector.filter(|set| {
                set.namespace() == pod.metadata.namespace
                    && selector::matches(&set.selector(), pod.metadata.labels.as_ref())
            });
            matching.iter().map(|set| Key::of(set.as_ref())).collect()
        })
        .run()
        .await;
}

// === impl Controlled ===

impl<K: Replicated> Controller for Controlled<K> {
    const NAME: &'static str = K::CONTROLLER;

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let Some(set) = context.cache::<K>().get(key) else { return Ok(Next::Done) };
        let pods = claim::claim::<K, Pod>(context, Self::NAME, set.as_ref(), &set.selector()).await?;
        let mut failure = None;
        let mut failed = None;
        if set.meta().deletion_timestamp.is_none() {
            let outcome = match plan(set.replicas(), &pods) {
                Step::Nothing => Ok(()),
                Step::Create(missing) => create(context, set.as_ref(), missing).await.map_err(|e| ("FailedCreate", e)),
                Step::Delete(excess) => delete(context, set.as_ref(), excess).await.map_err(|e| ("FailedDelete", e)),
            };
            if let Err((reason, error)) = outcome {
                failure = Some(Failure { reason, message: error.user_message() });
                failed = Some(error);
            }
        }
        // Count again: what we have just done is in the cache.
        let uid = set.uid().unwrap_or_default();
        let pods = context
            .cache::<Pod>()
            .filter(|pod| pod.metadata.namespace == key.namespace && claim::is_controlled_by(&pod.metadata, &uid));
        let labels =
            set.template().and_then(|template| template.metadata.as_ref()).and_then(|meta| meta.labels.clone());
        let now = now();
        let counts = count(&pods, &labels.unwrap_or_default(), set.min_ready_seconds(), now);
        let Some(set) = context.cache::<K>().get(key) else { return Ok(Next::Done) };
        let status = set.new_status(&counts, failure.as_ref(), now);
        context.status(Self::NAME, set.as_ref(), set.status(), &status).await?;
        match failed {
            Some(error) => Err(error),
            None => Ok(next_availability(&pods, set.min_ready_seconds(), now)),
        }
    }
}

/// Look again when the next ready pod becomes available.
fn next_availability(pods: &[Arc<Pod>], min_ready_seconds: i32, now: Timestamp) -> Next {
    let soonest = pods.iter().filter_map(|pod| pod::available_in(pod, min_ready_seconds, now)).min();
    soonest.map_or(Next::Done, |delay| Next::After(delay + Duration::from_millis(10)))
}

fn plan(desired: i32, pods: &[Arc<Pod>]) -> Step {
    let mut active: Vec<_> = pods.iter().filter(|pod| pod::is_active(pod)).cloned().collect();
    let desired = usize::try_from(desired).unwrap_or(0);
    if active.len() < desired {
        return Step::Create((desired - active.len()).min(BURST));
    }
    if active.len() == desired {
        return Step::Nothing;
    }
    let excess = (active.len() - desired).min(BURST);
    active.sort_by(|a, b| pod::deletion_order(a, b));
    active.truncate(excess);
    Step::Delete(active)
}

fn count(
    pods: &[Arc<Pod>],
    template_labels: &std::collections::BTreeMap<String, String>,
    min_ready_seconds: i32,
    now: Timestamp,
) -> Counts {
    let mut counts = Counts::default();
    for pod in pods {
        if pod::is_terminating(pod) && !pod::is_terminal(pod) {
            counts.terminating += 1;
        }
        if !pod::is_active(pod) {
            continue;
        }
        counts.replicas += 1;
        counts.fully_labeled += i32::from(selector::contains(pod.metadata.labels.as_ref(), template_labels));
        counts.ready += i32::from(pod::is_ready(pod));
        counts.available += i32::from(pod::is_available(pod, min_ready_seconds, now));
    }
    counts
}

/// Creates pods in batches of 1, 2, 4, …: a template that is refused costs one request, not hundreds.
async fn create<K: Replicated>(context: &Context, set: &K, missing: usize) -> Result<(), Error> {
    let Some(template) = set.template() else {
        let object = crate::context::describe(set);
        return Err(Error::invalid(format!("{object}: spec.template is missing; add the pods to make")));
    };
    let namespace = set.namespace().unwrap_or_default();
    let pod =
        pod::from_template(template, &namespace, format!("{}-", set.name_any()), claim::controller_reference(set));
    let (mut left, mut batch) = (missing, 1);
    while left > 0 {
        let size = batch.min(left);
        let created = futures::future::join_all((0..size).map(|_| context.create(K::CONTROLLER, &pod))).await;
        for outcome in created {
            match outcome {
                Ok(pod) => {
                    let note = format!("Created pod: {}", pod.name_any());
                    context.event(K::CONTROLLER, set, EventType::Normal, "SuccessfulCreate", note).await;
                }
                Err(error) => {
                    let note = format!("Error creating: {}", error.user_message());
                    context.event(K::CONTROLLER, set, EventType::Warning, "FailedCreate", note).await;
                    return Err(error);
                }
            }
        }
        left -= size;
        batch *= 2;
    }
    Ok(())
}

async fn delete<K: Replicated>(context: &Context, set: &K, excess: Vec<Arc<Pod>>) -> Result<(), Error> {
    let deleted = futures::future::join_all(excess.iter().map(|pod| context.delete(pod.as_ref()))).await;
    for (pod, outcome) in excess.iter().zip(deleted) {
        match outcome {
            Ok(()) => {
                let note = format!("Deleted pod: {}", pod.name_any());
                context.event(K::CONTROLLER, set, EventType::Normal, "SuccessfulDelete", note).await;
            }
            Err(error) => {
                let note = format!("Error deleting: {}", error.user_message());
                context.event(K::CONTROLLER, set, EventType::Warning, "FailedDelete", note).await;
                return Err(error);
            }
        }
    }
    Ok(())
}

// === impl Replicated for ReplicaSet ===

impl Replicated for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset";
    type Status = ReplicaSetStatus;

    fn selector(&self) -> LabelSelector {
        self.spec.selector.clone()
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.template.as_ref()
    }

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    fn status(&self) -> Option<&ReplicaSetStatus> {
        self.status.as_ref()
    }

    fn new_status(&self, counts: &Counts, failure: Option<&Failure>, now: Timestamp) -> ReplicaSetStatus {
        let old = self.status.as_ref().and_then(|status| status.conditions.as_ref());
        let mut conditions: Vec<_> =
            old.into_iter().flatten().filter(|c| c.type_.as_deref() != Some("ReplicaFailure")).cloned().collect();
        if let Some(failure) = failure {
            let since = old
                .into_iter()
                .flatten()
                .find(|c| c.type_.as_deref() == Some("ReplicaFailure") && c.reason.as_deref() == Some(failure.reason))
                .and_then(|c| c.last_transition_time.clone());
            conditions.push(ReplicaSetCondition {
                type_: Some("ReplicaFailure".to_owned()),
                status: Some("True".to_owned()),
                reason: Some(failure.reason.to_owned()),
                message: Some(failure.message.clone()),
                last_transition_time: Some(since.unwrap_or_else(|| pod::time(now))),
            });
        }
        ReplicaSetStatus {
            replicas: counts.replicas,
            fully_labeled_replicas: some(counts.fully_labeled),
            ready_replicas: some(counts.ready),
            available_replicas: some(counts.available),
            terminating_replicas: Some(counts.terminating),
            observed_generation: self.metadata.generation,
            conditions: (!conditions.is_empty()).then_some(conditions),
        }
    }
}

// === impl Replicated for ReplicationController ===

impl Replicated for ReplicationController {
    const CONTROLLER: &'static str = "replication";
    type Status = ReplicationControllerStatus;

    fn selector(&self) -> LabelSelector {
        let spec = self.spec.as_ref();
        LabelSelector { match_labels: spec.and_then(|spec| spec.selector.clone()), match_expressions: None }
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn status(&self) -> Option<&ReplicationControllerStatus> {
        self.status.as_ref()
    }

    fn new_status(&self, counts: &Counts, failure: Option<&Failure>, now: Timestamp) -> ReplicationControllerStatus {
        let old = self.status.as_ref().and_then(|status| status.conditions.as_ref());
        let mut conditions: Vec<_> =
            old.into_iter().flatten().filter(|c| c.type_ != "ReplicaFailure").cloned().collect();
        if let Some(failure) = failure {
            let since = old
                .into_iter()
                .flatten()
                .find(|c| c.type_ == "ReplicaFailure" && c.reason.as_deref() == Some(failure.reason))
                .and_then(|c| c.last_transition_time.clone());
            conditions.push(ReplicationControllerCondition {
                type_: "ReplicaFailure".to_owned(),
                status: "True".to_owned(),
                reason: Some(failure.reason.to_owned()),
                message: Some(failure.message.clone()),
                last_transition_time: Some(since.unwrap_or_else(|| pod::time(now))),
            });
        }
        ReplicationControllerStatus {
            replicas: counts.replicas,
            fully_labeled_replicas: some(counts.fully_labeled),
            ready_replicas: some(counts.ready),
            available_replicas: some(counts.available),
            observed_generation: self.metadata.generation,
            conditions: (!conditions.is_empty()).then_some(conditions),
        }
    }
}

/// Kubernetes leaves zero counts out of these statuses; `kubectl` prints the same for both.
fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn pod(name: &str, phase: &str, ready: bool, terminating: bool) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        let deleted = terminating.then_some("2026-01-01T00:00:00Z");
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "labels": {"app": "web"}, "deletionTimestamp": deleted},
                "spec": {"nodeName": "n", "containers": []},
                "status": {"phase": phase, "conditions": [{"type": "Ready", "status": status}]},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn only_active_pods_count_as_replicas() {
        let pods = [
            pod("a", "Running", true, false),
            pod("b", "Running", false, false),
            pod("c", "Failed", false, false),
            pod("d", "Running", true, true),
        ];
        assert_eq!(plan(2, &pods), Step::Nothing);
        assert_eq!(plan(4, &pods), Step::Create(2));
        assert_eq!(plan(1, &pods), Step::Delete(vec![pods[1].clone()]));
        assert_eq!(plan(0, &pods), Step::Delete(vec![pods[1].clone(), pods[0].clone()]));
        let labels = [("app".to_owned(), "web".to_owned())].into();
        let counts = count(&pods, &labels, 0, Timestamp::now());
        assert_eq!(counts, Counts { replicas: 2, fully_labeled: 2, ready: 1, available: 1, terminating: 1 });
    }

    #[test]
    fn one_step_never_exceeds_the_burst() {
        assert_eq!(plan(10_000, &[]), Step::Create(BURST));
    }
}
