#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::*;

fn node(name: &str, labels: Value, taints: Value) -> Arc<Node> {
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}}))
            .unwrap(),
    )
}

fn set(strategy: Value) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": {"name": "agent", "namespace": "n"},
        "spec": {"selector": {}, "updateStrategy": strategy, "template": {"spec": {
            "containers": [], "nodeSelector": {"disk": "ssd"},
        }}},
    }))
    .unwrap()
}

fn pod(name: &str, node: &str, revision: &str, ready: bool) -> Arc<Pod> {
    let status = if ready { "True" } else { "False" };
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"controller-revision-hash": revision}},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]},
        }))
        .unwrap(),
    )
}

fn steps(set: &DaemonSet, nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> Vec<String> {
    let template = with_tolerations(&set.spec.template);
    let nodes: Vec<_> = nodes.iter().map(|node| (node.clone(), fit(&template, node))).collect();
    let observed = Observed { set, nodes: &nodes, pods, update: "new", now: Timestamp::now() };
    let text = |step: &Step| match step {
        Step::Create { node } => format!("create {node}"),
        Step::Delete(pod) => format!("delete {}", pod.name_any()),
    };
    plan(&observed).iter().map(text).collect()
}

#[test]
fn one_pod_runs_on_every_node_that_fits() {
    let daemon = set(json!({}));
    let ssd = json!({"disk": "ssd"});
    let nodes = [
        node("a", ssd.clone(), json!([])),
        node("b", json!({}), json!([])),
        node("c", ssd.clone(), json!([{"key": "only", "value": "db", "effect": "NoSchedule"}])),
        node("d", ssd, json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}])),
    ];
    assert_eq!(steps(&daemon, &nodes, &[]), ["create a", "create d"]);
    let pods = [
        pod("on-a", "a", "new", true),
        pod("on-b", "b", "new", true),
        pod("on-c", "c", "new", true),
        pod("lost", "gone", "new", true),
    ];
    // A new taint without NoExecute does not drive a running pod away; a label that no longer fits does.
    assert_eq!(steps(&daemon, &nodes, &pods), ["delete on-b", "create d", "delete lost"]);
}

#[test]
fn a_new_template_replaces_within_the_limits() {
    let nodes = [node("a", json!({"disk": "ssd"}), json!([])), node("b", json!({"disk": "ssd"}), json!([]))];
    let old = [pod("old-a", "a", "old", true), pod("old-b", "b", "old", true)];
    assert_eq!(steps(&set(json!({})), &nodes, &old), ["delete old-a"]);
    assert!(steps(&set(json!({"type": "OnDelete"})), &nodes, &old).is_empty());
    let surge = set(json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}));
    assert_eq!(steps(&surge, &nodes, &old), ["create a"]);
    let both = [old[0].clone(), old[1].clone(), pod("new-a", "a", "new", false)];
    assert!(steps(&surge, &nodes, &both).is_empty());
    let ready = [old[0].clone(), old[1].clone(), pod("new-a", "a", "new", true)];
    assert_eq!(steps(&surge, &nodes, &ready), ["delete old-a"]);
}

#[test]
fn a_daemon_pod_is_pinned_to_its_node_by_affinity() {
    let mut pod = Pod::default();
    pin(&mut pod, "a");
    assert_eq!(node_of(&pod), Some("a"));
    let spec = pod.spec.unwrap();
    assert!(predicates::matches_node(&spec, &node("a", json!({}), json!([]))));
    assert!(!predicates::matches_node(&spec, &node("b", json!({}), json!([]))));
}
