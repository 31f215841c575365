#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::*;

fn volume(policy: &str, phase: &str, claim_ref: Value, ours: bool) -> PersistentVolume {
    let provisioner = if ours { "lotse.dev/local" } else { "example.com/other" };
    serde_json::from_value(json!({
        "metadata": {"name": "v", "finalizers": [PROTECTION], "annotations": {"pv.kubernetes.io/provisioned-by": provisioner}},
        "spec": {"persistentVolumeReclaimPolicy": policy, "claimRef": claim_ref},
        "status": {"phase": phase},
    }))
    .unwrap()
}

fn claim(uid: &str, volume_name: &str) -> PersistentVolumeClaim {
    serde_json::from_value(
        json!({"metadata": {"name": "c", "namespace": "n", "uid": uid}, "spec": {"volumeName": volume_name}}),
    )
    .unwrap()
}

#[test]
fn a_volume_follows_its_claim() {
    let reference = json!({"namespace": "n", "name": "c", "uid": "u"});
    let phase = |phase| Step::Phase(phase, None);
    let table = [
        ("unclaimed", volume("Delete", "", Value::Null, true), None, phase("Available")),
        ("unclaimed, settled", volume("Delete", "Available", Value::Null, true), None, Step::Nothing),
        (
            "reserved by name",
            volume("Delete", "", json!({"namespace": "n", "name": "c"}), true),
            None,
            phase("Available"),
        ),
        ("bound", volume("Delete", "Available", reference.clone(), true), Some(claim("u", "v")), phase("Bound")),
        ("bound, settled", volume("Delete", "Bound", reference.clone(), true), Some(claim("u", "v")), Step::Nothing),
        ("being bound", volume("Delete", "Bound", reference.clone(), true), Some(claim("u", "")), Step::Nothing),
        ("claim gone", volume("Delete", "Bound", reference.clone(), true), None, phase("Released")),
        (
            "claim replaced",
            volume("Retain", "Bound", reference.clone(), true),
            Some(claim("other", "")),
            phase("Released"),
        ),
        ("released, delete", volume("Delete", "Released", reference.clone(), true), None, Step::Destroy),
        ("released, retain", volume("Retain", "Released", reference.clone(), true), None, Step::Nothing),
    ];
    for (case, volume, claim, expected) in table {
        assert_eq!(plan(&volume, claim.as_ref()), expected, "{case}");
    }
    let foreign = plan(&volume("Delete", "Released", reference, false), None);
    assert!(matches!(foreign, Step::Phase("Failed", Some(_))), "{foreign:?}");
}

#[test]
fn a_volume_in_use_is_protected_from_deletion() {
    let mut going = volume("Delete", "Bound", json!({"namespace": "n", "name": "c", "uid": "u"}), true);
    going.metadata.deletion_timestamp = Some(pod::time(now()));
    assert_eq!(plan(&going, Some(&claim("u", "v"))), Step::Nothing);
    assert_eq!(plan(&going, None), Step::Unprotect);
}
