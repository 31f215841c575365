//! Looking: get, describe, explain, discovery, permissions.

use serde_json::json;

use super::{IDLE, Named, SERVE, Space, pod, workload};

pub(super) const TRIALS: &[Named] = &[
    ("get_prints_every_output_form", get),
    ("get_selects_by_label_and_field_and_sorts", selectors),
    ("get_watches", watch),
    ("describe_shows_what_an_administrator_looks_for", describe),
    ("events_name_object_reason_and_message", events),
    ("explain_knows_built_in_and_custom_kinds", explain),
    ("api_resources_and_versions_list_every_group", discovery),
    ("can_i_answers_for_administrator_and_service_account", can_i),
    ("what_is_missing_is_said_honestly", absent),
    ("cluster_info_version_and_config_name_the_cluster", cluster_info),
];

fn get(space: &Space<'_>) {
    space.apply(&[workload("Deployment", "web", 1, IDLE)]);
    space.k("rollout status deployment/web --timeout=30s").ok();
    let out = |line: &str| space.k(line).ok().out;

    let table = out("get deployments");
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]);
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["web", "1/1", "1", "1"]);
    assert!(out("get pods").contains("NAME") && out("get pods --no-headers").lines().count() == 1);
    assert!(out("get deployments -o wide").contains("CONTAINERS"));
    assert!(out("get pods -o wide").contains(" lotse "));
    assert_eq!(out("get deployments -o name").trim(), "deployment.apps/web");
    assert_eq!(space.k("get deployment web -o json").ok().json()["spec"]["replicas"], 1);
    assert!(out("get deployment web -o yaml").contains("\n  replicas: 1\n"));
    assert_eq!(out("get deployment web -o jsonpath={.spec.template.spec.containers[*].image}"), "busybox:1");
    assert_eq!(out("get deployment web -o go-template={{.metadata.name}}"), "web");
    let columns = out("get pods -o custom-columns=NAME:.metadata.name,IMAGE:.spec.containers[0].image");
    assert!(columns.starts_with("NAME") && columns.contains("busybox:1"), "{columns}");
    assert!(out("get pods --show-labels").contains("app=web"));
    assert!(out("get pods -L app").contains("APP"));
    assert!(out("get pods -A").contains("NAMESPACE"));
    let all = out("get all");
    for kind in ["pod/web-", "deployment.apps/web", "replicaset.apps/web-"] {
        assert!(all.contains(kind), "{all}");
    }
    let several = out("get deployments,replicasets,services,endpointslices,configmaps,serviceaccounts");
    assert!(several.contains("configmap/kube-root-ca.crt") && several.contains("serviceaccount/default"), "{several}");
    assert_eq!(out("get --raw /readyz"), "ok");
    space.k("get pod nobody").fails_with("pods \"nobody\" not found");
    space.k("get unicorns").fails_with("the server doesn't have a resource type \"unicorns\"");
    assert!(space.k("get pods -l app=nobody").ok().err.contains("No resources found"));
}

fn selectors(space: &Space<'_>) {
    space.run(&[pod("one", IDLE), pod("two", IDLE)]);
    let names = |line: &str| {
        let out = space.k(&format!("get pods -o name {line}")).ok().out;
        out.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names("-l app=one"), ["pod/one"]);
    assert_eq!(names("-l app!=one"), ["pod/two"]);
    let set = space.kubectl(&["get", "pods", "-o", "name", "-l", "app in (one, two), !gone"], "").ok().out;
    assert_eq!(set.lines().count(), 2);
    assert_eq!(names("--field-selector metadata.name=two"), ["pod/two"]);
    assert_eq!(names("--field-selector status.phase=Running").len(), 2);
    assert_eq!(names("--field-selector status.phase!=Running").len(), 0);
    assert_eq!(names("--field-selector spec.nodeName=lotse").len(), 2);
    assert_eq!(names("--sort-by=.metadata.name"), ["pod/one", "pod/two"]);
    assert_eq!(names("--chunk-size=1").len(), 2);
}

fn watch(space: &Space<'_>) {
    let watch = space.background("get configmaps -w --output-watch-events");
    watch.wait_for("kube-root-ca.crt");
    space.k("create configmap seen --from-literal=a=1").ok();
    watch.wait_for("ADDED      seen");
    space.k("label configmap seen colour=red").ok();
    watch.wait_for("MODIFIED   seen");
    space.k("delete configmap seen").ok();
    watch.wait_for("DELETED    seen");
}

fn describe(space: &Space<'_>) {
    let mut web = workload("Deployment", "web", 1, SERVE);
    web["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    web["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    web["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "64Mi"}});
    web["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    space.apply(&[
        web,
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {"rules": [
            {"host": "web.test", "http": {"paths": [{"path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"}, "stringData": {"key": "do-not-print"}}),
    ]);
    space.k("rollout status deployment/web --timeout=30s").ok();
    let expected: [(&str, &[&str]); 9] = [
        (
            "pod -l app=web",
            &[
                "Node:             lotse/",
                "Limits:",
                "memory:  64Mi",
                "Readiness:",
                "tcp-socket",
                "Scheduled",
                "Started container main",
                "ClaimName:  data",
                "Controlled By:  ReplicaSet/web-",
            ],
        ),
        (
            "deployment web",
            &[
                "1 desired | 1 updated | 1 total | 1 available",
                "RollingUpdate",
                "NewReplicaSetAvailable",
                "ScalingReplicaSet",
            ],
        ),
        (
            "node lotse",
            &["KubeletReady", "Allocatable:", "Non-terminated Pods:", "Container Runtime Version:", "memory  "],
        ),
        ("service web", &["Endpoints:                10.", ":8080"]),
        ("ingress web", &["web.test", "web:80 (10."]),
        (
            "pvc data",
            &["Status:        Bound", "StorageClass:  standard", "Capacity:      10Mi", "Used By:       web-"],
        ),
        ("secret password", &["key:  12 bytes"]),
        ("serviceaccount default", &["Name:                default"]),
        ("namespace", &["Status:       Active"]),
    ];
    for (what, parts) in expected {
        let what = if what == "namespace" { format!("namespace {}", space.namespace) } else { what.to_owned() };
        let text = space.k(&format!("describe {what}")).ok().out;
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in the description of {what}:\n{text}");
        }
        assert!(!text.contains("do-not-print"));
    }
}

fn events(space: &Space<'_>) {
    space.run(&[pod("loud", IDLE)]);
    let table = space.k("get events --field-selector involvedObject.name=loud --sort-by=.lastTimestamp").ok().out;
    for part in ["LAST SEEN", "Scheduled", "Pulled", "Created", "Started", "pod/loud"] {
        assert!(table.contains(part), "{part:?} is not in\n{table}");
    }
    let events = space.k("events --for pod/loud --types Normal").ok().out;
    assert!(events.contains("Started container main"), "{events}");
    let newer = space.k("get events.events.k8s.io").ok().out;
    assert!(newer.contains("Scheduled"), "{newer}");
}

fn explain(space: &Space<'_>) {
    let out = |line: &str| space.k(line).ok().out;
    let container = out("explain pods.spec.containers");
    assert!(container.contains("livenessProbe") && container.contains("-required-"), "{container}");
    let recursive = out("explain deployment --recursive");
    for field in ["maxUnavailable", "terminationGracePeriodSeconds", "configMapKeyRef"] {
        assert!(recursive.contains(field), "{field}");
    }
    assert!(out("explain ingress.spec.rules.http.paths.pathType").contains("ImplementationSpecific"));
    assert!(out("explain application.spec.syncPolicy.automated").contains("selfHeal"));
    space.apply(&[custom_resource()]);
    space.k("wait --for=condition=Established crd/boats.example.org --timeout=10s").ok();
    space.wait("explain knows the new kind", 10, || space.k("explain boats.spec").code == 0);
    assert!(out("explain boats.spec.length").contains("From bow to stern"));
    assert!(out("explain boats --recursive").contains("length"));
    space
        .kubectl(
            &["apply", "-f", "-"],
            &json!({"apiVersion": "example.org/v1", "kind": "Boat", "metadata": {"name": "a"}, "spec": {"length": 12}})
                .to_string(),
        )
        .ok();
    let table = out("get boats");
    assert!(table.contains("LENGTH") && table.contains("12"), "{table}");
    let wrong =
        json!({"apiVersion": "example.org/v1", "kind": "Boat", "metadata": {"name": "b"}, "spec": {"length": 0}});
    space.kubectl(&["apply", "-f", "-"], &wrong.to_string()).fails_with("spec.length");
    space.k("delete crd boats.example.org").ok();
    space.k("get boats").fails_with("boats");
}

fn custom_resource() -> serde_json::Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "boats.example.org"}, "spec": {
        "group": "example.org", "scope": "Namespaced",
        "names": {"kind": "Boat", "plural": "boats", "singular": "boat"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "additionalPrinterColumns": [{"name": "Length", "type": "integer", "jsonPath": ".spec.length"}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
                "length": {"type": "integer", "minimum": 1, "description": "From bow to stern."}}}}}}}],
    }})
}

fn discovery(space: &Space<'_>) {
    let resources = space.k("api-resources").ok().out;
    for row in [
        "pods                                po",
        "deployments                         deploy",
        "ingresses                           ing",
    ] {
        assert!(resources.contains(row), "{row:?} is not in\n{resources}");
    }
    let names = space.k("api-resources --namespaced=false -o name").ok().out;
    assert!(names.contains("persistentvolumes") && !names.contains("deployments"));
    let listable = space.k("api-resources --verbs=list,watch --api-group=apps -o name").ok().out;
    assert_eq!(listable.lines().count(), 5, "{listable}");
    assert!(space.k("api-resources -o wide --api-group=apps").ok().out.contains("deletecollection"));
    let versions = space.k("api-versions").ok().out;
    for version in
        ["v1", "apps/v1", "batch/v1", "autoscaling/v2", "argoproj.io/v1alpha1", "rbac.authorization.k8s.io/v1"]
    {
        assert!(versions.lines().any(|line| line == version), "{versions}");
    }
}

fn can_i(space: &Space<'_>) {
    assert_eq!(space.k("auth can-i delete nodes").ok().out.trim(), "yes");
    assert!(space.k("auth whoami").ok().out.contains("system:masters"));
    space.k("create serviceaccount reader").ok();
    let account = format!("--as=system:serviceaccount:{}:reader", space.namespace);
    let ask = |what: &str| space.k(&format!("auth can-i {what} {account}"));
    ask("get pods").fails_with("no");
    space.k("create role reader --verb=get,list,watch --resource=pods,pods/log").ok();
    space.k(&format!("create rolebinding reader --role=reader --serviceaccount={}:reader", space.namespace)).ok();
    assert_eq!(ask("get pods").ok().out.trim(), "yes");
    assert_eq!(ask("get pods/log").ok().out.trim(), "yes");
    ask("delete pods").fails_with("no");
    ask("get pods --all-namespaces").fails_with("no");
    assert!(space.k(&format!("auth can-i --list {account}")).ok().out.contains("[get list watch]"));
    space.k(&format!("get pods {account}")).ok();
    space.k(&format!("delete pods --all {account}")).ok();
    let refused = space.k(&format!("create configmap no --from-literal=a=1 {account}"));
    refused.fails_with("cannot create resource \"configmaps\" in API group \"\" in the namespace");
    // With the account's own token instead of the administrator's word.
    let token = space.k("create token reader --duration=10m").ok().out;
    // A client certificate in the kubeconfig would win over the token.
    let config = space.cluster.directory().join("token.kubeconfig");
    let server = format!("https://127.0.0.1:{}", space.cluster.api_port);
    let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": server, "insecure-skip-tls-verify": true}}],
        "users": [{"name": "a", "user": {"token": token.trim()}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}]});
    std::fs::write(&config, text.to_string()).unwrap();
    let own = |line: &str| space.k(&format!("--kubeconfig {} {line}", config.display()));
    own("get pods").ok();
    own("get secrets").fails_with("is forbidden");
    assert!(own("auth whoami").ok().out.contains(":reader"));
}

fn absent(space: &Space<'_>) {
    space.k("top pods").fails_with("Metrics API not available");
    space.k("top nodes").fails_with("Metrics API not available");
}

fn cluster_info(space: &Space<'_>) {
    let info = space.cluster.kubectl(&["cluster-info"]).ok().out;
    assert!(info.contains("Kubernetes control plane") && info.contains("CoreDNS"), "{info}");
    let version = space.k("version -o json").ok().json();
    assert!(version["serverVersion"]["gitVersion"].as_str().unwrap().contains("+lotse"), "{version}");
    let config = space.k("config view --minify -o json").ok().json();
    assert!(
        config["clusters"][0]["cluster"]["server"].as_str().unwrap().ends_with(&space.cluster.api_port.to_string())
    );
    assert!(!space.k("config view").ok().out.contains("PRIVATE KEY"));
    space.k("get --raw /healthz").ok();
    assert!(space.k("get --raw /metrics").ok().out.contains("# TYPE"));
}
