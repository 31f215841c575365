#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::json;

use super::*;

fn pod(name: &str, node: Option<&str>, phase: &str, ready: Option<&str>, created: &str) -> Pod {
    let conditions: Vec<_> = ready
        .map(|since| json!({"type": "Ready", "status": "True", "lastTransitionTime": since}))
        .into_iter()
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": name, "creationTimestamp": created},
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": phase, "conditions": conditions},
    }))
    .unwrap()
}

#[test]
fn the_least_useful_pod_is_deleted_first() {
    let old = "2026-01-01T00:00:00Z";
    let new = "2026-01-02T00:00:00Z";
    let mut pods = [
        pod("ready-long", Some("n"), "Running", Some(old), old),
        pod("ready-lately", Some("n"), "Running", Some(new), old),
        pod("not-ready-old", Some("n"), "Running", None, old),
        pod("not-ready-new", Some("n"), "Running", None, new),
        pod("pending", Some("n"), "Pending", None, old),
        pod("unscheduled", None, "Pending", None, old),
    ];
    pods.sort_by(deletion_order);
    let names: Vec<_> = pods.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["unscheduled", "pending", "not-ready-new", "not-ready-old", "ready-lately", "ready-long"]);
}

#[test]
fn a_ready_pod_is_available_only_after_min_ready_seconds() {
    let pod = pod("a", Some("n"), "Running", Some("2026-01-01T00:00:00Z"), "2026-01-01T00:00:00Z");
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    assert!(is_available(&pod, 0, at("2026-01-01T00:00:00Z")));
    assert!(!is_available(&pod, 10, at("2026-01-01T00:00:09Z")));
    assert_eq!(available_in(&pod, 10, at("2026-01-01T00:00:09Z")), Some(Duration::from_secs(1)));
    assert!(is_available(&pod, 10, at("2026-01-01T00:00:10Z")));
}
