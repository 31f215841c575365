#![allow(clippy::unwrap_used, clippy::expect_used)]
//! The whole node against a fake runtime, a fake network and an API server in memory.

use std::{
    path::Path,
    sync::Mutex as StdMutex,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::testing::{FakeNetwork, FakeRuntime, api::FakeApi};

/// Volumes in memory are directories here: tests need no privileges.
pub(super) struct NoMounts;

impl Mounts for NoMounts {
    fn tmpfs(&self, _: &Path, _: Option<u64>, _: u32) -> crate::error::Result<()> {
        Ok(())
    }

    fn unmount(&self, _: &Path) -> crate::error::Result<()> {
        Ok(())
    }

    fn is_mounted(&self, _: &Path) -> crate::error::Result<bool> {
        Ok(false)
    }
}

struct Cluster {
    api: FakeApi,
    runtime: Arc<FakeRuntime>,
    network: Arc<FakeNetwork>,
    dir: tempfile::TempDir,
    node: StdMutex<Option<(Node, tokio::task::JoinHandle<()>)>>,
}

impl Cluster {
    fn start() -> Self {
        let cluster = Self {
            api: FakeApi::new(),
            runtime: Arc::default(),
            network: Arc::default(),
            dir: tempfile::tempdir().unwrap(),
            node: StdMutex::new(None),
        };
        cluster.runtime.add_image("web:1");
        cluster.run();
        cluster
    }

    fn run(&self) {
        let informers = Informers::new(self.api.client());
        let config = Config::new("node", self.dir.path().join("root"), self.dir.path().join("logs"));
        let (runtime, network) = (self.runtime.clone(), self.network.clone());
        let node = Node::with_mounts(&informers, runtime, network, config, Box::new(NoMounts));
        let own = node.clone();
        let task = tokio::spawn(async move { own.run().await });
        *self.node.lock().unwrap() = Some((node, task));
    }

    /// The daemon dies and comes back.
    async fn restart(&self) {
        let (node, task) = self.node.lock().unwrap().take().unwrap();
        task.abort();
        let _ = task.await;
        drop(node);
        self.run();
    }

    fn router(&self) -> Router {
        self.node.lock().unwrap().as_ref().unwrap().0.router()
    }

    fn pod(&self, name: &str, spec: Value) {
        let mut spec = spec;
        spec["nodeName"] = json!("node");
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "uid": format!("uid-{name}")},
            "spec": spec, "status": {"phase": "Pending"}});
        self.api.create(&path(name), object);
    }

    fn status(&self, name: &str) -> Value {
        self.api.get(&path(name)).map(|pod| pod["status"].clone()).unwrap_or_default()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !condition(self) {
            let calls = self.runtime.calls.lock().unwrap().clone();
            let pods = self.api.list("/api/v1/pods");
            assert!(
                begin.elapsed() < Duration::from_secs(8),
                "{what}: {calls:?} {}",
                serde_json::to_string_pretty(&pods).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn calls(&self) -> Vec<String> {
        self.runtime.calls.lock().unwrap().clone()
    }

    fn ready(&self, name: &str) -> bool {
        condition(&self.status(name), "Ready") == "True"
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/namespaces/n/pods/{name}")
}

fn condition(status: &Value, kind: &str) -> String {
    let all = status["conditions"].as_array().cloned().unwrap_or_default();
    all.iter().find(|one| one["type"] == kind).map(|one| one["status"].as_str().unwrap().to_owned()).unwrap_or_default()
}

fn web() -> Value {
    json!({"name": "web", "image": "web:1", "imagePullPolicy": "IfNotPresent"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_runs_soon_and_is_removed_completely() {
    let cluster = Cluster::start();
    cluster.until("registered", |cluster| cluster.api.get("/api/v1/nodes/node").is_some()).await;
    let begin = Instant::now();
    cluster.pod(
        "p",
        json!({"containers": [web()], "terminationGracePeriodSeconds": 5,
        "volumes": [{"name": "e", "emptyDir": {}}]}),
    );
    cluster.until("ready", |cluster| cluster.ready("p")).await;
    assert!(begin.elapsed() < Duration::from_millis(1000), "{:?}", begin.elapsed());
    let status = cluster.status("p");
    assert_eq!((status["phase"].as_str(), status["podIP"].as_str()), (Some("Running"), Some("10.42.0.7")));
    assert_eq!(status["qosClass"], "BestEffort");
    let container = &status["containerStatuses"][0];
    assert!(container["containerID"].as_str().unwrap().starts_with("lotse://"));
    assert_eq!((&container["restartCount"], &container["ready"]), (&json!(0), &json!(true)));
    let pod_dir = cluster.dir.path().join("root/pods/uid-p");
    assert!(pod_dir.join("volumes/e").is_dir());
    assert!(std::fs::read_to_string(pod_dir.join("etc-hosts")).unwrap().contains("10.42.0.7\tp"));

    // Nothing happens, nothing is written.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let quiet = cluster.api.writes().len();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(cluster.api.writes().len(), quiet);

    cluster.api.delete(&path("p"), 5);
    cluster.until("gone", |cluster| cluster.api.get(&path("p")).is_none()).await;
    assert!(cluster.runtime.pods().is_empty() && cluster.network.attachments().is_empty() && !pod_dir.exists());
    assert!(cluster.calls().contains(&"stop web".to_owned()));
    let reasons =
        |reason: &str| cluster.api.list("/apis/events.k8s.io/v1/events").iter().any(|event| event["reason"] == reason);
    for reason in ["Pulled", "Created", "Started", "Killing"] {
        assert!(reasons(reason), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_daemon_adopts_its_pods_without_touching_them() {
    let cluster = Cluster::start();
    let probed = json!({"name": "web", "image": "web:1", "imagePullPolicy": "IfNotPresent",
        "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 60}});
    cluster.pod("p", json!({"containers": [probed]}));
    cluster.until("ready", |cluster| cluster.ready("p")).await;
    let before = cluster.status("p");
    let writes =
        |cluster: &Cluster| cluster.api.writes().iter().filter(|write| write.contains("/pods/p/status")).count();
    let written = writes(&cluster);
    cluster.restart().await;
    // After the restart the container is probed again, which proves that it was adopted.
    cluster.until("probed", |cluster| cluster.calls().iter().filter(|call| *call == "exec true").count() >= 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(cluster.status("p"), before);
    assert_eq!(writes(&cluster), written, "the endpoint must not flap");
    assert_eq!(cluster.calls().iter().filter(|call| call.starts_with("start web")).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_reboot_everything_runs_again_and_restarts_are_counted() {
    let cluster = Cluster::start();
    cluster.pod("p", json!({"containers": [web()]}));
    cluster.until("ready", |cluster| cluster.ready("p")).await;
    cluster.runtime.reboot();
    cluster.restart().await;
    cluster
        .until("restarted", |cluster| {
            cluster.status("p")["containerStatuses"][0]["restartCount"] == 1 && cluster.ready("p")
        })
        .await;
    let last = &cluster.status("p")["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(137), &json!("ContainerStatusUnknown")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_are_removed_when_the_cache_is_complete() {
    let cluster = Cluster::start();
    cluster.pod("p", json!({"containers": [web()]}));
    cluster.until("ready", |cluster| cluster.ready("p")).await;
    let (node, task) = cluster.node.lock().unwrap().take().unwrap();
    task.abort();
    drop(node);
    cluster.api.delete(&path("p"), 0);
    std::fs::create_dir_all(cluster.dir.path().join("root/pods/stale-uid/volumes/x")).unwrap();
    cluster.run();
    cluster
        .until("removed", |cluster| cluster.runtime.pods().is_empty() && cluster.network.attachments().is_empty())
        .await;
    cluster.until("directories", |cluster| !cluster.dir.path().join("root/pods/stale-uid").exists()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashing_container_backs_off_and_keeps_its_last_state() {
    let cluster = Cluster::start();
    cluster.runtime.short_lived.lock().unwrap().insert("web".into(), 3);
    cluster.pod("p", json!({"containers": [web()]}));
    cluster
        .until("back-off", |cluster| {
            cluster.status("p")["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    let container = cluster.status("p")["containerStatuses"][0].clone();
    assert_eq!(container["restartCount"], 1);
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(container["state"]["waiting"]["message"], "back-off 10s restarting failed container=web pod=p_n(uid-p)");
    assert_eq!(cluster.status("p")["phase"], "Running");
    let told = |cluster: &Cluster| {
        let events = cluster.api.list("/apis/events.k8s.io/v1/events");
        events.iter().any(|event| event["reason"] == "BackOff" && event["type"] == "Warning")
    };
    cluster.until("told", told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_containers_run_in_order_and_sidecars_outlive_the_others() {
    let cluster = Cluster::start();
    cluster.runtime.short_lived.lock().unwrap().extend([("one".into(), 0), ("two".into(), 0), ("job".into(), 0)]);
    let named = |name: &str| json!({"name": name, "image": "web:1", "imagePullPolicy": "IfNotPresent"});
    let mut sidecar = named("side");
    sidecar["restartPolicy"] = json!("Always");
    cluster.pod(
        "p",
        json!({"restartPolicy": "Never", "containers": [named("job")],
        "initContainers": [named("one"), sidecar, named("two")]}),
    );
    cluster.until("succeeded", |cluster| cluster.status("p")["phase"] == "Succeeded").await;
    let calls: Vec<_> =
        cluster.calls().into_iter().filter(|call| call.starts_with("start ") || call.starts_with("stop")).collect();
    assert_eq!(calls, ["start one #0", "start side #0", "start two #0", "start job #0", "stop side"]);
    cluster.until("released", |cluster| cluster.runtime.pods().is_empty()).await;
    assert_eq!(cluster.status("p")["containerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_shown_and_helps_itself_when_it_appears() {
    let cluster = Cluster::start();
    let mut container = web();
    container["envFrom"] = json!([{"secretRef": {"name": "s"}}]);
    cluster.pod("p", json!({"containers": [container]}));
    let waiting = |cluster: &Cluster| cluster.status("p")["containerStatuses"][0]["state"]["waiting"].clone();
    cluster.until("error", |cluster| waiting(cluster)["reason"] == "CreateContainerConfigError").await;
    assert_eq!(waiting(&cluster)["message"], "secret \"s\" not found");
    cluster.api.create(
        "/api/v1/namespaces/n/secrets/s",
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"A": "MQ=="}}),
    );
    cluster.until("ready", |cluster| cluster.ready("p")).await;
    let specs = cluster.runtime.specs.lock().unwrap();
    assert!(specs[0].env.contains(&("A".into(), "1".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_image_is_reported_with_its_cause() {
    let cluster = Cluster::start();
    cluster.pod("p", json!({"containers": [{"name": "web", "image": "localhost:30002/none:v1"}]}));
    let waiting = |cluster: &Cluster| cluster.status("p")["containerStatuses"][0]["state"]["waiting"].clone();
    cluster.until("error", |cluster| waiting(cluster)["reason"] == "ErrImagePull").await;
    cluster.until("back-off", |cluster| waiting(cluster)["reason"] == "ImagePullBackOff").await;
    assert!(waiting(&cluster)["message"].as_str().unwrap().contains("manifest unknown"));
    assert_eq!(cluster.status("p")["phase"], "Pending");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_map_reaches_the_running_container() {
    let cluster = Cluster::start();
    let object =
        |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": value}});
    cluster.api.create("/api/v1/namespaces/n/configmaps/c", object("1"));
    cluster.pod("p", json!({"containers": [web()], "volumes": [{"name": "v", "configMap": {"name": "c"}}]}));
    cluster.until("ready", |cluster| cluster.ready("p")).await;
    let file = cluster.dir.path().join("root/pods/uid-p/volumes/v/k");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1");
    cluster.api.patch("/api/v1/namespaces/n/configmaps/c", &json!({"data": {"k": "2"}}));
    cluster.until("updated", |_| std::fs::read_to_string(&file).is_ok_and(|text| text == "2")).await;
    assert_eq!(cluster.calls().iter().filter(|call| call.starts_with("start web")).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_liveness_probe_restarts_the_container() {
    let cluster = Cluster::start();
    let mut container = web();
    container["livenessProbe"] = json!({"exec": {"command": ["false"]}, "failureThreshold": 1, "periodSeconds": 60});
    container["lifecycle"] = json!({"preStop": {"exec": {"command": ["drain"]}}});
    cluster.pod("p", json!({"containers": [container]}));
    cluster.until("restarted", |cluster| cluster.calls().contains(&"start web #1".to_owned())).await;
    let calls = cluster.calls();
    let at = |call: &str| calls.iter().position(|one| one == call).unwrap();
    assert!(at("exec drain") < at("stop web") && at("stop web") < at("start web #1"), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_beyond_its_deadline_fails() {
    let cluster = Cluster::start();
    cluster.pod("p", json!({"containers": [web()], "activeDeadlineSeconds": 1}));
    cluster.until("failed", |cluster| cluster.status("p")["phase"] == "Failed").await;
    assert_eq!(cluster.status("p")["reason"], "DeadlineExceeded");
    cluster.until("released", |cluster| cluster.runtime.pods().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_routes_serve_logs_pods_and_figures() {
    let cluster = Cluster::start();
    cluster.pod("p", json!({"containers": [web()]}));
    cluster.until("ready", |cluster| cluster.ready("p")).await;
    let get = async |uri: &str| {
        let request = axum::http::Request::get(uri).body(axum::body::Body::empty()).unwrap();
        let response = cluster.router().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(get("/containerLogs/n/p/web").await, (200, "attempt 0\n".into()));
    assert_eq!(get("/containerLogs/n/p/web?previous=true").await.0, 400);
    assert_eq!(get("/containerLogs/n/p/nope").await.0, 404);
    assert_eq!(get("/containerLogs/n/none/web").await.0, 404);
    assert_eq!(get("/containerLogs/n/p/web?sinceTime=yesterday").await.0, 400);
    assert_eq!(get("/exec/n/p/web?command=ls&stdout=1").await.0, 501);
    let (status, text) = get("/metrics/resource").await;
    assert_eq!(status, 200);
    assert!(
        text.contains("container_cpu_usage_seconds_total{container=\"web\",namespace=\"n\",pod=\"p\"} 1.5"),
        "{text}"
    );
    let (_, text) = get("/stats/summary").await;
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap()["pods"][0]["containers"][0]["memory"]["workingSetBytes"],
        1 << 20
    );
    assert!(get("/pods").await.1.contains("\"uid-p\""));

    cluster.runtime.end("uid-p", "web", 0);
    cluster.until("restarted", |cluster| cluster.status("p")["containerStatuses"][0]["restartCount"] == 1).await;
    assert_eq!(get("/containerLogs/n/p/web").await.1, "attempt 1\n");
    assert_eq!(get("/containerLogs/n/p/web?previous=true").await.1, "attempt 0\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_is_registered_and_its_lease_renewed() {
    let cluster = Cluster::start();
    cluster
        .until("lease", |cluster| {
            cluster.api.get("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node").is_some()
        })
        .await;
    let node = cluster.api.get("/api/v1/nodes/node").unwrap();
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "node");
    assert_eq!(condition(&node["status"], "Ready"), "True");
    assert_eq!(node["status"]["allocatable"]["pods"], "110");
    assert_eq!(node["status"]["addresses"][0]["address"], "10.42.0.1");
}
