#![allow(clippy::unwrap_used, clippy::expect_used)]
//! The node against the real API server, in-process; only runtime and network are fakes.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node as NodeObject, Pod, Secret, ServiceAccount};
use kube::{
    Api, Client,
    api::{DeleteParams, LogParams, PostParams},
};
use lotse_api::ApiServer;
use lotse_store::MemoryStore;
use serde_json::{Value, json};

use super::{tests::NoMounts, *};
use crate::testing::{FakeNetwork, FakeRuntime};

struct Cluster {
    client: Client,
    runtime: Arc<FakeRuntime>,
    dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::new(Default::default()).unwrap());
        let server = ApiServer::new(store, lotse_api::Config::new(dir.path().join("pki"))).await.unwrap();
        let client = server.client("system:admin", &["system:masters"]);
        let runtime: Arc<FakeRuntime> = Arc::default();
        runtime.add_image("web:1");
        let config = Config::new("node", dir.path().join("root"), dir.path().join("logs"));
        let informers = Informers::new(client.clone());
        let network: Arc<FakeNetwork> = Arc::default();
        let node = Node::with_mounts(&informers, runtime.clone(), network, config, Box::new(NoMounts));
        server.set_kubelet(node.router());
        tokio::spawn(async move { node.run().await });
        let cluster = Self { client, runtime, dir };
        let create = PostParams::default();
        let namespace = serde_json::from_value::<Namespace>(json!({"metadata": {"name": "n"}})).unwrap();
        Api::all(cluster.client.clone()).create(&create, &namespace).await.unwrap();
        let account = serde_json::from_value::<ServiceAccount>(json!({"metadata": {"name": "default"}})).unwrap();
        Api::namespaced(cluster.client.clone(), "n").create(&create, &account).await.unwrap();
        // Controllers make this one; without it no service account volume can be mounted.
        let authorities = json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "x"}});
        let authorities = serde_json::from_value::<ConfigMap>(authorities).unwrap();
        Api::namespaced(cluster.client.clone(), "n").create(&create, &authorities).await.unwrap();
        cluster
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "n")
    }

    async fn create(&self, name: &str, spec: Value) {
        let pod = json!({"metadata": {"name": name}, "spec": spec});
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    async fn until(&self, name: &str, what: &str, condition: impl Fn(Option<&Pod>) -> bool) -> Duration {
        let begin = Instant::now();
        loop {
            let pod = self.pods().get_opt(name).await.unwrap();
            if condition(pod.as_ref()) {
                return begin.elapsed();
            }
            let calls = self.runtime.calls.lock().unwrap().clone();
            assert!(begin.elapsed() < Duration::from_secs(8), "{what}: {calls:?} {pod:#?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn ready(pod: Option<&Pod>) -> bool {
    let conditions = pod.and_then(|pod| pod.status.as_ref()).and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
}

fn spec() -> Value {
    json!({"nodeName": "node", "terminationGracePeriodSeconds": 5,
        "containers": [{"name": "web", "image": "web:1", "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}}]}],
        "volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_lives_and_ends_through_the_real_api() {
    let cluster = Cluster::start().await;
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"p": "word"}});
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "n");
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    cluster.create("p", spec()).await;
    let took = cluster.until("p", "ready", ready).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(cluster.runtime.specs.lock().unwrap()[0].env.contains(&("P".into(), "word".into())));

    let pod = cluster.pods().get("p").await.unwrap();
    let uid = pod.metadata.uid.clone().unwrap();
    let token = cluster.dir.path().join("root/pods").join(&uid).join("volumes/t/token");
    assert_eq!(std::fs::read_to_string(token).unwrap().split('.').count(), 3, "a signed token");
    assert_eq!(cluster.pods().logs("p", &LogParams::default()).await.unwrap(), "attempt 0\n");

    let node = Api::<NodeObject>::all(cluster.client.clone()).get("node").await.unwrap();
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    assert!(conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True"));

    cluster.pods().delete("p", &DeleteParams::default()).await.unwrap();
    cluster.until("p", "gone", |pod| pod.is_none()).await;
    assert!(cluster.runtime.pods().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_key_is_shown_in_kubernetes_words() {
    let cluster = Cluster::start().await;
    cluster.create("p", spec()).await;
    cluster
        .until("p", "error", |pod| {
            let status = pod.and_then(|pod| pod.status.as_ref()).and_then(|status| status.container_statuses.as_ref());
            let waiting = status.and_then(|all| all.first()).and_then(|one| one.state.as_ref()?.waiting.as_ref());
            waiting.is_some_and(|waiting| {
                waiting.reason.as_deref() == Some("CreateContainerConfigError")
                    && waiting.message.as_deref() == Some("secret \"s\" not found")
            })
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_pods_start_without_waiting_for_each_other() {
    let cluster = Cluster::start().await;
    let mut times = Vec::new();
    for number in 0..100 {
        let name = format!("p{number}");
        let container = json!({"name": "web", "image": "web:1", "imagePullPolicy": "IfNotPresent"});
        let begin = Instant::now();
        cluster.create(&name, json!({"nodeName": "node", "containers": [container]})).await;
        cluster.until(&name, "ready", ready).await;
        times.push(begin.elapsed());
    }
    times.sort();
    // The node's own share of the start, without namespaces and processes; the figure is printed with --nocapture.
    println!("created to Ready: median {:?}, p99 {:?}", times[50], times[98]);
    assert!(times[50] < Duration::from_millis(100), "{:?}", times[50]);
}
