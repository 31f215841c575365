//! Pods that nobody else removes: those of a node that is gone, terminating ones that never had a node, and the oldest
//! terminated ones beyond a limit.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{ResourceExt, api::DeleteParams};
use lotse_client::{Driver, Key, Next};

use crate::{
    Context, Error, claim,
    context::{Controller, Managed},
    pod,
};

const NAME: &str = "pod-garbage-collector";
const ALL: &str = "all-pods";
/// How often Kubernetes looks, too.
const INTERVAL: Duration = Duration::from_secs(20);

struct Collector;

/// Runs the controller until dropped.
pub(crate) async fn run(context: Context) {
    let (nodes, pods) = (context.cache::<Node>(), context.cache::<Pod>());
    nodes.ready().await;
    pods.ready().await;
    let driver = Driver::new(Managed::new(Collector, &context)).concurrency(1);
    driver.trigger()(Key::cluster(ALL));
    driver.run().await;
}

impl Controller for Collector {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, _: &Key) -> Result<Next, Error> {
        let pods = context.cache::<Pod>().list();
        let nodes = context.cache::<Node>().list();
        let names: Vec<_> = nodes.iter().map(|node| node.name_any()).collect();
        for pod in plan(&pods, &names, context.config.terminated_pods_limit) {
            // A node that has just come may not be in the cache: its pods would be lost.
            if let Some(node) = node_of(&pod).filter(|_| !pod::is_terminal(&pod)) {
                let nodes: kube::Api<Node> = kube::Api::all(context.client());
                let live = nodes.get_metadata_opt(node).await;
                if live.map_err(Error::api("get", format!("Node {node}")))?.is_some() {
                    continue;
                }
            }
            let api = context.namespaced::<Pod>(&pod.namespace().unwrap_or_default());
            context.delete_with(api, pod.as_ref(), DeleteParams::background().grace_period(0)).await?;
        }
        Ok(Next::After(INTERVAL))
    }
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|name| !name.is_empty())
}

/// The pods to remove at once, without grace: nobody is there to grant it.
fn plan(pods: &[Arc<Pod>], nodes: &[String], limit: usize) -> Vec<Arc<Pod>> {
    let orphaned = |pod: &Pod| match node_of(pod) {
        // Without any node the node may just not have registered yet.
        Some(node) => !nodes.is_empty() && !nodes.iter().any(|known| known == node),
        None => pod::is_terminating(pod) && pod.finalizers().is_empty(),
    };
    let (mut remove, rest): (Vec<_>, Vec<_>) = pods.iter().cloned().partition(|pod| orphaned(pod));
    // What a controller counts (a Job's pods) is the controller's to let go; others only fill the store.
    let mut terminated: Vec<_> = rest
        .into_iter()
        .filter(|pod| pod::is_terminal(pod) && !pod::is_terminating(pod) && pod.finalizers().is_empty())
        .collect();
    terminated
        .sort_by_key(|pod| (claim::controller_of(&pod.metadata).is_some(), pod.metadata.creation_timestamp.clone()));
    let excess = terminated.len().saturating_sub(limit);
    remove.extend(terminated.into_iter().take(excess));
    remove
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: Option<&str>, phase: &str, created: &str, deleted: bool) -> Arc<Pod> {
        let deleted = deleted.then_some(created);
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "creationTimestamp": created, "deletionTimestamp": deleted},
                "spec": {"nodeName": node, "containers": []},
                "status": {"phase": phase},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn only_pods_without_a_keeper_are_removed() {
        let day = |day: u8| format!("2026-01-{day:02}T00:00:00Z");
        let pods = [
            pod("lives", Some("n"), "Running", &day(1), false),
            pod("lost", Some("gone"), "Running", &day(1), false),
            pod("never-placed", None, "Pending", &day(1), true),
            pod("pending", None, "Pending", &day(1), false),
            pod("done-old", Some("n"), "Succeeded", &day(1), false),
            pod("done-new", Some("n"), "Failed", &day(2), false),
        ];
        let names =
            |nodes: &[String], limit| plan(&pods, nodes, limit).iter().map(|pod| pod.name_any()).collect::<Vec<_>>();
        assert_eq!(names(&["n".to_owned()], 1), ["lost", "never-placed", "done-old"]);
        assert_eq!(names(&["n".to_owned()], 2), ["lost", "never-placed"]);
        assert_eq!(names(&[], 2), ["never-placed"]);
    }
}
