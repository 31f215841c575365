//! Health of one object, as Argo CD judges it: a small function for each kind that has one.

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::application::Health;

/// The six states, worst last: an Application is as healthy as its worst object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthStatus {
    /// It works.
    Healthy,
    /// It was told to wait.
    Suspended,
    /// It is on its way.
    Progressing,
    /// It is not there.
    Missing,
    /// It has failed.
    Degraded,
    /// It cannot be told.
    Unknown,
}

impl HealthStatus {
    /// The spelling of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Suspended => "Suspended",
            Self::Progressing => "Progressing",
            Self::Missing => "Missing",
            Self::Degraded => "Degraded",
            Self::Unknown => "Unknown",
        }
    }
}

/// A state and, where it is not healthy, the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The state.
    pub status: HealthStatus,
    /// The cause, for people.
    pub message: String,
}

impl Verdict {
    fn new(status: HealthStatus, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn healthy() -> Self {
        Self::new(HealthStatus::Healthy, "")
    }
}

impl From<Verdict> for Health {
    fn from(verdict: Verdict) -> Self {
        Self { status: verdict.status.as_str().to_owned(), message: verdict.message }
    }
}

/// How one kind is judged.
type Judge = fn(&Value) -> Verdict;

/// Kinds whose objects have a health; all others have none, which counts as healthy.
const JUDGES: &[(&str, &str, Judge)] = &[
    ("apps", "Deployment", deployment),
    ("apps", "ReplicaSet", replica_set),
    ("apps", "StatefulSet", stateful_set),
    ("apps", "DaemonSet", daemon_set),
    ("batch", "Job", job),
    ("", "Pod", pod),
    ("", "PersistentVolumeClaim", claim),
    ("", "Service", service),
    ("networking.k8s.io", "Ingress", ingress),
    ("autoscaling", "HorizontalPodAutoscaler", autoscaler),
    ("apiextensions.k8s.io", "CustomResourceDefinition", definition),
    ("argoproj.io", "Application", application),
];

/// The health of `object`; `None` for kinds that have none.
pub fn health(object: &Value) -> Option<Verdict> {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let kind = object["kind"].as_str().unwrap_or_default();
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Some(Verdict::new(HealthStatus::Progressing, "Pending deletion"));
    }
    let (_, _, judge) = JUDGES.iter().find(|(of_group, of_kind, _)| *of_group == group && *of_kind == kind)?;
    Some(judge(object))
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `status.conditions[type=kind]`.
fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|condition| condition["type"] == kind)
}

fn condition_is(object: &Value, kind: &str, status: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == status)
}

fn condition_message(object: &Value, kind: &str) -> String {
    condition(object, kind).and_then(|condition| condition["message"].as_str()).unwrap_or_default().to_owned()
}

/// The controller has not seen the newest spec yet.
fn is_stale(object: &Value) -> bool {
    number(object, "/status/observedGeneration") < number(object, "/metadata/generation")
}

fn deployment(object: &Value) -> Verdict {
    if object.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Verdict::new(HealthStatus::Suspended, "Deployment is paused");
    }
    if is_stale(object) {
        return Verdict::new(HealthStatus::Progressing, "Waiting for rollout to finish: the spec was just changed");
    }
    if condition(object, "Progressing").is_some_and(|condition| condition["reason"] == "ProgressDeadlineExceeded") {
        return Verdict::new(HealthStatus::Degraded, condition_message(object, "Progressing"));
    }
    if condition_is(object, "ReplicaFailure", "True") {
        return Verdict::new(HealthStatus::Degraded, condition_message(object, "ReplicaFailure"));
    }
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let (updated, total) = (number(object, "/status/updatedReplicas"), number(object, "/status/replicas"));
    let available = number(object, "/status/availableReplicas");
    if updated < wanted {
        let message =
            format!("Waiting for rollout to finish: {updated} out of {wanted} new replicas have been updated");
        return Verdict::new(HealthStatus::Progressing, message);
    }
    if total > updated {
        let message =
            format!("Waiting for rollout to finish: {} old replicas are pending termination", total - updated);
        return Verdict::new(HealthStatus::Progressing, message);
    }
    if available < updated {
        let message = format!("Waiting for rollout to finish: {available} of {updated} updated replicas are available");
        return Verdict::new(HealthStatus::Progressing, message);
    }
    Verdict::healthy()
}

fn replica_set(object: &Value) -> Verdict {
    if is_stale(object) {
        return Verdict::new(HealthStatus::Progressing, "Waiting for rollout to finish: the spec was just changed");
    }
    if condition_is(object, "ReplicaFailure", "True") {
        return Verdict::new(HealthStatus::Degraded, condition_message(object, "ReplicaFailure"));
    }
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let available = number(object, "/status/availableReplicas");
    if available < wanted {
        return Verdict::new(HealthStatus::Progressing, format!("{available} of {wanted} replicas are available"));
    }
    Verdict::healthy()
}

fn stateful_set(object: &Value) -> Verdict {
    if is_stale(object) {
        return Verdict::new(HealthStatus::Progressing, "Waiting for rollout to finish: the spec was just changed");
    }
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let ready = number(object, "/status/readyReplicas");
    if ready < wanted {
        return Verdict::new(HealthStatus::Progressing, format!("Waiting for {} pods to be ready", wanted - ready));
    }
    let on_delete = text(object, "/spec/updateStrategy/type") == "OnDelete";
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition");
    let updated = number(object, "/status/updatedReplicas");
    let revisions_differ = text(object, "/status/currentRevision") != text(object, "/status/updateRevision");
    if !on_delete && partition > 0 && updated < wanted - partition {
        let message =
            format!("Waiting for partitioned roll out: {updated} of {} new pods are updated", wanted - partition);
        return Verdict::new(HealthStatus::Progressing, message);
    }
    if !on_delete && partition == 0 && revisions_differ {
        return Verdict::new(
            HealthStatus::Progressing,
            format!("Waiting for rolling update: {updated} of {wanted} pods are updated"),
        );
    }
    Verdict::healthy()
}

fn daemon_set(object: &Value) -> Verdict {
    if is_stale(object) {
        return Verdict::new(HealthStatus::Progressing, "Waiting for rollout to finish: the spec was just changed");
    }
    let wanted = number(object, "/status/desiredNumberScheduled");
    let updated = number(object, "/status/updatedNumberScheduled");
    let available = number(object, "/status/numberAvailable");
    if text(object, "/spec/updateStrategy/type") != "OnDelete" && updated < wanted {
        return Verdict::new(
            HealthStatus::Progressing,
            format!("{updated} out of {wanted} new pods have been updated"),
        );
    }
    if available < wanted {
        return Verdict::new(HealthStatus::Progressing, format!("{available} of {wanted} pods are available"));
    }
    Verdict::healthy()
}

fn job(object: &Value) -> Verdict {
    if condition_is(object, "Failed", "True") {
        return Verdict::new(HealthStatus::Degraded, condition_message(object, "Failed"));
    }
    if condition_is(object, "Complete", "True") {
        return Verdict::healthy();
    }
    if condition_is(object, "Suspended", "True") {
        return Verdict::new(HealthStatus::Suspended, "Job is suspended");
    }
    Verdict::new(HealthStatus::Progressing, "Job is running")
}

fn pod(object: &Value) -> Verdict {
    match text(object, "/status/phase") {
        "Succeeded" => Verdict::healthy(),
        "Failed" => Verdict::new(HealthStatus::Degraded, text(object, "/status/message")),
        "Running" if condition_is(object, "Ready", "True") => Verdict::healthy(),
        _ => Verdict::new(HealthStatus::Progressing, "Pod is not ready"),
    }
}

fn claim(object: &Value) -> Verdict {
    match text(object, "/status/phase") {
        "Bound" => Verdict::healthy(),
        "Lost" => Verdict::new(HealthStatus::Degraded, "the bound PersistentVolume no longer exists"),
        _ => Verdict::new(HealthStatus::Progressing, "waiting for a volume"),
    }
}

fn service(object: &Value) -> Verdict {
    let waits = text(object, "/spec/type") == "LoadBalancer"
        && object.pointer("/status/loadBalancer/ingress").and_then(Value::as_array).is_none_or(Vec::is_empty);
    if waits { Verdict::new(HealthStatus::Progressing, "waiting for an address") } else { Verdict::healthy() }
}

fn ingress(object: &Value) -> Verdict {
    let has_address =
        object.pointer("/status/loadBalancer/ingress").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if has_address { Verdict::healthy() } else { Verdict::new(HealthStatus::Progressing, "waiting for an address") }
}

fn autoscaler(object: &Value) -> Verdict {
    for (kind, failing) in [("ScalingActive", "False"), ("AbleToScale", "False")] {
        let condition_of = condition(object, kind).filter(|condition| condition["status"] == failing);
        // Switched off, or an autoscaler that measures nothing and keeps the replicas: nothing is broken.
        let harmless = |condition: &Value| {
            condition["reason"]
                .as_str()
                .is_some_and(|reason| ["ScalingDisabled", "MetricsNotSupported"].contains(&reason))
        };
        if condition_of.is_some_and(|condition| !harmless(condition)) {
            return Verdict::new(HealthStatus::Degraded, condition_message(object, kind));
        }
    }
    if condition(object, "AbleToScale").is_none() {
        return Verdict::new(HealthStatus::Progressing, "Waiting to autoscale");
    }
    Verdict::healthy()
}

fn definition(object: &Value) -> Verdict {
    if condition_is(object, "NamesAccepted", "False") {
        return Verdict::new(HealthStatus::Degraded, condition_message(object, "NamesAccepted"));
    }
    if condition_is(object, "Established", "True") {
        return Verdict::healthy();
    }
    Verdict::new(HealthStatus::Progressing, "Status conditions not found")
}

fn application(object: &Value) -> Verdict {
    let status = match text(object, "/status/health/status") {
        "Healthy" => HealthStatus::Healthy,
        "Suspended" => HealthStatus::Suspended,
        "Degraded" => HealthStatus::Degraded,
        "Missing" => HealthStatus::Missing,
        _ => HealthStatus::Progressing,
    };
    Verdict::new(status, text(object, "/status/health/message"))
}

/// Waiting reasons that do not pass by themselves.
const BLOCKERS: [&str; 10] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "ContainerCannotRun",
    "StartError",
];

/// Why a pod does not get ready, in one sentence: `ImagePullBackOff: …`. `None` when it is ready or simply starting.
pub fn blocker(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let containers = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    for container in containers {
        let Some(state) = &container.state else { continue };
        if let Some(waiting) = &state.waiting {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            if BLOCKERS.contains(&reason) {
                let mut message = format!("{reason}: {}", waiting.message.as_deref().unwrap_or_default());
                let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
                if let Some(last) = last {
                    message.push_str(&format!(
                        "; last exit code {}{}",
                        last.exit_code,
                        last.message.as_deref().map(|text| format!(" ({})", text.trim())).unwrap_or_default()
                    ));
                }
                return Some(format!("{message} (container {} of pod {name})", container.name));
            }
        }
    }
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let message = unscheduled.message.as_deref().unwrap_or_default();
    Some(format!("{}: {message} (pod {name})", unscheduled.reason.as_deref().unwrap_or("Unschedulable")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::json;

    use super::*;

    fn verdict(object: Value) -> (&'static str, String) {
        let verdict = health(&object).unwrap();
        (verdict.status.as_str(), verdict.message)
    }

    #[test]
    fn a_deployment_is_judged_by_its_rollout() {
        let deployment = |generation: i64, status: Value| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generation": generation}, "spec": {"replicas": 2}, "status": status});
        let done = json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        for (object, status, part) in [
            (deployment(1, done.clone()), "Healthy", ""),
            (deployment(2, done), "Progressing", "just changed"),
            (
                deployment(1, json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1})),
                "Progressing",
                "1 out of 2 new",
            ),
            (
                deployment(
                    1,
                    json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 3}),
                ),
                "Progressing",
                "1 old replicas",
            ),
            (
                deployment(
                    1,
                    json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}),
                ),
                "Progressing",
                "1 of 2 updated",
            ),
            (
                deployment(
                    1,
                    json!({"observedGeneration": 1, "conditions": [{"type": "Progressing", "status": "False",
                        "reason": "ProgressDeadlineExceeded", "message": "timed out"}]}),
                ),
                "Degraded",
                "timed out",
            ),
        ] {
            let (found, message) = verdict(object);
            assert_eq!(found, status, "{message}");
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn other_kinds_are_judged_by_their_status() {
        let object = |api: &str, kind: &str, spec: Value, status: Value| json!({"apiVersion": api, "kind": kind, "metadata": {}, "spec": spec, "status": status});
        let scaler = |conditions: Value| {
            object("autoscaling/v2", "HorizontalPodAutoscaler", json!({}), json!({ "conditions": conditions }))
        };
        let able = json!({"type": "AbleToScale", "status": "True"});
        let active = |reason: &str| json!({"type": "ScalingActive", "status": "False", "reason": reason});
        for (object, status) in [
            (object("v1", "PersistentVolumeClaim", json!({}), json!({"phase": "Bound"})), "Healthy"),
            (object("v1", "PersistentVolumeClaim", json!({}), json!({"phase": "Pending"})), "Progressing"),
            (object("v1", "Service", json!({"type": "ClusterIP"}), json!({})), "Healthy"),
            (object("v1", "Service", json!({"type": "LoadBalancer"}), json!({})), "Progressing"),
            (object("apps/v1", "StatefulSet", json!({"replicas": 1}), json!({"readyReplicas": 1})), "Healthy"),
            (object("apps/v1", "StatefulSet", json!({"replicas": 1}), json!({"readyReplicas": 0})), "Progressing"),
            (
                object("batch/v1", "Job", json!({}), json!({"conditions": [{"type": "Failed", "status": "True"}]})),
                "Degraded",
            ),
            (
                object("batch/v1", "Job", json!({}), json!({"conditions": [{"type": "Complete", "status": "True"}]})),
                "Healthy",
            ),
            (scaler(json!([])), "Progressing"),
            (scaler(json!([able, active("MetricsNotSupported")])), "Healthy"),
            (scaler(json!([able, active("FailedGetResourceMetric")])), "Degraded"),
        ] {
            assert_eq!(verdict(object.clone()).0, status, "{object}");
        }
        assert_eq!(health(&object("v1", "ConfigMap", json!({}), json!({}))), None);
        let deleted =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(verdict(deleted).0, "Progressing");
    }

    #[test]
    fn a_blocked_pod_tells_the_cause() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web-1"}, "status": {"containerStatuses": [
            {"name": "web", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
             "state": {"waiting": {"reason": "ImagePullBackOff", "message": "pulling x: no such host"}}}]}}))
        .unwrap();
        assert_eq!(blocker(&pod).unwrap(), "ImagePullBackOff: pulling x: no such host (container web of pod web-1)");
        let starting: Pod =
            serde_json::from_value(json!({"metadata": {"name": "web-1"}, "status": {"containerStatuses": [
            {"name": "web", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
             "state": {"waiting": {"reason": "ContainerCreating"}}}]}}))
            .unwrap();
        assert_eq!(blocker(&starting), None);
    }
}
