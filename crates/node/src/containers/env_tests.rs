#![allow(clippy::unwrap_used, clippy::expect_used)]
use serde_json::json;

use super::*;
use crate::testing::FakeSources;

fn sources() -> FakeSources {
    FakeSources::from_objects(vec![
        json!({"kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": {"A": "1", "bad=name": "x"}}),
        json!({"kind": "Secret", "metadata": {"name": "s", "namespace": "n"},
            "data": {"P": "cGFzcw==", "binary": "/w=="}}),
        json!({"kind": "Secret", "metadata": {"name": "text", "namespace": "n"}, "data": {"U": "dXNlcg=="}}),
        json!({"kind": "Service", "metadata": {"name": "db-ro", "namespace": "n"},
            "spec": {"clusterIP": "10.43.0.7", "ports": [{"name": "pg-main", "port": 5432, "protocol": "TCP"}]}}),
        json!({"kind": "Service", "metadata": {"name": "headless", "namespace": "n"},
            "spec": {"clusterIP": "None", "ports": [{"port": 1}]}}),
        json!({"kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"clusterIP": "10.43.0.1", "ports": [{"name": "https", "port": 443}]}}),
        json!({"kind": "Service", "metadata": {"name": "other", "namespace": "default"},
            "spec": {"clusterIP": "10.43.0.9", "ports": [{"port": 80}]}}),
    ])
}

fn resolve(container: serde_json::Value, links: bool) -> Result<Environment, String> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "n", "labels": {"app": "x"}},
        "spec": {"enableServiceLinks": links, "containers": [container]},
    }))
    .unwrap();
    let addresses = Addresses { pod_ip: Some("10.42.0.3".into()), host_ip: "10.42.0.1".into() };
    let capacity = Capacity { cpu_millis: 2000, memory_bytes: 1 << 30, storage_bytes: 1 };
    environment(&pod, &pod.spec.as_ref().unwrap().containers[0], &sources(), &addresses, capacity)
        .map_err(|error| error.to_string())
}

#[test]
fn sources_are_merged_in_order_and_the_last_definition_wins() {
    let environment = resolve(
        json!({"name": "a",
        "envFrom": [{"configMapRef": {"name": "c"}}, {"prefix": "S_", "secretRef": {"name": "text"}},
            {"configMapRef": {"name": "missing", "optional": true}}],
        "env": [
            {"name": "A", "value": "2"},
            {"name": "B", "value": "$(A)-$(S_U)-$(C)"},
            {"name": "C", "value": "later"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "P"}}},
            {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "s", "key": "no", "optional": true}}},
            {"name": "DB", "value": "$(DB_RO_SERVICE_HOST):$(DB_RO_SERVICE_PORT_PG_MAIN)"}
        ]}),
        true,
    )
    .unwrap();
    for (name, expected) in [
        ("A", Some("2")),
        ("B", Some("2-user-$(C)")),
        ("C", Some("later")),
        ("IP", Some("10.42.0.3")),
        ("APP", Some("x")),
        ("CPU", Some("2")),
        ("P", Some("pass")),
        ("ABSENT", None),
        ("bad=name", None),
        ("DB", Some("10.43.0.7:5432")),
        ("DB_RO_PORT_5432_TCP", Some("tcp://10.43.0.7:5432")),
        ("KUBERNETES_SERVICE_HOST", Some("10.43.0.1")),
        ("KUBERNETES_SERVICE_PORT_HTTPS", Some("443")),
        ("OTHER_SERVICE_HOST", None),
        ("HEADLESS_SERVICE_HOST", None),
    ] {
        assert_eq!(environment.get(name), expected, "{name}");
    }
    let all = environment.into_vec();
    assert_eq!(all.iter().filter(|(name, _)| name == "A").count(), 1);
}

#[test]
fn without_service_links_only_the_api_server_remains() {
    let environment = resolve(json!({"name": "a"}), false).unwrap();
    assert_eq!(environment.get("KUBERNETES_SERVICE_PORT"), Some("443"));
    assert_eq!(environment.get("DB_RO_SERVICE_HOST"), None);
}

#[test]
fn what_is_missing_is_named_in_kubernetes_words() {
    let key = |kind: &str, name: &str, key: &str| {
        let source = json!({format!("{kind}KeyRef"): {"name": name, "key": key}});
        resolve(json!({"name": "a", "env": [{"name": "X", "valueFrom": source}]}), true).unwrap_err()
    };
    assert_eq!(key("secret", "x", "y"), "secret \"x\" not found");
    assert_eq!(key("configMap", "x", "y"), "configmap \"x\" not found");
    assert_eq!(key("configMap", "c", "y"), "couldn't find key y in ConfigMap n/c");
    assert_eq!(key("secret", "s", "y"), "couldn't find key y in Secret n/s");
    assert!(key("secret", "s", "binary").starts_with("key binary in Secret n/s is not text"));
    let from = resolve(json!({"name": "a", "envFrom": [{"secretRef": {"name": "x"}}]}), true);
    assert_eq!(from.unwrap_err(), "secret \"x\" not found");
}
