//! Writes: conflicts, ownership, deletion, allocation.

use serde_json::{Value, json};

use crate::support::Cluster;

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_update_is_refused_and_a_patch_finds_its_way() {
    let cluster = std::sync::Arc::new(Cluster::start().await);
    let (_, made) = cluster.admin_asks("POST", CONFIGMAPS, &json!({"metadata": {"name": "a"}, "data": {}})).await;
    let item = format!("{CONFIGMAPS}/a");
    let writers = (0..16).map(|n| {
        let (cluster, item) = (cluster.clone(), item.clone());
        tokio::spawn(async move {
            let patch = json!({"data": {format!("k{n}"): "v"}}).to_string();
            cluster.ask("admin", &["system:masters"], "PATCH", &item, "application/merge-patch+json", patch).await.0
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        assert_eq!(writer.await.unwrap(), 200);
    }
    let (_, now) = cluster.admin_asks("GET", &item, &Value::Null).await;
    assert_eq!(now["data"].as_object().unwrap().len(), 16);
    let mut stale = made;
    stale["data"] = json!({"x": "y"});
    let (code, answer) = cluster.admin_asks("PUT", &item, &stale).await;
    assert_eq!(code, 409);
    assert_eq!(
        answer["message"],
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let cluster = Cluster::start().await;
    let object = json!({"metadata": {"name": "a", "finalizers": ["example.com/x"]}});
    cluster.admin_asks("POST", CONFIGMAPS, &object).await;
    let item = format!("{CONFIGMAPS}/a");
    let (code, going) = cluster.admin_asks("DELETE", &item, &json!({"propagationPolicy": "Foreground"})).await;
    assert_eq!(code, 200);
    assert_eq!(going["metadata"]["finalizers"], json!(["example.com/x", "foregroundDeletion"]));
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    let patch = |list: Value| json!({"metadata": {"finalizers": list}}).to_string();
    let send =
        |body: String| cluster.ask("admin", &["system:masters"], "PATCH", &item, "application/merge-patch+json", body);
    assert_eq!(send(patch(json!(["example.com/x", "example.com/new"]))).await.0, 422);
    assert_eq!(send(patch(json!(["foregroundDeletion"]))).await.0, 200);
    assert_eq!(cluster.admin_asks("GET", &item, &Value::Null).await.0, 200);
    assert_eq!(send(patch(json!([]))).await.0, 200);
    assert_eq!(cluster.admin_asks("GET", &item, &Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_pod_on_a_node_waits_for_its_kubelet() {
    let cluster = Cluster::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let (code, made) = cluster.admin_asks("POST", pods, &pod).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    let volume = &made["spec"]["volumes"][0];
    assert!(volume["name"].as_str().unwrap().starts_with("kube-api-access-"));
    assert_eq!(made["spec"]["containers"][0]["volumeMounts"][0]["name"], volume["name"]);
    assert_eq!(made["spec"]["tolerations"].as_array().unwrap().len(), 2);

    let binding = json!({"target": {"kind": "Node", "name": "n"}});
    assert_eq!(cluster.admin_asks("POST", &format!("{pods}/p/binding"), &binding).await.0, 201);
    assert_eq!(cluster.admin_asks("POST", &format!("{pods}/p/binding"), &binding).await.0, 409);
    let (_, bound) = cluster.admin_asks("GET", &format!("{pods}/p"), &Value::Null).await;
    assert_eq!(bound["spec"]["nodeName"], "n");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    let (_, list) = cluster.admin_asks("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn", &Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);

    let (_, going) = cluster.admin_asks("DELETE", &format!("{pods}/p"), &Value::Null).await;
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    let (code, _) = cluster.admin_asks("DELETE", &format!("{pods}/p"), &json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(code, 200);
    assert_eq!(cluster.admin_asks("GET", &format!("{pods}/p"), &Value::Null).await.0, 404);
    // Nobody has this one: it goes at once.
    cluster.admin_asks("POST", pods, &pod).await;
    cluster.admin_asks("DELETE", &format!("{pods}/p"), &Value::Null).await;
    assert_eq!(cluster.admin_asks("GET", &format!("{pods}/p"), &Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_made_at_once_get_different_addresses() {
    let cluster = std::sync::Arc::new(Cluster::start().await);
    let services = "/api/v1/namespaces/default/services";
    let made = (0..20).map(|n| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let service =
                json!({"metadata": {"name": format!("s{n}")}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
            cluster.admin_asks("POST", services, &service).await
        })
    });
    let (mut ips, mut ports) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for service in made.collect::<Vec<_>>() {
        let (code, service) = service.await.unwrap();
        assert_eq!(code, 201, "{service}");
        ips.insert(service["spec"]["clusterIP"].as_str().unwrap().to_owned());
        ports.insert(service["spec"]["ports"][0]["nodePort"].as_i64().unwrap());
    }
    assert_eq!((ips.len(), ports.len()), (20, 20));
    let taken = json!({"metadata": {"name": "t"}, "spec": {"clusterIP": ips.first(), "ports": [{"port": 80}]}});
    let (code, answer) = cluster.admin_asks("POST", services, &taken).await;
    assert_eq!(code, 422);
    assert!(answer["message"].as_str().unwrap().contains("provided IP is already allocated"));
    let headless = json!({"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}});
    assert_eq!(cluster.admin_asks("POST", services, &headless).await.0, 201);
}

#[tokio::test]
async fn generation_counts_wishes_and_not_states() {
    let cluster = Cluster::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let (_, made) = cluster.admin_asks("POST", path, &deployment).await;
    assert_eq!(made["metadata"]["generation"], 1);
    let send = |path: String, body: Value| {
        let cluster = &cluster;
        async move {
            cluster
                .ask("admin", &["system:masters"], "PATCH", &path, "application/merge-patch+json", body.to_string())
                .await
                .1
        }
    };
    let item = format!("{path}/d");
    let labelled = send(item.clone(), json!({"metadata": {"labels": {"x": "y"}}, "status": {"replicas": 9}})).await;
    assert_eq!(labelled["metadata"]["generation"], 1);
    assert!(labelled["status"]["replicas"].is_null());
    let scaled = send(format!("{item}/scale"), json!({"spec": {"replicas": 4}})).await;
    assert_eq!(scaled["spec"]["replicas"], 4);
    let state = send(format!("{item}/status"), json!({"spec": {"replicas": 8}, "status": {"replicas": 3}})).await;
    assert_eq!(state["metadata"]["generation"], 2);
    assert_eq!((&state["spec"]["replicas"], &state["status"]["replicas"]), (&json!(4), &json!(3)));
}

#[tokio::test]
async fn a_json_patch_tests_and_replaces_the_revision() {
    let cluster = Cluster::start().await;
    let (_, made) = cluster.admin_asks("POST", CONFIGMAPS, &json!({"metadata": {"name": "a"}})).await;
    let revision = made["metadata"]["resourceVersion"].clone();
    let item = format!("{CONFIGMAPS}/a");
    let patch = |op: &'static str, revision: Value, value: &'static str| {
        let patch = json!([
            {"op": op, "path": "/metadata/resourceVersion", "value": revision},
            {"op": "add", "path": "/data", "value": {"k": value}},
        ]);
        let (cluster, item) = (&cluster, &item);
        async move {
            let body = patch.to_string();
            cluster.ask("admin", &["system:masters"], "PATCH", item, "application/json-patch+json", body).await
        }
    };
    let (code, answer) = patch("replace", revision.clone(), "1").await;
    assert_eq!((code, &answer["data"]["k"]), (200, &json!("1")));
    let (code, answer) = patch("test", answer["metadata"]["resourceVersion"].clone(), "2").await;
    assert_eq!((code, &answer["data"]["k"]), (200, &json!("2")));
    assert_eq!(patch("replace", revision.clone(), "3").await.0, 409);
    assert_eq!(patch("test", revision, "4").await.0, 422);
}
