//! An API server, delivery, and a repository to deliver from.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod server;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use lotse_client::Informers;
use lotse_delivery::{Config, Delivery, application::Application};
use lotse_store::{History, MemoryStore};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) struct Setup {
    pub(crate) client: Client,
    pub(crate) directory: TempDir,
    pub(crate) webhook: axum::Router,
    _api: lotse_api::ApiServer,
    delivery: tokio::task::JoinHandle<()>,
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.delivery.abort();
    }
}

impl Setup {
    pub(crate) async fn new() -> Self {
        Self::with_poll(Duration::from_secs(1)).await
    }

    pub(crate) async fn with_poll(poll: Duration) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = TempDir::new().unwrap();
        let store = Arc::new(MemoryStore::new(History::default()).unwrap());
        let api = lotse_api::ApiServer::new(store, lotse_api::Config::new(directory.path().join("pki"))).await.unwrap();
        let client = api.client("admin", &["system:masters"]);
        let informers = Informers::new(client.clone());
        let config = Config { mirrors: directory.path().join("mirrors"), poll };
        let delivery = Delivery::new(informers, config);
        let webhook = delivery.webhook();
        let delivery = tokio::spawn(delivery.run());
        for name in ["argocd", "web"] {
            let namespaces: Api<Namespace> = Api::all(client.clone());
            let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        }
        Self { client, directory, webhook, _api: api, delivery }
    }

    pub(crate) fn repository(&self) -> PathBuf {
        let path = self.directory.path().join("repository");
        std::fs::create_dir_all(path.join("deploy")).unwrap();
        git(&path, &["init", "--quiet", "--initial-branch=main"]);
        path
    }

    pub(crate) fn applications(&self) -> Api<Application> {
        Api::namespaced(self.client.clone(), "argocd")
    }

    pub(crate) fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "web")
    }

    pub(crate) async fn create(&self, repository: impl AsRef<Path>, extra: Value) {
        let mut object = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": "site", "namespace": "argocd", "finalizers": ["resources-finalizer.argocd.argoproj.io"]},
            "spec": {
                "project": "default",
                "source": {"repoURL": repository.as_ref(), "path": "deploy", "targetRevision": "main"},
                "destination": {"server": "https://kubernetes.default.svc", "namespace": "web"},
                "syncPolicy": {"automated": {"prune": true, "selfHeal": true}},
            },
        });
        merge(&mut object, extra);
        let object: Application = serde_json::from_value(object).unwrap();
        self.applications().create(&PostParams::default(), &object).await.unwrap();
    }

    pub(crate) async fn patch_application(&self, patch: &Value) {
        self.applications().patch("site", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn wait(&self, what: &str, condition: impl AsyncFn() -> bool) -> Duration {
        let started = Instant::now();
        while !condition().await {
            if started.elapsed() > Duration::from_secs(20) {
                let application = self.applications().get_opt("site").await.unwrap();
                panic!("{what}: {}", serde_json::to_string_pretty(&application).unwrap());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        started.elapsed()
    }

    pub(crate) async fn value_of(&self, name: &str) -> Option<String> {
        self.config_maps().get_opt(name).await.unwrap()?.data?.get("key").cloned()
    }

    pub(crate) async fn status(&self) -> (String, String) {
        let status = self.applications().get("site").await.unwrap().status.unwrap_or_default();
        (status.sync.status, status.health.status)
    }

    pub(crate) async fn condition(&self) -> String {
        let status = self.applications().get("site").await.unwrap().status.unwrap_or_default();
        status
            .conditions
            .first()
            .map(|condition| format!("{}: {}", condition.kind, condition.message))
            .unwrap_or_default()
    }
}

pub(crate) fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch,
    }
}

pub(crate) fn git(repository: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"];
    let status = Command::new("git").args(identity).args(arguments).current_dir(repository).status().unwrap();
    assert!(status.success(), "git {arguments:?}");
}

pub(crate) fn write(repository: &Path, file: &str, text: &str) {
    std::fs::write(repository.join("deploy").join(file), text).unwrap();
}

pub(crate) fn commit(repository: &Path, message: &str) {
    git(repository, &["add", "-A"]);
    git(repository, &["commit", "--quiet", "--allow-empty", "-m", message]);
}

pub(crate) fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: {value}\n")
}
