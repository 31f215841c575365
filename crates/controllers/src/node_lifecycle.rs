//! Nodes: a kubelet that no longer renews its lease makes the node's conditions Unknown; what the conditions say becomes
//! taints, which keep new pods away.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, NodeCondition, Taint},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::Api;
use lotse_client::{Driver, Key, Next};
use serde_json::json;

use crate::{
    Context, Error,
    context::{Controller, Managed, now},
    pod,
};

const NAME: &str = "node-lifecycle";
const LEASES: &str = "kube-node-lease";
/// As `--node-monitor-grace-period`.
const GRACE: i64 = 40;

/// Condition, status, and the taint it means.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", "node.kubernetes.io/not-ready"),
    ("Ready", "Unknown", "node.kubernetes.io/unreachable"),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

struct Nodes;

/// Runs the controller until dropped.
pub(crate) async fn run(context: Context) {
    let (nodes, leases) = (context.cache::<Node>(), context.cache::<Lease>());
    nodes.ready().await;
    leases.ready().await;
    Driver::new(Managed::new(Nodes, &context)).on_kind(&nodes).run().await;
}

impl Controller for Nodes {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let Some(node) = context.cache::<Node>().get(key) else { return Ok(Next::Done) };
        let lease = context.cache::<Lease>().get(&Key::namespaced(LEASES, &key.name));
        let now = now();
        let seen = last_seen(&node, lease.as_deref());
        let left = seen.and_then(|seen| pod::remaining(seen, GRACE, now));
        let api: Api<Node> = Api::all(context.client());
        if seen.is_some() && left.is_none() {
            let mut status = node.status.clone().unwrap_or_default();
            mark_unknown(status.conditions.get_or_insert_default(), now);
            context.status_with(api.clone(), NAME, node.as_ref(), node.status.as_ref(), &status).await?;
        }
        let Some(node) = context.cache::<Node>().get(key) else { return Ok(Next::Done) };
        let current = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        let wanted = taints(&node, now);
        if wanted != current {
            context.merge_with(api, NAME, node.as_ref(), json!({"spec": {"taints": wanted}})).await?;
        }
        Ok(Next::After(left.unwrap_or(Duration::from_secs(5)).max(Duration::from_secs(1))))
    }
}

/// The kubelet's last sign of life: its lease, or the heartbeat in its status.
fn last_seen(node: &Node, lease: Option<&Lease>) -> Option<Timestamp> {
    let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    renewed.max(ready.and_then(|ready| ready.last_heartbeat_time.as_ref()).map(|time| time.0))
}

fn mark_unknown(conditions: &mut [NodeCondition], now: Timestamp) {
    for condition in conditions.iter_mut().filter(|condition| condition.status != "Unknown") {
        condition.status = "Unknown".to_owned();
        condition.reason = Some("NodeStatusUnknown".to_owned());
        condition.message = Some("Kubelet stopped posting node status.".to_owned());
        condition.last_transition_time = Some(pod::time(now));
    }
}

/// The taints a node should have: the user's, and ours by condition.
fn taints(node: &Node, now: Timestamp) -> Vec<Taint> {
    let current = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut wanted: Vec<&str> = TAINTS
        .iter()
        .filter(|(kind, status, _)| conditions.into_iter().flatten().any(|c| c.type_ == *kind && c.status == *status))
        .map(|(_, _, key)| *key)
        .collect();
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push(UNSCHEDULABLE);
    }
    let ours = |taint: &Taint| {
        taint.effect == "NoSchedule"
            && (taint.key == UNSCHEDULABLE || TAINTS.iter().any(|(_, _, key)| *key == taint.key))
    };
    let mut taints: Vec<_> =
        current.into_iter().filter(|taint| !ours(taint) || wanted.contains(&taint.key.as_str())).collect();
    for key in wanted {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == "NoSchedule") {
            let time_added: Option<Time> = Some(pod::time(now));
            let effect = "NoSchedule".to_owned();
            taints.push(Taint { key: key.to_owned(), effect, value: None, time_added });
        }
    }
    taints
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn conditions_become_taints_and_go_with_them() {
        let node = |ready: &str, unschedulable: bool, taints: serde_json::Value| -> Node {
            serde_json::from_value(json!({
                "metadata": {"name": "n"},
                "spec": {"unschedulable": unschedulable, "taints": taints},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap()
        };
        let keys = |node: &Node| taints(node, Timestamp::now()).into_iter().map(|t| t.key).collect::<Vec<_>>();
        assert!(keys(&node("True", false, json!([]))).is_empty());
        assert_eq!(keys(&node("False", false, json!([]))), ["node.kubernetes.io/not-ready"]);
        assert_eq!(keys(&node("Unknown", true, json!([]))), ["node.kubernetes.io/unreachable", UNSCHEDULABLE]);
        let kept = json!([
            {"key": "mine", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
        ]);
        assert_eq!(keys(&node("True", false, kept)), ["mine"]);
    }
}
