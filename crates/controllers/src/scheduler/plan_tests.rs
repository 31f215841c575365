#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::*;

fn node(spec: Value) -> Arc<Node> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1", "disk": "ssd", "cores": "4"}},
            "spec": spec,
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}},
        }))
        .unwrap(),
    )
}

fn pod(name: &str, spec: Value) -> Arc<Pod> {
    let mut all = json!({"containers": []});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    Arc::new(
        serde_json::from_value(
            json!({"metadata": {"name": name, "namespace": "n", "labels": {"app": name}}, "spec": all}),
        )
        .unwrap(),
    )
}

fn cpu(amount: &str) -> Value {
    json!([{"name": "c", "resources": {"requests": {"cpu": amount}}}])
}

fn decide(
    nodes: &[Arc<Node>],
    placed: &[Arc<Pod>],
    pending: Vec<Arc<Pod>>,
    claim: Option<Value>,
) -> Vec<(String, String)> {
    let claim: Option<Arc<PersistentVolumeClaim>> = claim.map(|claim| Arc::new(serde_json::from_value(claim).unwrap()));
    let observed = Observed {
        nodes,
        placed,
        pending,
        claim: &|_| claim.clone(),
        volume: &|name| (name == "pv").then(|| Arc::new(PersistentVolume::default())),
        namespace_labels: &|_| None,
    };
    let text = |decision| match decision {
        Decision::Bind { pod, node } => (pod.name_any(), node),
        Decision::Wait { pod, message, .. } => (pod.name_any(), message),
    };
    plan(observed).into_iter().map(text).collect()
}

/// Where the only pending pod goes, or the reasons of the refusal.
fn one(node_spec: Value, placed: &[Arc<Pod>], spec: Value) -> String {
    let (_, outcome) = decide(&[node(node_spec)], placed, vec![pod("p", spec)], None).remove(0);
    outcome.split(". preemption").next().unwrap().replace("0/1 nodes are available: ", "")
}

#[test]
fn predicates_refuse_in_the_words_of_kubernetes() {
    let affinity = |operator: &str, key: &str, values: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": key, "operator": operator, "values": values}]},
        ]}}}})
    };
    let mismatch = "1 node(s) didn't match Pod's node affinity/selector";
    let taint = json!({"taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]});
    let toleration = json!({"tolerations": [{"key": "dedicated", "operator": "Equal", "value": "db"}]});
    let table = [
        (json!({}), json!({}), "n1"),
        (json!({}), json!({"nodeSelector": {"disk": "ssd"}}), "n1"),
        (json!({}), json!({"nodeSelector": {"disk": "hdd"}}), mismatch),
        (json!({}), affinity("In", "disk", json!(["ssd"])), "n1"),
        (json!({}), affinity("NotIn", "disk", json!(["ssd"])), mismatch),
        (json!({}), affinity("Gt", "cores", json!(["3"])), "n1"),
        (json!({}), affinity("Lt", "cores", json!(["3"])), mismatch),
        (json!({}), affinity("Exists", "gpu", json!([])), mismatch),
        (taint.clone(), json!({}), "1 node(s) had untolerated taint {dedicated: db}"),
        (taint.clone(), toleration, "n1"),
        (taint, json!({"tolerations": [{"operator": "Exists"}]}), "n1"),
        (json!({"unschedulable": true}), json!({}), "1 node(s) were unschedulable"),
        (json!({}), json!({"containers": cpu("2")}), "n1"),
        (json!({}), json!({"containers": cpu("2001m")}), "1 Insufficient cpu"),
        (json!({}), json!({"containers": [], "initContainers": cpu("3")}), "1 Insufficient cpu"),
        (
            json!({}),
            json!({"schedulingGates": [{"name": "g"}]}),
            "Scheduling is blocked due to non-empty scheduling gates",
        ),
    ];
    for (node_spec, spec, expected) in table {
        assert_eq!(one(node_spec, &[], spec.clone()), expected, "{spec}");
    }
}

#[test]
fn what_is_placed_counts() {
    let port = |number: i32, address: &str| json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": number, "hostIP": address}]}]});
    let clash = "1 node(s) didn't have free ports for the requested pod ports";
    let placed = |spec: Value| [pod("other", spec)];
    assert_eq!(one(json!({}), &[], port(80, "")), "n1");
    let elsewhere = |mut spec: Value| {
        spec["nodeName"] = json!("n1");
        spec
    };
    assert_eq!(one(json!({}), &placed(elsewhere(port(80, ""))), port(80, "127.0.0.1")), clash);
    assert_eq!(one(json!({}), &placed(elsewhere(port(80, "10.0.0.1"))), port(80, "127.0.0.1")), "n1");
    assert_eq!(
        one(json!({}), &placed(elsewhere(json!({"containers": cpu("1500m")}))), json!({"containers": cpu("1")})),
        "1 Insufficient cpu"
    );
    let anti = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "other"}}},
    ]}}});
    assert_eq!(
        one(json!({}), &placed(elsewhere(json!({}))), anti.clone()),
        "1 node(s) didn't match pod anti-affinity rules"
    );
    assert_eq!(one(json!({}), &[], anti), "n1");
    let with = |app: &str| {
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}},
        ]}}})
    };
    assert_eq!(one(json!({}), &placed(elsewhere(json!({}))), with("other")), "n1");
    assert_eq!(one(json!({}), &[], with("other")), "1 node(s) didn't match pod affinity rules");
    assert_eq!(one(json!({}), &[], with("p")), "n1");
}

#[test]
fn important_pods_come_first_and_each_placement_counts_for_the_next() {
    let pods = vec![
        pod("low", json!({"priority": 0, "containers": cpu("1500m")})),
        pod("high", json!({"priority": 1000, "containers": cpu("1500m")})),
    ];
    let decisions = decide(&[node(json!({}))], &[], pods, None);
    assert_eq!(decisions[0], ("high".to_owned(), "n1".to_owned()));
    assert!(decisions[1].1.contains("Insufficient cpu"), "{decisions:?}");
    let four = (0..4).map(|n| pod(&format!("p{n}"), json!({}))).collect();
    assert!(decide(&[node(json!({}))], &[], four, None)[3].1.contains("Too many pods"));
    assert_eq!(decide(&[], &[], vec![pod("p", json!({}))], None)[0].1, "no nodes available to schedule pods");
}

#[test]
fn a_pod_waits_for_its_claims() {
    let spec = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    let outcome =
        |claim: Option<Value>| decide(&[node(json!({}))], &[], vec![pod("p", spec.clone())], claim).remove(0).1;
    assert!(outcome(None).contains("persistentvolumeclaim \"data\" not found"));
    let pending = json!({"spec": {}, "status": {"phase": "Pending"}});
    assert!(outcome(Some(pending)).contains("pod has unbound immediate PersistentVolumeClaims"));
    assert_eq!(outcome(Some(json!({"spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}))), "n1");
}
