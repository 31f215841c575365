#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::*;

fn resource(kind: &str) -> Arc<ApiResource> {
    Arc::new(ApiResource {
        group: String::new(),
        version: "v1".to_owned(),
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: kind.to_lowercase(),
    })
}

fn meta(uid: &str, owners: &[(&str, bool)], extra: Value) -> ObjectMeta {
    let owners: Vec<_> = owners
        .iter()
        .map(|(uid, block)| json!({"apiVersion": "v1", "kind": "X", "name": uid, "uid": uid, "blockOwnerDeletion": block}))
        .collect();
    let mut meta = json!({"name": uid, "namespace": "n", "uid": uid, "ownerReferences": owners});
    meta.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(meta).unwrap()
}

fn references(owners: &[(&str, Owner)]) -> Vec<(OwnerReference, Owner)> {
    let reference = |uid: &str| OwnerReference { uid: uid.to_owned(), ..OwnerReference::default() };
    owners.iter().map(|(uid, owner)| (reference(uid), *owner)).collect()
}

fn sorted(mut uids: Vec<String>) -> Vec<String> {
    uids.sort();
    uids
}

#[test]
fn an_object_stays_as_long_as_one_owner_exists() {
    let graph = Graph::default();
    let table = [
        (vec![], Verdict::Keep),
        (vec![("a", Owner::Present)], Verdict::Keep),
        (vec![("a", Owner::Absent)], Verdict::Delete(Propagation::Background)),
        (vec![("a", Owner::Present), ("b", Owner::Absent)], Verdict::Unlink(vec!["b".to_owned()])),
        (vec![("a", Owner::Present), ("b", Owner::Waiting)], Verdict::Unlink(vec!["b".to_owned()])),
        (vec![("a", Owner::Absent), ("b", Owner::Absent)], Verdict::Delete(Propagation::Background)),
        (vec![("a", Owner::Waiting)], Verdict::Delete(Propagation::Background)),
    ];
    for (owners, expected) in table {
        assert_eq!(graph.judge("x", &[], &references(&owners)), expected, "{owners:?}");
    }
    let finalizers = |name: &str| vec![name.to_owned()];
    let gone = references(&[("a", Owner::Absent)]);
    assert_eq!(graph.judge("x", &finalizers(ORPHAN), &gone), Verdict::Delete(Propagation::Orphan));
    assert_eq!(graph.judge("x", &finalizers(FOREGROUND), &gone), Verdict::Delete(Propagation::Foreground));
}

#[test]
fn foreground_deletion_spreads_to_what_has_dependents() {
    let mut graph = Graph::default();
    let kind = resource("X");
    graph.apply(&kind, &meta("set", &[("deployment", true)], json!({})));
    graph.apply(&kind, &meta("pod", &[("set", true)], json!({})));
    let waiting = references(&[("deployment", Owner::Waiting)]);
    assert_eq!(graph.judge("set", &[], &waiting), Verdict::Delete(Propagation::Foreground));
    assert_eq!(
        graph.judge("pod", &[], &references(&[("set", Owner::Waiting)])),
        Verdict::Delete(Propagation::Background)
    );
}

#[test]
fn the_graph_follows_changes_and_names_who_is_affected() {
    let mut graph = Graph::default();
    let kind = resource("X");
    graph.apply(&kind, &meta("owner", &[], json!({})));
    assert_eq!(graph.apply(&kind, &meta("a", &[("owner", true)], json!({}))), ["a"]);
    graph.apply(&kind, &meta("b", &[("owner", false)], json!({})));
    assert_eq!(graph.dependents("owner", false).len(), 2);
    assert_eq!(graph.dependents("owner", true).len(), 1);
    // A reference that goes concerns the former owner too.
    assert_eq!(sorted(graph.apply(&kind, &meta("a", &[], json!({})))), ["a", "owner"]);
    assert_eq!(graph.remove("owner"), ["b"]);
    assert_eq!(graph.owner("owner"), None);
    assert_eq!(graph.of_kind(&kind).len(), 2);
    graph.remove("a");
    graph.remove("b");
    assert!(graph.nodes.is_empty() && graph.dependents.is_empty());
}

#[test]
fn an_owner_in_foreground_deletion_hears_when_a_dependent_is_gone() {
    let mut graph = Graph::default();
    let kind = resource("X");
    let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FOREGROUND]});
    graph.apply(&kind, &meta("owner", &[], going));
    graph.apply(&kind, &meta("a", &[("owner", true)], json!({})));
    assert_eq!(graph.owner("owner"), Some(Owner::Waiting));
    assert_eq!(graph.remove("a"), ["owner"]);
}
