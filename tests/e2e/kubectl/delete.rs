//! Taking away, and waiting for it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{IDLE, Named, Space, pod, workload};

pub(super) const TRIALS: &[Named] = &[
    ("deletion_in_the_background_takes_the_dependents", background),
    ("deletion_in_the_foreground_waits_for_the_dependents", foreground),
    ("orphans_live_on_and_are_adopted", orphan),
    ("a_forced_deletion_does_not_wait_for_the_pod", forced),
    ("finalizers_hold_an_object_until_they_are_gone", finalizers),
    ("wait_knows_conditions_deletions_and_paths", wait),
    ("a_namespace_takes_everything_with_it", namespace),
    ("collections_are_deleted_by_selector", collection),
];

fn count(space: &Space<'_>, what: &str) -> Option<usize> {
    space.get(what)["items"].as_array().map(Vec::len)
}

fn web(space: &Space<'_>) {
    space.apply(&[workload("Deployment", "web", 1, IDLE)]);
    space.k("rollout status deployment/web --timeout=30s").ok();
}

fn background(space: &Space<'_>) {
    web(space);
    space.k("delete deployment web").ok();
    space.wait("all is gone", 20, || count(space, "replicasets,pods -l app=web") == Some(0));
}

fn foreground(space: &Space<'_>) {
    web(space);
    space.k("delete deployment web --cascade=foreground --timeout=30s").ok();
    assert_eq!(count(space, "replicasets,pods -l app=web"), Some(0));
}

fn orphan(space: &Space<'_>) {
    web(space);
    let uid = || space.get("pods -l app=web")["items"][0]["metadata"]["uid"].clone();
    let before = uid();
    space.k("delete deployment web --cascade=orphan").ok();
    let set = space.get("replicasets -l app=web");
    assert!(set["items"][0]["metadata"]["ownerReferences"].is_null(), "{set}");
    assert_eq!(uid(), before);
    web(space);
    assert_eq!((uid(), count(space, "replicasets -l app=web")), (before, Some(1)));
}

fn forced(space: &Space<'_>) {
    let mut stubborn = pod("stubborn", "trap '' TERM; while true; do sleep 1; done");
    stubborn["spec"]["terminationGracePeriodSeconds"] = json!(60);
    space.run(&[stubborn]);
    let started = Instant::now();
    let answer = space.k("delete pod stubborn --grace-period=0 --force").ok();
    assert!(answer.err.contains("Immediate deletion"), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(space.get("pod stubborn"), Value::Null);
    let mut second = pod("second", "trap '' TERM; while true; do sleep 1; done");
    second["spec"]["terminationGracePeriodSeconds"] = json!(60);
    space.run(&[second]);
    let started = Instant::now();
    space.k("delete pod second --grace-period=1").ok();
    assert!(started.elapsed() < Duration::from_secs(10));
}

fn finalizers(space: &Space<'_>) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["example.org/hold"]}});
    space.apply(&[object]);
    space.k("delete configmap held --wait=false").ok();
    assert!(space.get("configmap held")["metadata"]["deletionTimestamp"].is_string());
    space.kubectl(
        &["patch", "configmap", "held", "--type=merge", "-p", r#"{"metadata":{"finalizers":["example.org/other"]}}"#],
        "",
    );
    space
        .kubectl(&["patch", "configmap", "held", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#], "")
        .ok();
    assert_eq!(space.get("configmap held"), Value::Null);
}

fn wait(space: &Space<'_>) {
    web(space);
    space.k("wait --for=condition=Available deployment/web --timeout=20s").ok();
    space.k("wait --for=condition=Ready pods -l app=web --timeout=20s").ok();
    space.k("wait --for=jsonpath={.status.readyReplicas}=1 deployment/web --timeout=20s").ok();
    space.k("wait --for=condition=Nonsense deployment/web --timeout=1s").fails_with("timed out waiting");
    let later = space.background("wait --for=create configmap/later --timeout=20s");
    space.k("create configmap later --from-literal=a=1").ok();
    let mut later = later;
    assert_eq!(later.finish(20), 0, "{}", later.out());
    let mut gone = space.background("wait --for=delete configmap/later --timeout=20s");
    space.k("delete configmap later").ok();
    assert_eq!(gone.finish(20), 0, "{}", gone.out());
}

fn namespace(space: &Space<'_>) {
    let inner = format!("{}-inner", space.namespace);
    let other = Space::new(space.cluster, &inner);
    other.apply(&[
        workload("Deployment", "web", 1, IDLE),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}),
    ]);
    other.k("rollout status deployment/web --timeout=30s").ok();
    space.k(&format!("delete namespace {inner} --timeout=40s")).ok();
    other.k("get pods").ok();
    assert_eq!(count(&other, "pods"), Some(0));
    other.k("create configmap late --from-literal=a=1").fails_with("not found");
    space.k("delete namespace kube-system").fails_with("forbidden");
}

fn collection(space: &Space<'_>) {
    for (name, colour) in [("a", "red"), ("b", "red"), ("c", "blue")] {
        space.k(&format!("create configmap {name} --from-literal=a=1")).ok();
        space.k(&format!("label configmap {name} colour={colour}")).ok();
    }
    space.k("delete configmaps -l colour=red").ok();
    assert_eq!(count(space, "configmaps -l colour"), Some(1));
    space.k("delete configmap nobody --ignore-not-found").ok();
    space.k("delete configmap nobody").fails_with("not found");
    let raw = format!("/api/v1/namespaces/{}/configmaps?labelSelector=colour%3Dblue", space.namespace);
    space.k(&format!("delete --raw {raw}")).ok();
    assert_eq!(count(space, "configmaps -l colour"), Some(0));
}
