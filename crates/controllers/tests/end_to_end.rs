//! All controllers against the real API server in one process, with a kubelet that only says that pods run.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Endpoints, Namespace, Node, PersistentVolumeClaim, Pod, Service},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use lotse_api::ApiServer;
use lotse_client::Informers;
use lotse_controllers::Config;
use lotse_store::{History, MemoryStore};
use serde_json::json;

struct Cluster {
    client: Client,
    _files: tempfile::TempDir,
    tasks: tokio::task::JoinSet<()>,
}

impl Cluster {
    async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::new(History::default()).unwrap());
        let server = ApiServer::new(store, lotse_api::Config::new(files.path().join("pki"))).await.unwrap();
        let client = server.client("system:admin", &["system:masters"]);
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1"}},
        }))
        .unwrap();
        let nodes: Api<Node> = Api::all(client.clone());
        nodes.create(&PostParams::default(), &node).await.unwrap();
        let status = json!({"status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
        }});
        nodes.patch_status("n1", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        let config = Config::new("n1", files.path().join("volumes"), "CA");
        tasks.spawn(lotse_controllers::run(Informers::new(client.clone()), config));
        tasks.spawn(kubelet(client.clone()));
        Self { client, _files: files, tasks }
    }

    /// Waits until `holds` says yes of the object, at most ten seconds.
    async fn until<K>(&self, api: &Api<K>, name: &str, holds: impl Fn(&K) -> bool)
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let mut last = None;
        for _ in 0..1000 {
            last = api.get_opt(name).await.unwrap();
            if last.as_ref().is_some_and(&holds) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} does not get there: {last:#?}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

/// Marks bound pods as running and ready, and lets terminating ones go.
async fn kubelet(client: Client) {
    let all: Api<Pod> = Api::all(client.clone());
    let mut address = 1;
    loop {
        for pod in all.list(&ListParams::default()).await.unwrap() {
            let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
            let bound = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()).is_some();
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            if pod.metadata.deletion_timestamp.is_some() {
                let _ = api.delete(&pod.name_any(), &DeleteParams::background().grace_period(0)).await;
            } else if bound && phase != "Running" {
                let status = json!({"status": {
                    "phase": "Running", "podIP": format!("10.42.0.{address}"),
                    "conditions": [{"type": "Ready", "status": "True"}],
                }});
                address += 1;
                let _ = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn deployment(image: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    }))
    .unwrap()
}

fn done(deployment: &Deployment) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    status.observed_generation == deployment.metadata.generation
        && status.replicas == deployment.spec.replicas
        && status.updated_replicas == deployment.spec.replicas
        && status.available_replicas == deployment.spec.replicas
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_out_is_updated_and_leaves_nothing_behind() {
    let cluster = Cluster::start().await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), "default");
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }))
    .unwrap();
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), "default");
    services.create(&PostParams::default(), &service).await.unwrap();
    deployments.create(&PostParams::default(), &deployment("a")).await.unwrap();
    cluster.until(&deployments, "web", done).await;
    let endpoints: Api<Endpoints> = Api::namespaced(cluster.client.clone(), "default");
    let addresses = |endpoints: &Endpoints| {
        endpoints.subsets.iter().flatten().flat_map(|subset| subset.addresses.iter().flatten()).count()
    };
    cluster.until(&endpoints, "web", |endpoints| addresses(endpoints) == 3).await;

    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "b"}]}}}});
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    cluster
        .until(&deployments, "web", |deployment| deployment.metadata.generation == Some(2) && done(deployment))
        .await;

    deployments.delete("web", &DeleteParams::background()).await.unwrap();
    for _ in 0..1000 {
        if pods.list(&ListParams::default()).await.unwrap().items.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("pods are left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_bound_and_its_namespace_goes_with_everything_in_it() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), "shop");
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }))
    .unwrap();
    claims.create(&PostParams::default(), &claim).await.unwrap();
    let bound = |claim: &PersistentVolumeClaim| {
        claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
    };
    cluster.until(&claims, "data", bound).await;
    namespaces.delete("shop", &DeleteParams::background()).await.unwrap();
    for _ in 0..1000 {
        if namespaces.get_opt("shop").await.unwrap().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the namespace stays: {:#?}", namespaces.get("shop").await);
}
