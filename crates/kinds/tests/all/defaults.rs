//! Objects as `kubectl get -o yaml` shows them on a real cluster, less what the generic path adds.

use lotse_kinds::Strategy;
use serde_json::{Value, json};

use super::{kind, write};

fn pod_defaults(extra: Value) -> Value {
    let mut spec = json!({
        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
        "securityContext": {}, "terminationGracePeriodSeconds": 30,
    });
    for (key, value) in extra.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn check(object: Value, expected: &Value) {
    let made = write(Strategy::Create, object, None).unwrap_or_else(|causes| panic!("{causes:#?}"));
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&made[key], value, "{key} of {}", serde_json::to_string_pretty(&made).unwrap());
    }
}

#[test]
fn a_minimal_deployment_is_completed() {
    let container = json!({
        "name": "web", "image": "nginx:1.27", "imagePullPolicy": "IfNotPresent", "resources": {},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
            "failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1,
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/web"}],
    });
    check(
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {
                        "containers": [{
                            "name": "web", "image": "nginx:1.27", "ports": [{"containerPort": 80}],
                            "readinessProbe": {"httpGet": {"port": 80}},
                            "volumeMounts": [{"name": "config", "mountPath": "/etc/web"}],
                        }],
                        "volumes": [{"name": "config", "configMap": {"name": "web"}}],
                    },
                },
            },
        }),
        &json!({"spec": {
            "progressDeadlineSeconds": 600, "replicas": 1, "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": pod_defaults(json!({
                    "containers": [container],
                    "volumes": [{"name": "config", "configMap": {"name": "web", "defaultMode": 420}}],
                })),
            },
        }}),
    );
}

#[test]
fn a_pod_gets_what_a_template_does_not() {
    let tolerations = json!([
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
    ]);
    check(
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "image": "app", "resources": {"limits": {"cpu": 1, "memory": "64Mi"}}}]},
        }),
        &json!({
            "spec": pod_defaults(json!({
                "containers": [{
                    "name": "c", "image": "app", "imagePullPolicy": "Always",
                    "resources": {"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "1", "memory": "64Mi"}},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                }],
                "enableServiceLinks": true, "serviceAccount": "default", "serviceAccountName": "default", "tolerations": tolerations,
            })),
            "status": {"phase": "Pending", "qosClass": "Guaranteed"},
        }),
    );
}

#[test]
fn a_minimal_service_is_completed() {
    check(
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}]},
        }),
        &json!({
            "spec": {
                "clusterIP": "None", "clusterIPs": ["None"], "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
                "selector": {"app": "web"}, "sessionAffinity": "None", "type": "ClusterIP",
            },
            "status": {"loadBalancer": {}},
        }),
    );
}

#[test]
fn a_stateful_set_completes_its_claims() {
    let made = write(
        Strategy::Create,
        json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
            "spec": {
                "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "postgres:15-alpine"}]}},
                "volumeClaimTemplates": [{
                    "metadata": {"name": "data"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
                }],
            },
        }),
        None,
    )
    .unwrap();
    let spec = &made["spec"];
    assert_eq!(spec["updateStrategy"], json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
    assert_eq!(spec["podManagementPolicy"], "OrderedReady");
    assert_eq!(spec["persistentVolumeClaimRetentionPolicy"], json!({"whenDeleted": "Retain", "whenScaled": "Retain"}));
    assert_eq!(
        spec["volumeClaimTemplates"][0],
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "status": {"phase": "Pending"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}, "volumeMode": "Filesystem"},
        })
    );
}

#[test]
fn a_job_selects_its_own_pods() {
    let made = write(
        Strategy::Create,
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate", "uid": "u1"},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "app:v1"}]}}},
        }),
        None,
    )
    .unwrap();
    let spec = &made["spec"];
    assert_eq!((&spec["completions"], &spec["parallelism"], &spec["backoffLimit"]), (&json!(1), &json!(1), &json!(6)));
    assert_eq!(spec["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u1"}}));
    assert_eq!(spec["template"]["metadata"]["labels"]["batch.kubernetes.io/job-name"], "migrate");
    assert_eq!(spec["completionMode"], "NonIndexed");
}

#[test]
fn a_namespace_knows_its_name_and_its_finalizer() {
    check(
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "students"}}),
        &json!({
            "metadata": {"name": "students", "labels": {"kubernetes.io/metadata.name": "students"}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        }),
    );
}

#[test]
fn string_data_of_a_secret_becomes_data() {
    let made = write(
        Strategy::Create,
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "b2xk", "b": "eA=="}, "stringData": {"a": "new"}}),
        None,
    )
    .unwrap();
    assert_eq!(made["data"], json!({"a": "bmV3", "b": "eA=="}));
    assert_eq!(made["type"], "Opaque");
    assert!(made.get("stringData").is_none());
}

#[test]
fn updates_keep_what_was_allocated_to_a_service() {
    let service =
        |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec});
    let old = write(
        Strategy::Create,
        service(json!({"type": "NodePort", "clusterIP": "10.0.0.9", "ports": [{"port": 80, "nodePort": 30080}]})),
        None,
    )
    .unwrap();
    let same =
        write(Strategy::Update, service(json!({"type": "NodePort", "ports": [{"port": 80}]})), Some(&old)).unwrap();
    assert_eq!(same["spec"]["clusterIP"], "10.0.0.9");
    assert_eq!(same["spec"]["ports"][0]["nodePort"], 30080);
    let inward = write(
        Strategy::Update,
        service(json!({"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30080}]})),
        Some(&old),
    );
    assert!(inward.unwrap()["spec"]["ports"][0].get("nodePort").is_none());
}

#[test]
fn the_two_versions_of_an_autoscaler_are_one_object() {
    let v1 = kind("autoscaling/v1", "HorizontalPodAutoscaler");
    let object = json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {"minReplicas": 2, "maxReplicas": 10, "targetCPUUtilizationPercentage": 70, "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
    });
    let mut stored = object.clone();
    v1.to_stored(&mut stored).unwrap();
    assert_eq!(stored["apiVersion"], "autoscaling/v2");
    assert_eq!(
        stored["spec"]["metrics"][0]["resource"]["target"],
        json!({"type": "Utilization", "averageUtilization": 70})
    );
    let mut back = stored;
    v1.from_stored(&mut back).unwrap();
    assert_eq!(back, object);
}
