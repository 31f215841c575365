#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use k8s_openapi::{
    api::authentication::v1::{TokenRequest, TokenRequestStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::json;

use super::*;
use crate::testing::FakeSources;

/// Remembers mounts instead of making them.
#[derive(Default)]
struct FakeMounts(Mutex<BTreeSet<PathBuf>>);

impl Mounts for FakeMounts {
    fn tmpfs(&self, dir: &Path, _: Option<u64>, _: u32) -> Result<()> {
        self.0.lock().unwrap().insert(dir.to_owned());
        Ok(())
    }

    fn unmount(&self, dir: &Path) -> Result<()> {
        self.0.lock().unwrap().remove(dir);
        Ok(())
    }

    fn is_mounted(&self, dir: &Path) -> Result<bool> {
        Ok(self.0.lock().unwrap().contains(dir))
    }
}

#[derive(Default)]
struct Issuer(AtomicUsize, i64);

impl token::TokenIssuer for std::sync::Arc<Issuer> {
    fn issue<'a>(
        &'a self,
        namespace: &'a str,
        account: &'a str,
        request: TokenRequest,
    ) -> BoxFuture<'a, Result<TokenRequest>> {
        Box::pin(async move {
            let count = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(self.1);
            let status = TokenRequestStatus {
                token: Some(format!("{namespace}/{account}#{count}")),
                expiration_timestamp: Some(Time(expires)),
            };
            Ok(TokenRequest { status: Some(status), ..request })
        })
    }
}

struct Bench {
    dir: tempfile::TempDir,
    mounts: FakeMounts,
    issuer: std::sync::Arc<Issuer>,
    tokens: Tokens,
}

impl Bench {
    fn new() -> Self {
        let issuer = std::sync::Arc::new(Issuer(AtomicUsize::new(0), 3600));
        Self {
            dir: tempfile::tempdir().unwrap(),
            mounts: FakeMounts::default(),
            tokens: Tokens::new(issuer.clone()),
            issuer,
        }
    }

    fn pod_dir(&self) -> PathBuf {
        self.dir.path().join("pods/u")
    }

    async fn set_up(
        &self,
        volumes: serde_json::Value,
        objects: Vec<serde_json::Value>,
    ) -> Result<BTreeMap<String, Mounted>, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "x"}},
            "spec": {"serviceAccountName": "sa", "containers": [{"name": "c"}], "volumes": volumes}}))
        .unwrap();
        let sources = FakeSources::from_objects(objects);
        let environment = Environment {
            pod_dir: self.pod_dir(),
            sources: &sources,
            mounts: &self.mounts,
            tokens: &self.tokens,
            addresses: &Addresses { pod_ip: Some("10.0.0.2".into()), host_ip: "10.0.0.1".into() },
            capacity: Capacity { cpu_millis: 1000, memory_bytes: 1, storage_bytes: 1 },
            again: false,
        };
        set_up_all(&pod, &environment).await.map_err(|error| crate::error::chain(&error))
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.pod_dir().join("volumes").join(path)).unwrap()
    }
}

fn config_map(value: &str) -> serde_json::Value {
    json!({"kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": {"k": value, "other": "o"}})
}

#[tokio::test]
async fn a_changed_config_map_replaces_the_files_behind_the_link() {
    let bench = Bench::new();
    let volume =
        json!([{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "dir/f", "mode": 256}]}}]);
    let mounted = bench.set_up(volume.clone(), vec![config_map("1")]).await.unwrap();
    assert!(mounted["v"].read_only);
    assert_eq!(bench.read("v/dir/f"), "1");
    let mode = bench.pod_dir().join("volumes/v/dir/f").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o400);
    bench.set_up(volume, vec![config_map("2")]).await.unwrap();
    assert_eq!(bench.read("v/dir/f"), "2");
    assert!(!bench.pod_dir().join("volumes/v/other").exists());
}

#[tokio::test]
async fn what_is_missing_is_an_error_unless_optional() {
    let bench = Bench::new();
    let error = bench.set_up(json!([{"name": "v", "secret": {"secretName": "s"}}]), vec![]).await.unwrap_err();
    assert_eq!(error, "MountVolume.SetUp failed for volume \"v\" : secret \"s\" not found");
    let optional = json!([{"name": "v", "secret": {"secretName": "s", "optional": true}}]);
    bench.set_up(optional, vec![]).await.unwrap();
    let error = bench
        .set_up(
            json!([{"name": "v", "configMap": {"name": "c", "items": [{"key": "no", "path": "f"}]}}]),
            vec![config_map("1")],
        )
        .await
        .unwrap_err();
    assert!(error.ends_with("references non-existent config key: no"), "{error}");
    let error = bench.set_up(json!([{"name": "v", "nfs": {"server": "s", "path": "/"}}]), vec![]).await.unwrap_err();
    assert!(error.ends_with("volume type nfs is not supported by this node"), "{error}");
    let error = bench
        .set_up(
            json!([{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "../../f"}]}}]),
            vec![config_map("1")],
        )
        .await
        .unwrap_err();
    assert!(error.contains("must be relative"), "{error}");
    assert!(bench.set_up(json!([{"name": "../x", "emptyDir": {}}]), vec![]).await.is_err());
}

#[tokio::test]
async fn secrets_and_tokens_are_kept_in_memory() {
    let bench = Bench::new();
    let volumes = json!([
        {"name": "s", "secret": {"secretName": "s"}},
        {"name": "t", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token"}},
            {"configMap": {"name": "c", "items": [{"key": "k", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}},
        {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]);
    let objects = vec![
        config_map("CA"),
        json!({"kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "data": {"p": "cA=="}}),
    ];
    let mounted = bench.set_up(volumes.clone(), objects.clone()).await.unwrap();
    for name in ["s", "t", "m"] {
        assert!(bench.mounts.is_mounted(&bench.pod_dir().join("volumes").join(name)).unwrap(), "{name}");
    }
    assert_eq!(
        (bench.read("s/p"), bench.read("t/ca.crt"), bench.read("t/namespace")),
        ("p".into(), "CA".into(), "n".into())
    );
    assert_eq!(bench.read("t/token"), "n/sa#1");
    let renew = mounted["t"].renew.unwrap().as_secs();
    assert!((2870..=2880).contains(&renew), "80 % of an hour, not {renew} s");
    bench.set_up(volumes, objects).await.unwrap();
    assert_eq!(bench.issuer.0.load(Ordering::SeqCst), 1, "a fresh token is not asked for again");
    tear_down(&bench.pod_dir(), &bench.mounts).unwrap();
    assert!(!bench.pod_dir().exists() && bench.mounts.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_claim_waits_for_its_volume_and_outlives_the_pod() {
    let bench = Bench::new();
    let data = bench.dir.path().join("data");
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "pvc"}}]);
    let claim = |phase: &str| {
        json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "pvc", "namespace": "n"},
            "spec": {"volumeName": "pv"}, "status": {"phase": phase}})
    };
    let error = bench.set_up(volumes.clone(), vec![]).await.unwrap_err();
    assert!(error.ends_with("persistentvolumeclaim \"pvc\" not found"), "{error}");
    let error = bench.set_up(volumes.clone(), vec![claim("Pending")]).await.unwrap_err();
    assert!(error.ends_with("is not bound yet (phase Pending)"), "{error}");
    let volume = json!({"kind": "PersistentVolume", "metadata": {"name": "pv"},
        "spec": {"hostPath": {"path": data, "type": "DirectoryOrCreate"}}});
    let mounted = bench.set_up(volumes.clone(), vec![claim("Bound"), volume]).await.unwrap();
    assert_eq!(mounted["v"].path, data);
    std::fs::write(data.join("row"), "kept").unwrap();
    tear_down(&bench.pod_dir(), &bench.mounts).unwrap();
    assert_eq!(std::fs::read_to_string(data.join("row")).unwrap(), "kept");
    let other =
        json!({"kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": {"nfs": {"server": "s", "path": "/"}}});
    let error = bench.set_up(volumes, vec![claim("Bound"), other]).await.unwrap_err();
    assert!(error.contains("neither of type hostPath nor local"), "{error}");
}

#[tokio::test]
async fn host_path_types_are_checked() {
    let bench = Bench::new();
    let file = bench.dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let path = |path: &Path, kind: &str| json!([{"name": "v", "hostPath": {"path": path, "type": kind}}]);
    let fresh = bench.dir.path().join("fresh");
    bench.set_up(path(&file, "File"), vec![]).await.unwrap();
    bench.set_up(path(&fresh, "DirectoryOrCreate"), vec![]).await.unwrap();
    assert!(fresh.is_dir());
    for (target, kind) in [(&file, "Directory"), (&fresh, "File"), (&file, "Socket"), (&file, "Nonsense")] {
        assert!(bench.set_up(path(target, kind), vec![]).await.is_err(), "{kind}");
    }
    assert!(bench.set_up(path(&bench.dir.path().join("none"), ""), vec![]).await.is_err());
    assert!(bench.set_up(path(Path::new("/tmp/../etc"), ""), vec![]).await.is_err());
}
