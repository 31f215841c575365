//! Bodies that mean harm, and bodies that mean well and are wrong.

use serde_json::{Value, json};

use crate::support::Cluster;

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn bad_bodies_are_named_and_disturb_nothing() {
    let cluster = Cluster::start().await;
    let deep = |n: usize| format!("{{\"kind\":\"ConfigMap\",\"data\":{}1{}}}", "{\"a\":".repeat(n), "}".repeat(n));
    let big = format!(
        "{{\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"a\"}},\"data\":{{\"a\":\"{}\"}}}}",
        "x".repeat(5 << 20)
    );
    for (content, body, code, says) in [
        ("application/json", deep(100), 400, "max depth"),
        ("application/json", deep(100_000), 400, ""),
        ("application/yaml", deep(100_000), 400, ""),
        ("application/json", big, 413, "Request entity too large"),
        ("application/json", "{".to_owned(), 400, "parse error"),
        ("application/json", "[]".to_owned(), 400, "not a JSON object"),
        ("application/json", "{\"metadata\": 5}".to_owned(), 400, ""),
        ("application/json", "{\"metadata\": {\"name\": \"a\"}, \"data\": [1]}".to_owned(), 422, "data"),
        ("application/json", "{\"metadata\": {\"name\": \"a/../b\"}}".to_owned(), 422, "metadata.name"),
        (
            "application/json",
            "{\"metadata\": {\"name\": \"a\", \"labels\": {\"a b\": \"c\"}}}".to_owned(),
            422,
            "metadata.labels",
        ),
        (
            "application/json",
            "{\"metadata\": {\"name\": \"a\", \"namespace\": \"other\"}}".to_owned(),
            400,
            "namespace",
        ),
        ("application/cbor", "x".to_owned(), 415, "unknown format"),
        ("application/vnd.kubernetes.protobuf", "k8s\0\u{7f}".to_owned(), 400, "protobuf"),
    ] {
        let (actual, answer) = cluster.ask("admin", &["system:masters"], "POST", CONFIGMAPS, content, body).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert_eq!((actual, answer["kind"].as_str()), (code, Some("Status")), "{says}: {message}");
        assert!(message.contains(says), "{message}");
    }
    let (code, _) = cluster.admin_asks("POST", CONFIGMAPS, &json!({"metadata": {"name": "fine"}})).await;
    assert_eq!(code, 201);
}

#[tokio::test]
async fn strict_validation_names_unknown_and_duplicate_fields() {
    let cluster = Cluster::start().await;
    let body = r#"{"metadata": {"name": "a", "name": "b"}, "dat": {}}"#;
    let ask = |validation: &'static str| {
        let path = format!("{CONFIGMAPS}?dryRun=All&fieldValidation={validation}");
        cluster.ask("admin", &["system:masters"], "POST", Box::leak(path.into_boxed_str()), "application/json", body)
    };
    let (code, answer) = ask("Strict").await;
    assert_eq!(code, 400);
    assert!(answer["message"].as_str().unwrap().contains("duplicate field \"metadata.name\""), "{answer}");
    assert_eq!(ask("Warn").await.0, 201);
    assert_eq!(ask("Ignore").await.0, 201);
    let (code, answer) = cluster
        .admin_asks(
            "POST",
            &format!("{CONFIGMAPS}?fieldValidation=Strict"),
            &json!({"metadata": {"name": "a"}, "dat": {}}),
        )
        .await;
    assert_eq!(code, 400);
    assert!(answer["message"].as_str().unwrap().contains("unknown field \"dat\""), "{answer}");
}

#[tokio::test]
async fn paths_that_could_be_read_in_two_ways_are_refused() {
    let cluster = Cluster::start().await;
    for path in [
        "/api/v1/namespaces/default%2Fsecrets",
        "/api/v1/namespaces/default/configmaps/..%2fsecrets",
        "/api/v1/namespaces/default//configmaps",
        "/api/v1/namespaces/../secrets",
        "/apis/apps/v1/namespaces/default/deployments/a/../../secrets",
        "/API/v1/namespaces",
        "/api/V1/namespaces",
        "/api/v1/Namespaces",
        "/api/v1/namespaces/default/nodes",
        "/api/v1/namespaces/default/nodes/a",
        "/api/v1/configmaps/a",
        "/apis/apps/v1/namespaces/default/configmaps",
        "/api/v1/namespaces/default/pods/a/nothing",
        "/healthz/../api/v1/secrets",
    ] {
        let (code, answer) = cluster.admin_asks("GET", path, &Value::Null).await;
        assert_eq!(code, 404, "{path}: {answer}");
    }
    let (code, _) = cluster.admin_asks("POST", "/api/v1/configmaps", &json!({"metadata": {"name": "a"}})).await;
    assert_eq!(code, 405);
}
