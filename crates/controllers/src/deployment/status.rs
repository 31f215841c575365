//! What a Deployment reports: counts and the conditions Available, Progressing and ReplicaFailure. Pure.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use kube::ResourceExt;

use super::plan::{Limits, size};
use crate::pod;

/// What the status is derived from.
#[derive(Clone, Copy)]
pub(super) struct Rollout<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) limits: Limits,
    pub(super) sets: &'a [Arc<ReplicaSet>],
    /// The set of the current template, once it exists.
    pub(super) new: Option<&'a Arc<ReplicaSet>>,
    pub(super) now: Timestamp,
}

/// Whether every pod is of the current template and available.
pub(super) fn is_complete(rollout: &Rollout<'_>) -> bool {
    complete(rollout, &counts_only(rollout))
}

fn complete(rollout: &Rollout<'_>, status: &DeploymentStatus) -> bool {
    let desired = rollout.limits.desired;
    status.updated_replicas.unwrap_or(0) == desired
        && status.replicas.unwrap_or(0) == desired
        && status.available_replicas.unwrap_or(0) == desired
}

/// The counts; conditions stay as they are.
pub(super) fn counts_only(rollout: &Rollout<'_>) -> DeploymentStatus {
    let sum = |count: fn(&ReplicaSet) -> i32| rollout.sets.iter().map(|set| count(set)).sum::<i32>();
    let available = sum(|set| set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0));
    let wanted = sum(size);
    let terminating = sum(|set| set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or(0));
    let old = rollout.deployment.status.as_ref();
    DeploymentStatus {
        observed_generation: rollout.deployment.metadata.generation,
        replicas: some(sum(|set| set.status.as_ref().map_or(0, |status| status.replicas))),
        updated_replicas: some(rollout.new.and_then(|new| new.status.as_ref()).map_or(0, |status| status.replicas)),
        ready_replicas: some(sum(|set| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0))),
        available_replicas: some(available),
        unavailable_replicas: some((wanted - available).max(0)),
        terminating_replicas: Some(terminating),
        collision_count: old.and_then(|status| status.collision_count),
        conditions: old.and_then(|status| status.conditions.clone()),
    }
}

/// The whole status, and when the progress deadline has to be looked at again. `created` is the name of the set that is
/// about to be created.
pub(super) fn report(
    rollout: &Rollout<'_>,
    paused: bool,
    scaling: bool,
    created: Option<&str>,
) -> (DeploymentStatus, Option<Duration>) {
    let mut status = counts_only(rollout);
    let mut conditions = status.conditions.take().unwrap_or_default();
    let enough = status.available_replicas.unwrap_or(0) >= rollout.limits.desired - rollout.limits.max_unavailable;
    let available = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut conditions, "Available", available.0, available.1, available.2.to_owned(), rollout.now);

    let next = progress(rollout, &status, &mut conditions, paused, scaling, created);

    let failure = rollout.new.into_iter().chain(rollout.sets).find_map(|set| {
        set.status
            .as_ref()?
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_.as_deref() == Some("ReplicaFailure") && c.status.as_deref() == Some("True"))
    });
    match failure {
        Some(found) => set(
            &mut conditions,
            "ReplicaFailure",
            "True",
            found.reason.as_deref().unwrap_or("FailedCreate"),
            found.message.clone().unwrap_or_default(),
            rollout.now,
        ),
        None => conditions.retain(|c| c.type_.as_deref() != Some("ReplicaFailure")),
    }
    status.conditions = Some(conditions);
    (status, next)
}

/// The condition Progressing.
fn progress(
    rollout: &Rollout<'_>,
    status: &DeploymentStatus,
    conditions: &mut Vec<DeploymentCondition>,
    paused: bool,
    scaling: bool,
    created: Option<&str>,
) -> Option<Duration> {
    let Rollout { deployment, new, now, .. } = *rollout;
    // The largest number stands for "no deadline".
    let Some(deadline) = deployment.spec.progress_deadline_seconds.or(Some(600)).filter(|limit| *limit != i32::MAX)
    else {
        conditions.retain(|c| c.type_.as_deref() != Some("Progressing"));
        return None;
    };
    let current = find(conditions, "Progressing").cloned();
    let reason = current.as_ref().and_then(|current| current.reason.as_deref()).unwrap_or_default();
    if paused {
        if reason != "DeploymentPaused" && reason != "ProgressDeadlineExceeded" {
            set(conditions, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused".to_owned(), now);
        }
        return None;
    }
    if reason == "DeploymentPaused" {
        set(conditions, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed".to_owned(), now);
        return remaining(deadline, now, now);
    }
    if let Some(created) = created {
        let message = format!("Created new replica set {created:?}");
        set(conditions, "Progressing", "True", "NewReplicaSetCreated", message, now);
        return remaining(deadline, now, now);
    }
    if current.is_none()
        && let Some(new) = new
    {
        let message = format!("Found new replica set {:?}", new.name_any());
        set(conditions, "Progressing", "True", "FoundNewReplicaSet", message, now);
    }
    let subject = match new {
        Some(new) => format!("ReplicaSet {:?}", new.name_any()),
        None => format!("Deployment {:?}", deployment.name_any()),
    };
    let already_done =
        reason == "NewReplicaSetAvailable" && status.replicas.unwrap_or(0) == status.updated_replicas.unwrap_or(0);
    if already_done || scaling {
        return None;
    }
    if new.is_some() && complete(rollout, status) {
        let message = format!("{subject} has successfully progressed.");
        set(conditions, "Progressing", "True", "NewReplicaSetAvailable", message, now);
        return None;
    }
    if has_progressed(deployment.status.as_ref(), status) {
        let message = format!("{subject} is progressing.");
        set(conditions, "Progressing", "True", "ReplicaSetUpdated", message, now);
        return remaining(deadline, now, now);
    }
    let since = find(conditions, "Progressing")
        .filter(|current| current.reason.as_deref() != Some("NewReplicaSetAvailable"))
        .and_then(|current| current.last_update_time.clone());
    let left = since.and_then(|since| remaining(deadline, since.0, now));
    match (find(conditions, "Progressing").and_then(|current| current.reason.as_deref()), left) {
        (_, Some(left)) => Some(left),
        (Some("NewReplicaSetAvailable" | "ProgressDeadlineExceeded") | None, None) => None,
        (Some(_), None) => {
            let message = format!("{subject} has timed out progressing.");
            set(conditions, "Progressing", "False", "ProgressDeadlineExceeded", message, now);
            None
        }
    }
}

/// The deadline is checked a second after it, as timestamps have whole seconds.
fn remaining(deadline: i32, since: Timestamp, now: Timestamp) -> Option<Duration> {
    pod::remaining(since, i64::from(deadline) + 1, now)
}

fn has_progressed(old: Option<&DeploymentStatus>, new: &DeploymentStatus) -> bool {
    let count = |status: Option<&DeploymentStatus>, field: fn(&DeploymentStatus) -> Option<i32>| {
        status.and_then(field).unwrap_or(0)
    };
    let total = |status| count(status, |status| status.replicas);
    let updated = |status| count(status, |status| status.updated_replicas);
    let ready = |status| count(status, |status| status.ready_replicas);
    let available = |status| count(status, |status| status.available_replicas);
    let new = Some(new);
    updated(new) > updated(old)
        || total(new) - updated(new) < total(old) - updated(old)
        || ready(new) > ready(old)
        || available(new) > available(old)
}

/// The new ReplicaSet was refused.
pub(super) fn set_failed_create(status: &mut DeploymentStatus, message: &str, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    set(conditions, "Progressing", "False", "ReplicaSetCreateError", message.to_owned(), now);
}

fn find<'a>(conditions: &'a [DeploymentCondition], kind: &str) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|condition| condition.type_.as_deref() == Some(kind))
}

/// Sets a condition. The transition time changes with the status only; the update time with every real change, and for
/// progress also with each sign of it.
fn set(
    conditions: &mut Vec<DeploymentCondition>,
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let time = Some(pod::time(now));
    let old = find(conditions, kind).cloned();
    let same = old.as_ref().is_some_and(|old| {
        old.status.as_deref() == Some(status)
            && old.reason.as_deref() == Some(reason)
            && old.message.as_deref() == Some(&message)
    });
    if same && reason != "ReplicaSetUpdated" {
        return;
    }
    let transition = match &old {
        Some(old) if old.status.as_deref() == Some(status) => old.last_transition_time.clone(),
        _ => time.clone(),
    };
    let condition = DeploymentCondition {
        type_: Some(kind.to_owned()),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: transition,
        last_update_time: time,
    };
    match conditions.iter_mut().find(|condition| condition.type_.as_deref() == Some(kind)) {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
}

fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}
