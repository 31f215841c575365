//! Starting again, and the parts that the server leads to.

use std::sync::Arc;

use axum::{Router, extract::Request};
use lotse_api::{ApiServer, Config};
use lotse_store::{History, MemoryStore, Store};
use serde_json::{Value, json};

use crate::support::Cluster;

#[tokio::test]
async fn a_second_start_writes_nothing_and_keeps_the_keys() {
    let dir = tempfile::TempDir::new().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(History::default()).unwrap());
    let start = || ApiServer::new(store.clone(), Config::new(dir.path()));
    let settled = async |store: &Arc<dyn Store>| {
        let mut before = store.revision();
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            match store.revision() {
                now if now == before => return now,
                now => before = now,
            }
        }
    };
    let first = start().await.unwrap();
    let revision = settled(&store).await;
    first.shutdown();
    let second = start().await.unwrap();
    assert_eq!(settled(&store).await, revision);
    assert_eq!(first.pki().ca_certificate(), second.pki().ca_certificate());
    assert_eq!(first.kubeconfig("a", "https://x"), second.kubeconfig("a", "https://x"));
    use std::os::unix::fs::PermissionsExt;
    for file in std::fs::read_dir(dir.path()).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o077, 0);
    }
}

#[tokio::test]
async fn streams_end_at_the_kubelet_with_its_own_paths() {
    let cluster = Cluster::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(cluster.admin_asks("POST", pods, &pod).await.0, 201);
    let log = format!("{pods}/p/log?follow=true&tailLines=5");
    assert_eq!(cluster.admin_asks("GET", &log, &Value::Null).await.0, 503);
    cluster.api.set_kubelet(Router::new().fallback(|request: Request| async move {
        let credentials = request.headers().contains_key("authorization");
        axum::Json(json!({"uri": request.uri().to_string(), "credentials": credentials}))
    }));
    for (path, uri) in [
        ("p/log?follow=true&tailLines=5", "/containerLogs/default/p/c?follow=true&tailLines=5"),
        ("p/exec?command=ls&command=-l&stdout=true", "/exec/default/p/c?command=ls&command=-l&output=true&stdout=true"),
        ("p/attach?stdin=1", "/attach/default/p/c?input=1&stdin=1"),
        ("p/portforward?ports=80", "/portForward/default/p?ports=80"),
        ("p:8080/proxy/a/b?x=y", "/podProxy/default/p/8080/a/b?x=y"),
    ] {
        let (code, answer) = cluster.admin_asks("GET", &format!("{pods}/{path}"), &Value::Null).await;
        assert_eq!((code, &answer["uri"], &answer["credentials"]), (200, &json!(uri), &json!(false)), "{path}");
    }
    for (path, code) in
        [("p/log?container=other", 400), ("q/log", 404), ("p:80/proxy/../../exec/x", 400), ("p:80/proxy/%2e%2e/x", 400)]
    {
        assert_eq!(cluster.admin_asks("GET", &format!("{pods}/{path}"), &Value::Null).await.0, code, "{path}");
    }
    let (code, _) = cluster.ask("eve", &[], "GET", &format!("{pods}/p/exec?command=ls"), "", "").await;
    assert_eq!(code, 403);
}

#[tokio::test]
async fn a_definition_takes_its_objects_along() {
    let cluster = Cluster::start().await;
    let path = "/apis/argoproj.io/v1alpha1/namespaces/default/applications";
    let application = json!({"metadata": {"name": "a"}, "spec": {"project": "default",
        "source": {"repoURL": "https://git.example.com/x", "path": "."}, "destination": {"namespace": "default"}}});
    let (code, answer) = cluster.admin_asks("POST", path, &application).await;
    assert_eq!(code, 201, "{answer}");
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/applications.argoproj.io";
    let mut established = false;
    for _ in 0..100 {
        let (_, crd) = cluster.admin_asks("GET", definition, &Value::Null).await;
        established = crd["status"]["conditions"]
            .as_array()
            .is_some_and(|c| c.iter().any(|c| c["type"] == "Established" && c["status"] == "True"));
        if established {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(established);
    assert_eq!(cluster.admin_asks("DELETE", definition, &Value::Null).await.0, 200);
    for _ in 0..200 {
        if cluster.admin_asks("GET", path, &Value::Null).await.0 == 404 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the definition is still served");
}
