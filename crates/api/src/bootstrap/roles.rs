//! The default roles and bindings, with the names and rights that Kubernetes documents for them.

use serde_json::{Value, json};

const API: &str = "rbac.authorization.k8s.io/v1";

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];

/// Groups with the resources that the people of a namespace work with; the second list is what only `edit` may see.
const WORK: [(&str, &[&str], &[&str]); 8] = [
    (
        "",
        &[
            "configmaps",
            "endpoints",
            "persistentvolumeclaims",
            "pods",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "serviceaccounts",
            "services",
        ],
        &["secrets"],
    ),
    (
        "apps",
        &[
            "daemonsets",
            "deployments",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
        &[],
    ),
    ("autoscaling", &["horizontalpodautoscalers"], &[]),
    ("batch", &["cronjobs", "jobs"], &[]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"], &[]),
    ("policy", &["poddisruptionbudgets"], &[]),
    ("events.k8s.io", &["events"], &[]),
    ("argoproj.io", &["applications", "applicationsets", "appprojects"], &[]),
];

/// Read by everybody who works in a namespace, written by nobody there.
const SEEN: [(&str, &[&str]); 6] = [
    (
        "",
        &[
            "bindings",
            "events",
            "limitranges",
            "namespaces",
            "namespaces/status",
            "persistentvolumeclaims/status",
            "pods/log",
            "pods/status",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
            "services/status",
        ],
    ),
    (
        "apps",
        &[
            "controllerrevisions",
            "daemonsets/status",
            "deployments/status",
            "replicasets/status",
            "statefulsets/status",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers/status"]),
    ("batch", &["cronjobs/status", "jobs/status"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("networking.k8s.io", &["ingresses/status"]),
];

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": groups, "resources": resources, "verbs": verbs})
}

fn metadata(name: &str, labels: &[(&str, &str)]) -> Value {
    let mut all = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    if let Some(all) = all.as_object_mut() {
        all.extend(labels.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))));
    }
    json!({"name": name, "labels": all, "annotations": {super::AUTOUPDATE: "true"}})
}

fn role(name: &str, labels: &[(&str, &str)], rules: Vec<Value>) -> Value {
    json!({"apiVersion": API, "kind": "ClusterRole", "metadata": metadata(name, labels), "rules": rules})
}

fn aggregate(name: &str, labels: &[(&str, &str)], from: &str) -> Value {
    let selector = json!({"matchLabels": {format!("rbac.authorization.k8s.io/aggregate-to-{from}"): "true"}});
    json!({
        "apiVersion": API, "kind": "ClusterRole", "metadata": metadata(name, labels),
        "aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": [],
    })
}

fn binding(name: &str, role: &str, groups: &[&str]) -> Value {
    let subjects: Vec<Value> = groups
        .iter()
        .map(|group| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}))
        .collect();
    json!({
        "apiVersion": API, "kind": "ClusterRoleBinding", "metadata": metadata(name, &[]),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": subjects,
    })
}

const TO_ADMIN: (&str, &str) = ("rbac.authorization.k8s.io/aggregate-to-admin", "true");
const TO_EDIT: (&str, &str) = ("rbac.authorization.k8s.io/aggregate-to-edit", "true");
const TO_VIEW: (&str, &str) = ("rbac.authorization.k8s.io/aggregate-to-view", "true");

/// All of them.
pub(super) fn objects() -> Vec<Value> {
    let mut view: Vec<Value> = WORK.iter().map(|(group, seen, _)| rule(&[group], seen, READ)).collect();
    view.extend(SEEN.iter().map(|(group, resources)| rule(&[group], resources, READ)));
    let mut edit = Vec::new();
    for (group, seen, hidden) in &WORK {
        edit.push(rule(&[group], seen, WRITE));
        if !hidden.is_empty() {
            edit.push(rule(&[group], hidden, READ));
            edit.push(rule(&[group], hidden, WRITE));
        }
    }
    edit.extend([
        rule(&[""], &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"], READ),
        rule(&[""], &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"], WRITE),
        rule(&[""], &["pods/eviction", "serviceaccounts/token"], &["create"]),
        rule(&[""], &["serviceaccounts"], &["impersonate"]),
        rule(&["coordination.k8s.io"], &["leases"], READ),
        rule(&["coordination.k8s.io"], &["leases"], WRITE),
    ]);
    let admin = vec![
        rule(&["authorization.k8s.io"], &["localsubjectaccessreviews"], &["create"]),
        rule(&["rbac.authorization.k8s.io"], &["rolebindings", "roles"], READ),
        rule(&["rbac.authorization.k8s.io"], &["rolebindings", "roles"], WRITE),
    ];
    let paths = |paths: &[&str]| vec![json!({"nonResourceURLs": paths, "verbs": ["get"]})];
    vec![
        role(
            "cluster-admin",
            &[],
            vec![
                json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}),
                json!({"nonResourceURLs": ["*"], "verbs": ["*"]}),
            ],
        ),
        aggregate("admin", &[], "admin"),
        aggregate("edit", &[TO_ADMIN], "edit"),
        aggregate("view", &[TO_EDIT], "view"),
        role("system:aggregate-to-admin", &[TO_ADMIN], admin),
        role("system:aggregate-to-edit", &[TO_EDIT], edit),
        role("system:aggregate-to-view", &[TO_VIEW], view),
        role(
            "system:basic-user",
            &[],
            vec![
                rule(&["authorization.k8s.io"], &["selfsubjectaccessreviews", "selfsubjectrulesreviews"], &["create"]),
                rule(&["authentication.k8s.io"], &["selfsubjectreviews"], &["create"]),
            ],
        ),
        role(
            "system:discovery",
            &[],
            paths(&[
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ]),
        ),
        role("system:public-info-viewer", &[], paths(&["/healthz", "/livez", "/readyz", "/version", "/version/"])),
        role(
            "system:monitoring",
            &[],
            paths(&["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/readyz", "/readyz/*"]),
        ),
        role(
            "system:service-account-issuer-discovery",
            &[],
            paths(&[
                "/.well-known/openid-configuration",
                "/.well-known/openid-configuration/",
                "/openid/v1/jwks",
                "/openid/v1/jwks/",
            ]),
        ),
        role(
            "system:node",
            &[],
            vec![
                rule(&[""], &["nodes"], &["create", "get", "list", "patch", "update", "watch"]),
                rule(&[""], &["nodes/status"], &["patch", "update"]),
                rule(&[""], &["pods"], &["create", "delete", "get", "list", "watch"]),
                rule(&[""], &["pods/status"], &["patch", "update"]),
                rule(&[""], &["pods/eviction", "serviceaccounts/token"], &["create"]),
                rule(
                    &[""],
                    &["configmaps", "secrets", "services", "persistentvolumeclaims", "persistentvolumes"],
                    READ,
                ),
                rule(&["", "events.k8s.io"], &["events"], &["create", "patch", "update"]),
                rule(&["coordination.k8s.io"], &["leases"], &["create", "delete", "get", "patch", "update"]),
                rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
                rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
            ],
        ),
        binding("cluster-admin", "cluster-admin", &["system:masters"]),
        binding("system:basic-user", "system:basic-user", &["system:authenticated"]),
        binding("system:discovery", "system:discovery", &["system:authenticated"]),
        binding(
            "system:public-info-viewer",
            "system:public-info-viewer",
            &["system:authenticated", "system:unauthenticated"],
        ),
        binding("system:monitoring", "system:monitoring", &["system:monitoring"]),
        binding(
            "system:service-account-issuer-discovery",
            "system:service-account-issuer-discovery",
            &["system:serviceaccounts"],
        ),
        binding("system:node", "system:node", &["system:nodes"]),
    ]
}
