#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::*;

fn set(spec: Value) -> StatefulSet {
    let mut all = json!({"selector": {}, "serviceName": "db", "template": {"spec": {"containers": []}}});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({"metadata": {"name": "db", "namespace": "n"}, "spec": all})).unwrap()
}

/// `state` is `ready`, `starting`, `failed` or `going`.
fn pod(index: i32, revision: &str, state: &str) -> Arc<Pod> {
    let name = format!("db-{index}");
    let ready = if matches!(state, "ready" | "going") { "True" } else { "False" };
    let phase = if state == "failed" { "Failed" } else { "Running" };
    let deleted = (state == "going").then_some("2026-01-01T00:00:00Z");
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "deletionTimestamp": deleted, "labels": {
                "controller-revision-hash": revision,
                "statefulset.kubernetes.io/pod-name": name,
                "apps.kubernetes.io/pod-index": index.to_string(),
            }},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap(),
    )
}

fn steps(set: &StatefulSet, pods: &[Arc<Pod>]) -> Vec<String> {
    let observed = Observed {
        set,
        pods,
        current: "old",
        update: "new",
        current_name: "db-old",
        update_name: "db-new",
        now: Timestamp::now(),
    };
    let text = |step: &Step| match step {
        Step::Create { ordinal, revision } => format!("create {ordinal} {revision}"),
        Step::Delete(pod) => format!("delete {}", pod.name_any()),
        Step::Relabel(pod) => format!("relabel {}", pod.name_any()),
    };
    plan(&observed).iter().map(text).collect()
}

#[test]
fn ordered_sets_take_one_step_at_a_time() {
    let three = set(json!({"replicas": 3}));
    type Row = (&'static str, Vec<Arc<Pod>>, Vec<&'static str>);
    let table: Vec<Row> = vec![
        ("nothing yet", vec![], vec!["create 0 new"]),
        ("first starts", vec![pod(0, "new", "starting")], vec![]),
        ("first ready", vec![pod(0, "new", "ready")], vec!["create 1 new"]),
        ("gap", vec![pod(0, "new", "ready"), pod(2, "new", "ready")], vec!["create 1 new"]),
        ("failed is replaced", vec![pod(0, "new", "failed")], vec!["delete db-0"]),
        ("going is awaited", vec![pod(0, "new", "going")], vec![]),
        ("too many, highest first", (0..5).map(|index| pod(index, "new", "ready")).collect(), vec!["delete db-4"]),
        ("rolls from the top", (0..3).map(|index| pod(index, "old", "ready")).collect(), vec!["delete db-2"]),
        (
            "waits for the replaced one",
            vec![pod(0, "old", "ready"), pod(1, "old", "ready"), pod(2, "new", "starting")],
            vec![],
        ),
        ("goes on", vec![pod(0, "old", "ready"), pod(1, "old", "ready"), pod(2, "new", "ready")], vec!["delete db-1"]),
        ("done", (0..3).map(|index| pod(index, "new", "ready")).collect(), vec![]),
    ];
    for (case, pods, expected) in table {
        assert_eq!(steps(&three, &pods), expected, "{case}");
    }
}

#[test]
fn parallel_sets_do_not_wait() {
    let three = set(json!({"replicas": 3, "podManagementPolicy": "Parallel"}));
    assert_eq!(steps(&three, &[]), ["create 0 new", "create 1 new", "create 2 new"]);
    let five: Vec<_> = (0..5).map(|index| pod(index, "new", "starting")).collect();
    assert_eq!(steps(&three, &five), ["delete db-4", "delete db-3"]);
}

#[test]
fn the_partition_keeps_lower_ordinals_on_the_old_template() {
    let three =
        set(json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}));
    let old: Vec<_> = (0..3).map(|index| pod(index, "old", "ready")).collect();
    assert_eq!(steps(&three, &old), ["delete db-2"]);
    assert_eq!(steps(&three, &[pod(0, "old", "ready"), pod(1, "old", "ready")]), ["create 2 new"]);
    assert_eq!(steps(&three, &[pod(0, "old", "ready")]), ["create 1 old"]);
    assert!(steps(&three, &[pod(0, "old", "ready"), pod(1, "old", "ready"), pod(2, "new", "ready")]).is_empty());
}

#[test]
fn on_delete_leaves_old_pods_and_makes_new_ones() {
    let two = set(json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}}));
    assert!(steps(&two, &[pod(0, "old", "ready"), pod(1, "old", "ready")]).is_empty());
    assert_eq!(steps(&two, &[pod(0, "old", "ready")]), ["create 1 new"]);
}

#[test]
fn names_with_foreign_ordinals_are_not_ours() {
    let set = set(json!({"replicas": 1, "ordinals": {"start": 3}}));
    let table =
        [("db-0", Some(0)), ("db-12", Some(12)), ("db-01", None), ("db-", None), ("db-x", None), ("other-0", None)];
    for (name, expected) in table {
        assert_eq!(ordinal(&set, name), expected, "{name}");
    }
    assert_eq!(range(&set), 3..4);
}

#[test]
fn the_new_revision_becomes_current_only_when_all_pods_have_it() {
    let two = set(json!({"replicas": 2}));
    let status = |pods: &[Arc<Pod>]| {
        let observed = Observed {
            set: &two,
            pods,
            current: "old",
            update: "new",
            current_name: "db-old",
            update_name: "db-new",
            now: Timestamp::now(),
        };
        status(&observed)
    };
    let half = status(&[pod(0, "old", "ready"), pod(1, "new", "ready")]);
    assert_eq!(
        (half.current_revision.as_deref(), half.current_replicas, half.updated_replicas),
        (Some("db-old"), Some(1), Some(1))
    );
    let done = status(&[pod(0, "new", "ready"), pod(1, "new", "ready")]);
    assert_eq!(
        (done.current_revision.as_deref(), done.current_replicas, done.updated_replicas),
        (Some("db-new"), Some(2), Some(2))
    );
    assert_eq!((done.replicas, done.ready_replicas, done.available_replicas), (2, Some(2), Some(2)));
}
