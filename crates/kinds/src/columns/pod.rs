//! Pod and PodTemplate (`k8s.io/kubernetes/pkg/printers/internalversion`).

use jiff::Timestamp;
use serde_json::Value;

use super::{NONE, age, column, field_or, name, text, workloads};
use crate::{Column, ColumnType, age as ages, json::View};

pub(crate) fn pod() -> Vec<Column> {
    vec![
        name(),
        text("Ready", "Containers that are ready, of all containers.", ready),
        text("Status", "State of the pod, or why it is not running.", status),
        column(
            "Restarts",
            ColumnType::String,
            "Restarts of the containers, and the time since the last one.",
            restarts,
        ),
        age(),
        field_or("IP", "Address of the pod.", "/status/podIP", NONE).wide(),
        field_or("Node", "Node that runs the pod.", "/spec/nodeName", NONE).wide(),
        field_or("Nominated Node", "Node on which room is being made for the pod.", "/status/nominatedNodeName", NONE)
            .wide(),
        text("Readiness Gates", "Conditions beyond those of the containers.", readiness_gates).wide(),
    ]
}

pub(crate) fn template() -> Vec<Column> {
    vec![
        name(),
        text("Containers", "Names of the containers.", |object| workloads::containers(object.at("template"))),
        text("Images", "Images of the containers.", |object| workloads::images(object.at("template"))),
        text("Pod Labels", "Labels of the pods.", |object| {
            workloads::labels(object.path(&["template", "metadata", "labels"]))
        }),
    ]
}

fn statuses<'v>(pod: &'v Value, list: &str) -> &'v [Value] {
    pod.at("status").map_or(&[], |status| status.items(list))
}

/// An init container that always restarts counts as a container of the pod.
fn is_sidecar(pod: &Value, name: Option<&str>) -> bool {
    let mut containers = pod.at("spec").map_or(&[][..], |spec| spec.items("initContainers")).iter();
    containers.any(|container| container.text("name") == name && container.text("restartPolicy") == Some("Always"))
}

/// The statuses that count as those of the pod's own containers: sidecars first.
fn counted(pod: &Value) -> impl Iterator<Item = &Value> {
    let sidecars = statuses(pod, "initContainerStatuses").iter().filter(|status| is_sidecar(pod, status.text("name")));
    sidecars.chain(statuses(pod, "containerStatuses"))
}

fn ready(pod: &Value) -> String {
    let ready =
        counted(pod).filter(|status| status.flag("ready") && status.path(&["state", "running"]).is_some()).count();
    let spec = pod.at("spec").unwrap_or(&Value::Null);
    let sidecars =
        spec.items("initContainers").iter().filter(|container| container.text("restartPolicy") == Some("Always"));
    format!("{ready}/{}", spec.items("containers").len() + sidecars.count())
}

fn restarts(pod: &Value, now: Timestamp) -> Value {
    let initializing = initialization(pod).is_some();
    let all: Vec<_> =
        if initializing { statuses(pod, "initContainerStatuses").iter().collect() } else { counted(pod).collect() };
    let count: i64 = all.iter().filter_map(|status| status.int("restartCount")).fold(0, i64::saturating_add);
    let ends = all.iter().filter_map(|status| status.path(&["lastState", "terminated", "finishedAt"]));
    let last = ends.max_by_key(|time| time.as_str().unwrap_or_default().to_owned());
    match last {
        Some(time) if count > 0 => format!("{count} ({} ago)", ages::since(Some(time), now)).into(),
        _ => count.to_string().into(),
    }
}

/// `Init:0/2`, `Init:CrashLoopBackOff` and the like while init containers are at work.
fn initialization(pod: &Value) -> Option<String> {
    let total = pod.at("spec").map_or(0, |spec| spec.items("initContainers").len());
    for (index, status) in statuses(pod, "initContainerStatuses").iter().enumerate() {
        let state = status.at("state").unwrap_or(&Value::Null);
        if let Some(terminated) = state.at("terminated") {
            if terminated.int("exitCode") == Some(0) {
                continue;
            }
            return Some(format!("Init:{}", termination(terminated)));
        }
        if is_sidecar(pod, status.text("name")) && status.flag("started") {
            continue;
        }
        let reason = state.at("waiting").and_then(|waiting| waiting.filled("reason"));
        return Some(match reason.filter(|reason| *reason != "PodInitializing") {
            Some(reason) => format!("Init:{reason}"),
            None => format!("Init:{index}/{total}"),
        });
    }
    None
}

fn termination(terminated: &Value) -> String {
    match (terminated.filled("reason"), terminated.int("signal").filter(|signal| *signal != 0)) {
        (Some(reason), _) => reason.to_owned(),
        (None, Some(signal)) => format!("Signal:{signal}"),
        (None, None) => format!("ExitCode:{}", terminated.int("exitCode").unwrap_or(0)),
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.at("status").map_or(&[][..], |status| status.items("conditions"));
    conditions
        .iter()
        .any(|condition| condition.text("type") == Some("Ready") && condition.text("status") == Some("True"))
}

/// What the STATUS column says: the phase, unless a container, a gate or the deletion says more.
pub(crate) fn status(pod: &Value) -> String {
    let of = pod.at("status").unwrap_or(&Value::Null);
    let mut reason = of.filled("reason").or_else(|| of.filled("phase")).unwrap_or("Unknown").to_owned();
    let gated = of.items("conditions").iter().any(|condition| {
        condition.text("type") == Some("PodScheduled") && condition.text("reason") == Some("SchedulingGated")
    });
    if gated {
        reason = "SchedulingGated".to_owned();
    }
    let initialization = initialization(pod);
    let initialized = of
        .items("conditions")
        .iter()
        .any(|condition| condition.text("type") == Some("Initialized") && condition.text("status") == Some("True"));
    match initialization {
        Some(initialization) if !initialized => reason = initialization,
        _ => {
            let mut running = false;
            // The first container wins, as its status is applied last.
            for status in statuses(pod, "containerStatuses").iter().rev() {
                let state = status.at("state").unwrap_or(&Value::Null);
                if let Some(waiting) = state.at("waiting").and_then(|waiting| waiting.filled("reason")) {
                    reason = waiting.to_owned();
                } else if let Some(terminated) = state.at("terminated") {
                    reason = termination(terminated);
                } else if status.flag("ready") && state.at("running").is_some() {
                    running = true;
                }
            }
            if reason == "Completed" && running {
                reason = if is_ready(pod) { "Running" } else { "NotReady" }.to_owned();
            }
        }
    }
    if pod.path(&["metadata", "deletionTimestamp"]).is_some() {
        let finished = matches!(of.text("phase"), Some("Succeeded" | "Failed"));
        if of.text("reason") == Some("NodeLost") {
            reason = "Unknown".to_owned();
        } else if !finished {
            reason = "Terminating".to_owned();
        }
    }
    reason
}

fn readiness_gates(pod: &Value) -> String {
    let gates = pod.at("spec").map_or(&[][..], |spec| spec.items("readinessGates"));
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let conditions = pod.at("status").map_or(&[][..], |status| status.items("conditions"));
    let fulfilled = gates.iter().filter(|gate| {
        conditions.iter().any(|condition| {
            condition.text("type") == gate.text("conditionType") && condition.text("status") == Some("True")
        })
    });
    format!("{}/{}", fulfilled.count(), gates.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn status_says_what_kubectl_says() {
        let terminated = |reason: &str, code: i64| json!({"terminated": {"reason": reason, "exitCode": code}});
        for (pod, expected) in [
            (json!({}), "Unknown"),
            (json!({"status": {"phase": "Pending"}}), "Pending"),
            (json!({"status": {"phase": "Failed", "reason": "Evicted"}}), "Evicted"),
            (
                json!({"status": {"phase": "Running", "containerStatuses": [{"ready": true, "state": {"running": {}}}]}}),
                "Running",
            ),
            (
                json!({"status": {"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}}),
                "CrashLoopBackOff",
            ),
            (
                json!({"status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}}),
                "ImagePullBackOff",
            ),
            (
                json!({"status": {"phase": "Succeeded", "containerStatuses": [{"state": terminated("Completed", 0)}]}}),
                "Completed",
            ),
            (json!({"status": {"phase": "Failed", "containerStatuses": [{"state": terminated("Error", 1)}]}}), "Error"),
            (
                json!({"status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}}),
                "ExitCode:3",
            ),
            (
                json!({"status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"signal": 9}}}]}}),
                "Signal:9",
            ),
            (
                json!({"status": {"phase": "Running", "containerStatuses": [
                    {"ready": true, "state": {"running": {}}}, {"state": terminated("Completed", 0)},
                ]}}),
                "NotReady",
            ),
            (
                json!({"spec": {"initContainers": [{"name": "a"}]}, "status": {"phase": "Pending", "initContainerStatuses": [
                    {"name": "a", "state": {"running": {}}},
                ]}}),
                "Init:0/1",
            ),
            (
                json!({"spec": {"initContainers": [{"name": "a"}, {"name": "b"}]}, "status": {"phase": "Pending", "initContainerStatuses": [
                    {"name": "a", "state": terminated("Completed", 0)},
                    {"name": "b", "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
                ]}}),
                "Init:CrashLoopBackOff",
            ),
            (
                json!({"spec": {"initContainers": [{"name": "a"}]}, "status": {"phase": "Pending", "initContainerStatuses": [
                    {"name": "a", "state": terminated("Error", 1)},
                ]}}),
                "Init:Error",
            ),
            (
                json!({"spec": {"initContainers": [{"name": "s", "restartPolicy": "Always"}]}, "status": {
                    "phase": "Running",
                    "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "state": {"running": {}}}],
                    "containerStatuses": [{"ready": true, "state": {"running": {}}}],
                }}),
                "Running",
            ),
            (
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}}),
                "Terminating",
            ),
        ] {
            assert_eq!(status(&pod), expected, "{pod}");
        }
    }

    #[test]
    fn ready_and_restarts_count_sidecars() {
        let pod = json!({
            "spec": {"initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}]},
            "status": {
                "initContainerStatuses": [
                    {"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}},
                    {"name": "i", "restartCount": 5, "state": {"terminated": {"exitCode": 0}}},
                ],
                "containerStatuses": [
                    {"name": "a", "ready": true, "restartCount": 2, "state": {"running": {}},
                     "lastState": {"terminated": {"finishedAt": "2026-01-01T00:00:00Z"}}},
                    {"name": "b", "ready": false, "restartCount": 0, "state": {"running": {}}},
                ],
            },
        });
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        assert_eq!(ready(&pod), "2/3");
        assert_eq!(restarts(&pod, now), "3 (5m ago)");
        assert_eq!(restarts(&json!({}), now), "0");
    }
}
