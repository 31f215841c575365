//! Who may do what.

use serde_json::{Value, json};

use crate::support::Cluster;

#[tokio::test]
async fn roles_hold_where_they_are_bound_and_nowhere_else() {
    let cluster = Cluster::start().await;
    for (namespace, role, user) in
        [("default", "view", "vera"), ("default", "edit", "eddi"), ("kube-public", "admin", "anna")]
    {
        let binding = json!({"metadata": {"name": user},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}]});
        let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings");
        assert_eq!(cluster.admin_asks("POST", &path, &binding).await.0, 201);
    }
    let configmap = json!({"metadata": {"name": "a"}}).to_string();
    for (user, method, path, code) in [
        ("", "GET", "/api/v1/namespaces", 403),
        ("", "GET", "/api", 403),
        ("", "GET", "/healthz", 200),
        ("", "GET", "/version", 200),
        ("", "GET", "/metrics", 403),
        ("nobody", "GET", "/api", 200),
        ("nobody", "GET", "/api/v1/namespaces", 403),
        ("nobody", "GET", "/metrics", 403),
        ("nobody", "GET", "/apis/nothing.example.com/v1/things", 403),
        ("vera", "GET", "/api/v1/namespaces/default/configmaps", 200),
        ("vera", "GET", "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1", 200),
        ("vera", "GET", "/api/v1/namespaces/default", 200),
        ("vera", "GET", "/api/v1/namespaces/default/secrets", 403),
        ("vera", "GET", "/api/v1/namespaces/kube-system/configmaps", 403),
        ("vera", "GET", "/api/v1/configmaps", 403),
        ("vera", "POST", "/api/v1/namespaces/default/configmaps", 403),
        ("eddi", "POST", "/api/v1/namespaces/default/configmaps", 201),
        ("eddi", "GET", "/api/v1/namespaces/default/secrets", 200),
        ("eddi", "GET", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", 403),
        ("eddi", "DELETE", "/api/v1/namespaces/default", 403),
        ("anna", "GET", "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-public/roles", 200),
        ("anna", "GET", "/api/v1/nodes", 403),
    ] {
        let content = if method == "POST" { "application/json" } else { "" };
        let body = if method == "POST" { configmap.clone() } else { String::new() };
        let (actual, answer) = cluster.ask(user, &[], method, path, content, body).await;
        assert_eq!(actual, code, "{user} {method} {path}: {}", answer["message"]);
    }
}

#[tokio::test]
async fn nobody_gives_away_what_he_does_not_have() {
    let cluster = Cluster::start().await;
    let binding = |user: &str, role: &str| {
        json!({"metadata": {"name": format!("{user}-{role}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}]})
    };
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    assert_eq!(cluster.admin_asks("POST", bindings, &binding("anna", "admin")).await.0, 201);
    let ask =
        |path: &'static str, body: Value| cluster.ask("anna", &[], "POST", path, "application/json", body.to_string());
    assert_eq!(ask(bindings, binding("vera", "view")).await.0, 201);
    assert_eq!(ask(bindings, binding("eve", "cluster-admin")).await.0, 403);
    assert_eq!(ask(bindings, binding("eve", "does-not-exist")).await.0, 403);
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    let role = |resource: &str| json!({"metadata": {"name": resource}, "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]});
    assert_eq!(ask(roles, role("configmaps")).await.0, 201);
    assert_eq!(ask(roles, role("nodes")).await.0, 403);
}

#[tokio::test]
async fn tokens_are_good_for_as_long_as_what_they_are_bound_to() {
    let cluster = Cluster::start().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(cluster.admin_asks("POST", accounts, &json!({"metadata": {"name": "robot"}})).await.0, 201);
    let (code, answer) = cluster.admin_asks("POST", &format!("{accounts}/robot/token"), &json!({"spec": {}})).await;
    assert_eq!(code, 201, "{answer}");
    let token = answer["status"]["token"].as_str().unwrap().to_owned();
    let review = |token: String, audiences: Value| {
        let body = json!({"spec": {"token": token, "audiences": audiences}});
        let cluster = &cluster;
        async move {
            let (_, answer) = cluster.admin_asks("POST", "/apis/authentication.k8s.io/v1/tokenreviews", &body).await;
            answer["status"].clone()
        }
    };
    let good = review(token.clone(), Value::Null).await;
    assert_eq!(good["user"]["username"], "system:serviceaccount:default:robot");
    assert_ne!(review(token.clone(), json!(["other"])).await["authenticated"], true);

    let parts: Vec<&str> = token.split('.').collect();
    // {"alg":"none"}, a changed signature, a missing one, and another token altogether.
    for forged in [
        format!("eyJhbGciOiJub25lIn0.{}.", parts[1]),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86)),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        "x".repeat(20_000),
        String::new(),
    ] {
        assert_ne!(review(forged.clone(), Value::Null).await["authenticated"], true, "{forged}");
    }
    assert_eq!(cluster.admin_asks("DELETE", &format!("{accounts}/robot"), &Value::Null).await.0, 200);
    assert_ne!(review(token, Value::Null).await["authenticated"], true);
}
