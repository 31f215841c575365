//! Custom kinds in several versions: one of them is stored, and which one may change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};

use crate::support::Cluster;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// `gadgets.example.com` in v1beta1 and v1, of which one is stored.
fn definition(stored: &str, conversion: &Value) -> Value {
    let version = |name: &str| {
        let fields = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        json!({"name": name, "served": true, "storage": name == stored,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": fields}}}})
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "conversion": conversion,
            "names": {"plural": "gadgets", "kind": "Gadget"}, "versions": [version("v1beta1"), version("v1")]},
    })
}

fn path(version: &str, name: &str) -> String {
    format!("/apis/example.com/{version}/namespaces/default/gadgets{name}")
}

fn gadget(version: &str, name: &str) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Gadget", "metadata": {"name": name}, "spec": {"size": 1}})
}

/// What discovery says of the version that is stored; empty while the kind is not served.
async fn stored(cluster: &Cluster) -> String {
    let (_, found) = cluster.admin_asks("GET", "/apis/example.com/v1", &Value::Null).await;
    found["resources"][0]["storageVersionHash"].as_str().unwrap_or_default().to_owned()
}

/// Waits until what discovery says is something else.
async fn changed(cluster: &Cluster, before: &str) {
    for _ in 0..250 {
        if stored(cluster).await != before {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the definition is not served");
}

async fn define(cluster: &Cluster, stored: &str, conversion: &Value) {
    let (code, answer) = cluster.admin_asks("POST", DEFINITIONS, &definition(stored, conversion)).await;
    assert_eq!(code, 201, "{answer}");
    changed(cluster, "").await;
}

#[tokio::test]
async fn objects_follow_when_another_version_is_stored() {
    let cluster = Cluster::start().await;
    define(&cluster, "v1beta1", &json!({"strategy": "None"})).await;
    assert_eq!(cluster.admin_asks("POST", &path("v1beta1", ""), &gadget("v1beta1", "a")).await.0, 201);
    let at = format!("{DEFINITIONS}/gadgets.example.com");
    let (_, found) = cluster.admin_asks("GET", &at, &Value::Null).await;
    let mut other = definition("v1", &json!({"strategy": "None"}));
    other["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"].clone();
    let before = stored(&cluster).await;
    let (code, answer) = cluster.admin_asks("PUT", &at, &other).await;
    assert_eq!(code, 200, "{answer}");
    changed(&cluster, &before).await;
    for version in ["v1", "v1beta1"] {
        let wanted = format!("example.com/{version}");
        let (_, one) = cluster.admin_asks("GET", &path(version, "/a"), &Value::Null).await;
        assert_eq!(one["apiVersion"], wanted);
        let (_, all) = cluster.admin_asks("GET", &path(version, ""), &Value::Null).await;
        assert_eq!(all["items"][0]["apiVersion"], wanted);
        let lines = cluster.lines(&format!("{}?watch=1&timeoutSeconds=1", path(version, ""))).await;
        assert_eq!(lines[0]["object"]["apiVersion"], wanted);
        let (code, answer) = cluster.admin_asks("PUT", &path(version, "/a"), &one).await;
        assert_eq!((code, &answer["apiVersion"]), (200, &json!(wanted)), "{answer}");
    }
}

#[tokio::test]
async fn versions_that_only_a_webhook_translates_are_not_mixed_up() {
    let cluster = Cluster::start().await;
    let service = json!({"namespace": "default", "name": "converter"});
    let webhook = json!({"strategy": "Webhook",
        "webhook": {"clientConfig": {"service": service}, "conversionReviewVersions": ["v1"]}});
    define(&cluster, "v1beta1", &webhook).await;
    // The stored version is as good as any other kind.
    assert_eq!(cluster.admin_asks("GET", &path("v1", ""), &Value::Null).await.0, 200, "nothing is there to translate");
    assert_eq!(cluster.admin_asks("POST", &path("v1beta1", ""), &gadget("v1beta1", "a")).await.0, 201);
    assert_eq!(cluster.admin_asks("GET", &path("v1beta1", "/a"), &Value::Null).await.0, 200);
    // The other one is refused rather than handed out with the wrong fields.
    let requests = [
        ("GET", path("v1", "/a"), Value::Null),
        ("GET", path("v1", ""), Value::Null),
        ("POST", path("v1", ""), gadget("v1", "b")),
        ("PUT", path("v1", "/a"), gadget("v1", "a")),
    ];
    for (method, path, body) in requests {
        let (code, answer) = cluster.admin_asks(method, &path, &body).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert_eq!(code, 500, "{method} {path}: {answer}");
        assert!(message.contains("conversion webhook") && message.contains("ask for example.com/v1beta1"), "{message}");
    }
    // Deleting does not depend on fields.
    assert_eq!(cluster.admin_asks("DELETE", &path("v1", ""), &Value::Null).await.0, 200);
    assert_eq!(cluster.admin_asks("GET", &path("v1beta1", "/a"), &Value::Null).await.0, 404);
}
