//! `lotse status`.

use std::fmt::Write;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, api::ListParams};
use lotse_delivery::application::Application;
use serde_json::json;

use crate::{
    client,
    exit::{Failure, Kind},
    output::{self, Format},
    profile::Profile,
};

pub(crate) async fn run(profile: &Profile, format: Format) -> Result<(), Failure> {
    let Some(pid) = profile.daemon() else {
        let data = json!({"profile": profile.name, "running": false, "dataDir": profile.data_dir});
        format.print(&data, || {
            format!("profile {} is not running (data in {})", profile.name, profile.data_dir.display())
        })?;
        return Err(Failure::new(Kind::Unreachable, format!("the cluster of profile {} is not running", profile.name))
            .with_hint("`lotse up --detach` starts it"));
    };
    let client = client::connect(profile).await?;
    let failure = |error: kube::Error| Failure::from_api("status", &error);
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.map_err(failure)?;
    let pods = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await.map_err(failure)?;
    let applications = Api::<Application>::all(client.clone()).list(&ListParams::default()).await.map_err(failure)?;
    let node_ready = |node: &Node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions
            .is_some_and(|list| list.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
    };
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    let running = pods.items.iter().filter(|pod| phase(pod) == "Running").count();
    let mut rows = Vec::new();
    let mut listed = Vec::new();
    for application in &applications.items {
        let status = application.status.clone().unwrap_or_default();
        let name = application.metadata.name.clone().unwrap_or_default();
        let revision = super::app::short(&status.sync.revision);
        let (good, bad) = (status.health.status == "Healthy", status.health.status == "Degraded");
        rows.push(vec![
            name.clone(),
            status.sync.status.clone(),
            output::colored(&status.health.status, good, bad),
            status.resources.len().to_string(),
            revision,
            status.health.message.clone(),
        ]);
        listed.push(json!({"name": name, "sync": status.sync.status, "health": status.health.status,
            "objects": status.resources.len(), "revision": status.sync.revision, "message": status.health.message}));
    }
    let ready = nodes.items.iter().all(node_ready) && !nodes.items.is_empty();
    let data = json!({
        "profile": profile.name, "running": true, "pid": pid, "dataDir": profile.data_dir, "kubeconfig": profile.kubeconfig(),
        "api": client_url(profile), "nodeReady": ready, "pods": {"total": pods.items.len(), "running": running}, "applications": listed,
    });
    format.print(&data, || {
        let mut text = String::new();
        let node = output::colored(if ready { "Ready" } else { "NotReady" }, ready, !ready);
        let _ = writeln!(text, "profile {}: running (process {pid})", profile.name);
        let _ = writeln!(text, "node: {node} · pods: {running} of {} running", pods.items.len());
        let _ = writeln!(text, "API {} · kubeconfig {}", client_url(profile), profile.kubeconfig().display());
        if !rows.is_empty() {
            text.push('\n');
            text.push_str(&output::table(&["APPLICATION", "SYNC", "HEALTH", "OBJECTS", "REVISION", "MESSAGE"], &rows));
        }
        text
    })
}

/// The server's address from the kubeconfig.
fn client_url(profile: &Profile) -> String {
    let kubeconfig = kube::config::Kubeconfig::read_from(profile.kubeconfig()).ok();
    kubeconfig.and_then(|config| config.clusters.first()?.cluster.clone()?.server).unwrap_or_default()
}
