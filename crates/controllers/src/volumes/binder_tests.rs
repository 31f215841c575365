#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::*;

fn claim(spec: Value) -> PersistentVolumeClaim {
    let mut all = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "metadata": {"name": "data", "namespace": "n", "uid": "c2", "finalizers": [PROTECTION]}, "spec": all,
    }))
    .unwrap()
}

fn volume(name: &str, size: &str, class: &str, claim_ref: Value, phase: &str) -> Arc<PersistentVolume> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "annotations": {PROVISIONED_BY: "lotse.dev/local"}, "labels": {"tier": "db"}},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "storageClassName": class,
                "persistentVolumeReclaimPolicy": "Retain", "claimRef": claim_ref,
            },
            "status": {"phase": phase},
        }))
        .unwrap(),
    )
}

fn class(name: &str, provisioner: &str, default: bool) -> Arc<StorageClass> {
    let annotations = if default { json!({classes::IS_DEFAULT: "true"}) } else { json!({}) };
    Arc::new(
        serde_json::from_value(
            json!({"metadata": {"name": name, "annotations": annotations}, "provisioner": provisioner}),
        )
        .unwrap(),
    )
}

fn decide(claim: &PersistentVolumeClaim, volumes: &[Arc<PersistentVolume>]) -> String {
    let classes = [
        class("standard", "lotse.dev/local", true),
        class("hostpath", "docker.io/hostpath", false),
        class("manual", "kubernetes.io/no-provisioner", false),
        class("cloud", "ebs.csi.aws.com", false),
    ];
    match plan(&Observed { claim, volumes, classes: &classes, in_use: false }) {
        Step::Bind { volume, class } => format!("bind {} {class}", volume.name_any()),
        Step::Provision { class } => format!("provision {}", class.name_any()),
        Step::Refresh { volume } => format!("refresh {}", volume.name_any()),
        Step::Wait { reason, .. } => reason.to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn claims_find_the_volume_that_fits_best() {
    let reference = |name: &str, uid: Option<&str>| json!({"namespace": "n", "name": name, "uid": uid});
    let free = |name: &str, size: &str| volume(name, size, "standard", Value::Null, "Available");
    let hostpath = json!({"storageClassName": "hostpath"});
    let table: Vec<(&str, Value, Vec<Arc<PersistentVolume>>, &str)> = vec![
        ("default class", json!({}), vec![], "provision standard"),
        ("named class", hostpath.clone(), vec![], "provision hostpath"),
        (
            "smallest that is large enough",
            json!({}),
            vec![free("l", "20Gi"), free("m", "10Gi"), free("s", "5Gi")],
            "bind m standard",
        ),
        ("another class does not fit", hostpath.clone(), vec![free("m", "10Gi")], "provision hostpath"),
        (
            "another mode does not fit",
            json!({"accessModes": ["ReadWriteMany"]}),
            vec![free("m", "10Gi")],
            "provision standard",
        ),
        (
            "reserved by name",
            json!({}),
            vec![free("m", "10Gi"), volume("r", "50Gi", "standard", reference("data", None), "Available")],
            "bind r standard",
        ),
        (
            "taken by another claim",
            json!({}),
            vec![volume("t", "10Gi", "standard", reference("other", Some("x")), "Bound")],
            "provision standard",
        ),
        (
            "a half-finished binding is finished",
            json!({}),
            vec![free("m", "10Gi"), volume("b", "10Gi", "standard", reference("data", Some("c2")), "Bound")],
            "bind b standard",
        ),
        (
            "the retained volume of the former claim comes back with its data",
            hostpath.clone(),
            vec![volume("old", "5Gi", "hostpath", reference("data", Some("c1")), "Released")],
            "bind old hostpath",
        ),
        (
            "not while the former claim still has it",
            hostpath,
            vec![volume("old", "10Gi", "hostpath", reference("data", Some("c1")), "Bound")],
            "provision hostpath",
        ),
        ("no class, no provisioning", json!({"storageClassName": ""}), vec![free("m", "10Gi")], "FailedBinding"),
        ("static only", json!({"storageClassName": "manual"}), vec![], "FailedBinding"),
        ("somebody else's", json!({"storageClassName": "cloud"}), vec![], "ExternalProvisioning"),
        ("unknown class", json!({"storageClassName": "typo"}), vec![], "ProvisioningFailed"),
        (
            "selector that fits",
            json!({"selector": {"matchLabels": {"tier": "db"}}}),
            vec![free("m", "10Gi")],
            "bind m standard",
        ),
        (
            "selector that does not",
            json!({"selector": {"matchLabels": {"tier": "x"}}}),
            vec![free("m", "10Gi")],
            "ProvisioningFailed",
        ),
        ("by volume name", json!({"volumeName": "s"}), vec![free("m", "10Gi"), free("s", "5Gi")], "bind s standard"),
        ("volume name without volume", json!({"volumeName": "s"}), vec![], "FailedBinding"),
    ];
    for (case, spec, volumes, expected) in table {
        assert_eq!(decide(&claim(spec), &volumes), expected, "{case}");
    }
}

#[test]
fn a_bound_claim_without_its_volume_is_lost() {
    let mut bound = claim(json!({"volumeName": "v"}));
    bound.annotations_mut().insert(BIND_COMPLETED.to_owned(), "yes".to_owned());
    assert_eq!(decide(&bound, &[]), "Lost");
    let other = volume("v", "10Gi", "standard", json!({"namespace": "n", "name": "other", "uid": "x"}), "Bound");
    assert_eq!(decide(&bound, &[other]), "Lost");
    let ours = volume("v", "10Gi", "standard", json!({"namespace": "n", "name": "data", "uid": "c2"}), "Bound");
    assert_eq!(decide(&bound, &[ours]), "refresh v");
}

#[test]
fn a_claim_in_use_is_protected() {
    let mut going = claim(json!({}));
    going.metadata.deletion_timestamp = Some(pod::time(now()));
    let step = |in_use| plan(&Observed { claim: &going, volumes: &[], classes: &[], in_use });
    assert_eq!(step(true), Step::WaitForPods);
    assert_eq!(step(false), Step::Unprotect);
    let mut fresh = claim(json!({}));
    fresh.metadata.finalizers = None;
    assert_eq!(plan(&Observed { claim: &fresh, volumes: &[], classes: &[], in_use: false }), Step::Protect);
}
