//! What is refused, and the sentence that says so.

use lotse_kinds::Strategy;
use serde_json::{Value, json};

use super::{sentences, write};

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]},
            },
        },
    })
}

fn object(api_version: &str, kind: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}});
    for (key, value) in rest.as_object().unwrap() {
        object[key] = value.clone();
    }
    object
}

fn refused(strategy: Strategy, new: Value, old: Option<&Value>, sentence: &str) {
    let causes = write(strategy, new, old).err().unwrap_or_else(|| panic!("accepted, but expected: {sentence}"));
    let found = sentences(&causes);
    assert!(found.iter().any(|found| found == sentence), "expected {sentence:?} in {found:#?}");
}

#[test]
fn broken_workloads_are_refused_with_a_sentence() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 12] = [
        (
            |object| object["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"}),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`",
        ),
        (
            |object| object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(""),
            "spec.template.spec.containers[0].image: Required value",
        ),
        (
            |object| {
                let containers = object["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
                containers.push(containers[0].clone());
            },
            "spec.template.spec.containers[1].name: Duplicate value: \"web\"",
        ),
        (
            |object| object["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{"containerPort": 70000}]),
            "spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            |object| {
                object["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
                    json!([{"name": "data", "mountPath": "/data"}])
            },
            "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\"",
        ),
        (
            |object| object["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = json!({"periodSeconds": 5}),
            "spec.template.spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            |object| {
                object["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] =
                    json!({"tcpSocket": {"port": 80}, "httpGet": {"port": 80}})
            },
            "spec.template.spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
        ),
        (
            |object| {
                object["spec"]["template"]["spec"]["containers"][0]["resources"] =
                    json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "512Mi"}})
            },
            "spec.template.spec.containers[0].resources.requests[memory]: Invalid value: \"1Gi\": must be less than or equal to memory limit",
        ),
        (
            |object| object["spec"]["template"]["spec"]["restartPolicy"] = json!("Never"),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            |object| object["spec"]["replicas"] = json!(-1),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            |object| object["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            |object| {
                object["spec"]["template"]["spec"]["volumes"] =
                    json!([{"name": "v", "secret": {"secretName": "s", "items": [{"key": "k", "path": "../k"}]}}])
            },
            "spec.template.spec.volumes[0].secret.items[0].path: Invalid value: \"../k\": must not contain '..'",
        ),
    ];
    write(Strategy::Create, deployment(), None).expect("the unchanged object is accepted");
    for (change, sentence) in cases {
        let mut object = deployment();
        change(&mut object);
        refused(Strategy::Create, object, None, sentence);
    }
}

#[test]
fn a_value_of_a_secret_that_is_not_base64_is_named_but_not_shown() {
    let secret = object("v1", "Secret", json!({"data": {"good": "eA==", "password": "hunter2!"}}));
    let causes = write(Strategy::Create, secret, None).unwrap_err();
    assert_eq!(causes[0].field, "data[password]");
    assert!(causes[0].message.contains("illegal base64 data at input byte 7"), "{}", causes[0].message);
    assert!(!causes[0].message.contains("hunter2"), "{}", causes[0].message);

    let secret = object("v1", "Secret", json!({"stringData": {"port": 5432}}));
    refused(
        Strategy::Create,
        secret,
        None,
        "stringData[port]: Invalid value: the value of key \"port\" must be a UTF-8 string, not a number; quote it in YAML",
    );
}

#[test]
fn what_is_settled_stays() {
    let old = write(Strategy::Create, deployment(), None).unwrap();
    let mut new = deployment();
    new["spec"]["selector"] = json!({"matchLabels": {"tier": "front"}});
    new["spec"]["template"]["metadata"]["labels"] = json!({"tier": "front"});
    let sentence = "spec.selector: Invalid value: {\"matchLabels\":{\"tier\":\"front\"}}: field is immutable";
    refused(Strategy::Update, new, Some(&old), sentence);

    let frozen = object("v1", "ConfigMap", json!({"immutable": true, "data": {"a": "1"}}));
    let changed = object("v1", "ConfigMap", json!({"immutable": true, "data": {"a": "2"}}));
    refused(Strategy::Update, changed, Some(&frozen), "data: Forbidden: field is immutable when `immutable` is set");

    let secret = object("v1", "Secret", json!({"type": "Opaque"}));
    let other = object("v1", "Secret", json!({"type": "example.com/other"}));
    refused(Strategy::Update, other, Some(&secret), "type: Invalid value: \"example.com/other\": field is immutable");

    let binding = |role: &str| {
        object(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}}),
        )
    };
    let sentence = "roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"b\"}: cannot change roleRef";
    refused(Strategy::Update, binding("b"), Some(&binding("a")), sentence);
}

#[test]
fn a_pod_changes_its_image_and_little_else() {
    let pod = |image: &str, command: &str| {
        object("v1", "Pod", json!({"spec": {"containers": [{"name": "c", "image": image, "command": [command]}]}}))
    };
    let old = write(Strategy::Create, pod("app:v1", "run"), None).unwrap();
    let change = |image: &str, command: &str| {
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = json!(image);
        new["spec"]["containers"][0]["command"] = json!([command]);
        write(Strategy::Update, new, Some(&old))
    };
    change("app:v2", "run").expect("an image may change");
    let causes = change("app:v1", "stop").unwrap_err();
    assert!(
        sentences(&causes)[0].starts_with("spec: Forbidden: pod updates may not change fields other than"),
        "{causes:?}"
    );
}

#[test]
fn other_kinds_are_refused_with_a_sentence() {
    let ingress = |path: Value| {
        let http = json!({"paths": [path]});
        object("networking.k8s.io/v1", "Ingress", json!({"spec": {"rules": [{"http": http}]}}))
    };
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let cases = [
        (
            ingress(json!({"path": "/", "backend": backend})),
            "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
        ),
        (
            ingress(json!({"path": "api", "pathType": "Prefix", "backend": backend})),
            "spec.rules[0].http.paths[0].path: Invalid value: \"api\": must be an absolute path",
        ),
        (
            object("v1", "Service", json!({"spec": {"ports": [{"port": 80}, {"port": 81}]}})),
            "spec.ports[0].name: Required value",
        ),
        (
            object("v1", "PersistentVolumeClaim", json!({"spec": {"accessModes": ["ReadWriteOnce"]}})),
            "spec.resources.requests[storage]: Required value",
        ),
        (
            object("v1", "ResourceQuota", json!({"spec": {"hard": {"pods": "ten"}}})),
            "spec.hard[pods]: Invalid value: \"ten\": must be a number with an optional suffix: n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei or a decimal exponent",
        ),
        (
            object(
                "batch/v1",
                "CronJob",
                json!({"spec": {"schedule": "often", "jobTemplate": {"spec": {"template": {"spec": {
                    "restartPolicy": "Never", "containers": [{"name": "c", "image": "app:v1"}],
                }}}}}}),
            ),
            "spec.schedule: Invalid value: \"often\": expected exactly 5 fields, found 1: often",
        ),
        (
            object(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                json!({"spec": {
                    "minReplicas": 5, "maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                }}),
            ),
            "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`",
        ),
        (
            object(
                "discovery.k8s.io/v1",
                "EndpointSlice",
                json!({"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}]}),
            ),
            "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
    ];
    for (object, sentence) in cases {
        refused(Strategy::Create, object, None, sentence);
    }
}

#[test]
fn containers_of_a_stateful_set_mount_its_claim_templates_and_nothing_undeclared() {
    let stateful = |mounted: &str| {
        let mut object = deployment();
        object["apiVersion"] = json!("apps/v1");
        object["kind"] = json!("StatefulSet");
        object["spec"]["serviceName"] = json!("web");
        object["spec"]["volumeClaimTemplates"] = json!([{
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }]);
        let container = json!({
            "name": "init", "image": "busybox",
            "volumeMounts": [{"name": mounted, "mountPath": "/data", "subPath": "db"}],
        });
        object["spec"]["template"]["spec"]["initContainers"] = json!([container]);
        object["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = container["volumeMounts"].clone();
        object
    };
    assert!(write(Strategy::Create, stateful("data"), None).is_ok());
    let sentence = "spec.template.spec.initContainers[0].volumeMounts[0].name: Not found: \"other\"";
    refused(Strategy::Create, stateful("other"), None, sentence);
}

/// Objects of real charts that are unusual, and right.
#[test]
fn what_is_unusual_but_right_is_accepted() {
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"});
    let account = json!([{"kind": "ServiceAccount", "name": "x"}]);
    let cases = [
        // The absent namespace of an account is the binding's.
        object("rbac.authorization.k8s.io/v1", "RoleBinding", json!({"roleRef": role, "subjects": account})),
    ];
    for object in cases {
        if let Err(causes) = write(Strategy::Create, object.clone(), None) {
            panic!("{object} is refused: {:#?}", sentences(&causes));
        }
    }
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "x"});
    let binding =
        object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", json!({"roleRef": role, "subjects": account}));
    refused(Strategy::Create, binding, None, "subjects[0].namespace: Required value");
}
