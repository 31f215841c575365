//! When a cluster may be called ready.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use lotse_client::{Informers, Key};

use crate::exit::{Failure, Kind};

/// Waits until the node is Ready; how long it took since `started`.
pub(super) async fn wait_for_node(
    informers: &Informers,
    name: &str,
    timeout: Duration,
    started: Instant,
) -> Result<Duration, Failure> {
    let nodes = informers.get::<Node>();
    let mut changes = nodes.subscribe();
    let key = Key::cluster(name);
    let ready = async {
        loop {
            if nodes.get(&key).is_some_and(|node| is_ready(&node)) {
                return;
            }
            // A lagging receiver just looks again.
            let _ = changes.recv().await;
        }
    };
    tokio::time::timeout(timeout, ready).await.map_err(|_| {
        Failure::new(Kind::TimedOut, format!("the node is not ready after {timeout:?}"))
            .with_hint("the log above says why")
    })?;
    Ok(started.elapsed())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|list| list.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
}
