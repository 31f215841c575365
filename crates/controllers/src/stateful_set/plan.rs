//! The decision: which pods a StatefulSet creates or deletes next. Pure.

use std::{ops::Range, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::ResourceExt;

use crate::{
    intstr::{Round, scaled},
    pod, revision,
};

/// Everything the decision may look at.
#[derive(Clone, Copy)]
pub(super) struct Observed<'a> {
    pub(super) set: &'a StatefulSet,
    /// The pods that belong to it and have an ordinal.
    pub(super) pods: &'a [Arc<Pod>],
    /// Value of the revision label of the current and of the new template.
    pub(super) current: &'a str,
    pub(super) update: &'a str,
    /// Names of the two ControllerRevisions.
    pub(super) current_name: &'a str,
    pub(super) update_name: &'a str,
    pub(super) now: Timestamp,
}

/// One write.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Create { ordinal: i32, revision: String },
    Delete(Arc<Pod>),
    Relabel(Arc<Pod>),
}

/// The ordinal in a pod's name; `None` if the name is not of this set.
pub(super) fn ordinal(set: &StatefulSet, pod: &str) -> Option<i32> {
    let digits = pod.strip_prefix(set.metadata.name.as_deref()?)?.strip_prefix('-')?;
    let canonical = digits == "0" || !digits.starts_with('0');
    (canonical && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// The ordinals that shall exist.
pub(super) fn range(set: &StatefulSet) -> Range<i32> {
    let start = set.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
    start..start.saturating_add(set.spec.replicas.unwrap_or(1))
}

fn strategy(set: &StatefulSet) -> &str {
    set.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate")
}

fn partition(set: &StatefulSet) -> Option<i32> {
    set.spec.update_strategy.as_ref()?.rolling_update.as_ref()?.partition
}

fn revision_of(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(revision::HASH)).map_or("", String::as_str)
}

/// The revision that a new pod with this ordinal gets: ordinals below the partition (or, in a rollout without one, those
/// that the rollout has not reached) keep the current template.
fn wanted_revision<'a>(observed: &Observed<'a>, ordinal: i32) -> &'a str {
    let set = observed.set;
    if strategy(set) != "RollingUpdate" {
        return observed.update;
    }
    let start = range(set).start;
    let keep = match partition(set).filter(|partition| *partition > 0) {
        Some(partition) => ordinal < partition.max(start),
        None => {
            let current = set.status.as_ref().and_then(|status| status.current_replicas).unwrap_or(0);
            ordinal < start.saturating_add(current)
        }
    };
    if keep { observed.current } else { observed.update }
}

/// Decides the next steps. With `OrderedReady` that is one pod at a time, each waiting for its predecessors.
pub(super) fn plan(observed: &Observed<'_>) -> Vec<Step> {
    let set = observed.set;
    let range = range(set);
    let parallel = set.spec.pod_management_policy.as_deref() == Some("Parallel");
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let healthy = |pod: &Pod| !pod::is_terminating(pod) && pod::is_available(pod, min_ready, observed.now);
    let find = |wanted: i32| observed.pods.iter().find(|pod| ordinal(set, &pod.name_any()) == Some(wanted));
    let mut steps = Vec::new();
    // In an ordered set the first thing to wait for ends the plan.
    let mut waiting = false;

    for index in range.clone() {
        match find(index) {
            None => steps.push(Step::Create { ordinal: index, revision: wanted_revision(observed, index).to_owned() }),
            Some(pod) if pod::is_terminating(pod) => waiting = true,
            // A finished pod is replaced under the same name.
            Some(pod) if pod::is_terminal(pod) => steps.push(Step::Delete(pod.clone())),
            Some(pod) => {
                let name = pod.name_any();
                let labelled = |label: &str, value: &str| pod.labels().get(label).is_some_and(|found| found == value);
                if !labelled(super::POD_NAME, &name) || !labelled(super::POD_INDEX, &index.to_string()) {
                    steps.push(Step::Relabel(pod.clone()));
                }
                waiting |= !healthy(pod);
            }
        }
        if !parallel && (waiting || steps.iter().any(|step| !matches!(step, Step::Relabel(_)))) {
            // An unhealthy pod of the old template must not block its own replacement.
            return with_forced_update(observed, steps, waiting);
        }
    }

    let mut condemned: Vec<(i32, &Arc<Pod>)> = observed
        .pods
        .iter()
        .filter_map(|pod| Some((ordinal(set, &pod.name_any())?, pod)))
        .filter(|(index, _)| !range.contains(index))
        .collect();
    condemned.sort_by_key(|(index, _)| std::cmp::Reverse(*index));
    for (_, pod) in condemned {
        if pod::is_terminating(pod) {
            if parallel {
                continue;
            }
            return steps;
        }
        steps.push(Step::Delete(pod.clone()));
        if !parallel {
            return steps;
        }
    }
    if steps.iter().any(|step| matches!(step, Step::Create { .. } | Step::Delete(_))) {
        return steps;
    }
    roll(observed, &healthy, &mut steps);
    steps
}

/// Kubernetes leaves an ordered set stuck when its new template can never become ready and the user repairs it; deleting
/// the pod by hand is the documented way out. We go that way for the user: a pod that is not ready and neither of the
/// current nor of the new revision is deleted.
fn with_forced_update(observed: &Observed<'_>, mut steps: Vec<Step>, waiting: bool) -> Vec<Step> {
    if !waiting || strategy(observed.set) != "RollingUpdate" {
        return steps;
    }
    let partition = partition(observed.set).unwrap_or(0);
    let stuck = observed.pods.iter().find(|pod| {
        let index = ordinal(observed.set, &pod.name_any());
        index.is_some_and(|index| range(observed.set).contains(&index) && index >= partition)
            && !pod::is_terminating(pod)
            && !pod::is_terminal(pod)
            && !pod::is_ready(pod)
            && revision_of(pod) != observed.update
            && revision_of(pod) != observed.current
    });
    if let Some(pod) = stuck
        && !observed.pods.iter().any(|pod| pod::is_terminating(pod))
    {
        steps.push(Step::Delete(pod.clone()));
    }
    steps
}

/// Replaces pods of another revision, highest ordinal first, never more than `maxUnavailable` (1) at once.
fn roll(observed: &Observed<'_>, healthy: &dyn Fn(&Pod) -> bool, steps: &mut Vec<Step>) {
    let set = observed.set;
    if strategy(set) != "RollingUpdate" {
        return;
    }
    let range = range(set);
    let rolling = set.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let replicas = set.spec.replicas.unwrap_or(1);
    let one = IntOrString::Int(1);
    let allowed = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&one);
    let allowed = scaled(allowed, replicas, Round::Down).max(1);
    let lowest = partition(set).unwrap_or(0).max(range.start);
    let mut unavailable = 0;
    for index in range.rev() {
        let found = observed.pods.iter().find(|pod| ordinal(set, &pod.name_any()) == Some(index));
        let Some(pod) = found else {
            unavailable += 1;
            continue;
        };
        let outdated = index >= lowest && revision_of(pod) != observed.update && !pod::is_terminating(pod);
        if outdated && unavailable < allowed {
            steps.push(Step::Delete(pod.clone()));
            unavailable += 1;
        } else if !healthy(pod) {
            unavailable += 1;
        }
        if unavailable >= allowed {
            return;
        }
    }
}

/// The status for what is observed.
pub(super) fn status(observed: &Observed<'_>) -> StatefulSetStatus {
    let set = observed.set;
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let range = range(set);
    let mut counts = StatefulSetStatus::default();
    let (mut ready, mut available, mut current, mut updated) = (0, 0, 0, 0);
    for pod in observed.pods {
        counts.replicas += 1;
        if pod::is_ready(pod) && pod::phase(pod) == "Running" {
            ready += 1;
            available += i32::from(pod::is_available(pod, min_ready, observed.now) && !pod::is_terminating(pod));
        }
        let counted = ordinal(set, &pod.name_any()).is_some_and(|index| range.contains(&index)) && pod::is_active(pod);
        current += i32::from(counted && revision_of(pod) == observed.current);
        updated += i32::from(counted && revision_of(pod) == observed.update);
    }
    let desired = set.spec.replicas.unwrap_or(1);
    let mut current_name = observed.current_name.to_owned();
    // The rollout is over: the new template becomes the current one.
    if strategy(set) == "RollingUpdate" && updated == desired && ready == desired && counts.replicas == desired {
        current_name = observed.update_name.to_owned();
        current = updated;
    }
    StatefulSetStatus {
        replicas: counts.replicas,
        ready_replicas: (ready != 0).then_some(ready),
        available_replicas: Some(available),
        current_replicas: (current != 0).then_some(current),
        updated_replicas: (updated != 0).then_some(updated),
        current_revision: Some(current_name),
        update_revision: Some(observed.update_name.to_owned()),
        observed_generation: set.metadata.generation,
        collision_count: Some(set.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0)),
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
