//! What may change on a pod: its containers' images, a shorter deadline, more tolerations, and scheduling gates that fall.

use serde_json::Value;

use super::CONTAINER_LISTS;
use crate::{
    findings::{Findings, Path},
    json::{Edit, View, is_empty, same},
};

const DETAIL: &str = "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, \
                      `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to existing tolerations), \
                      `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate(path: &Path<'_>, new: &Value, old: &Value, findings: &mut Findings) {
    for list in CONTAINER_LISTS {
        let list_path = path.field(list);
        if new.items(list).len() != old.items(list).len() && list != "ephemeralContainers" {
            return findings.forbidden(&list_path, "pod updates may not add or remove containers");
        }
        for (index, container) in new.items(list).iter().enumerate() {
            if container.filled("image").is_none() {
                let path = list_path.index(index);
                findings.required(&path.field("image"), "");
            }
        }
    }
    validate_deadline(path, new, old, findings);
    let kept = old.items("tolerations").iter().all(|toleration| {
        new.items("tolerations")
            .iter()
            .any(|candidate| toleration_without_time(candidate) == toleration_without_time(toleration))
    });
    if !kept {
        findings.forbidden(
            &path.field("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        );
    }
    let gates = new.items("schedulingGates");
    if gates.iter().any(|gate| !old.items("schedulingGates").contains(gate)) {
        findings.forbidden(&path.field("schedulingGates"), "only deletion is allowed, but found new scheduling gate");
    }
    if !same(Some(&fixed_part(new, old)), Some(&fixed_part(old, old))) {
        findings.forbidden(path, DETAIL);
    }
}

fn validate_deadline(path: &Path<'_>, new: &Value, old: &Value, findings: &mut Findings) {
    let path = path.field("activeDeadlineSeconds");
    match (old.int("activeDeadlineSeconds"), new.int("activeDeadlineSeconds")) {
        (Some(before), Some(now)) if now > before => {
            findings.invalid(&path, &now.into(), "must be less than or equal to previous value");
        }
        (Some(_), None) => {
            findings.invalid(&path, &Value::Null, "must not update from a positive integer to nil value")
        }
        (_, Some(now)) => findings.positive(&path, Some(now)),
        (_, None) => {}
    }
}

fn toleration_without_time(toleration: &Value) -> Value {
    let mut toleration = toleration.clone();
    toleration.remove("tolerationSeconds");
    toleration
}

/// The spec without what may change; what a gated pod may still be told about its node counts as that.
fn fixed_part(spec: &Value, old: &Value) -> Value {
    let mut fixed = spec.clone();
    for list in ["initContainers", "containers"] {
        fixed.items_mut(list).for_each(|container| drop(container.remove("image")));
    }
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates", "ephemeralContainers"] {
        fixed.remove(key);
    }
    if old.int("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        fixed.remove("terminationGracePeriodSeconds");
    }
    if !old.items("schedulingGates").is_empty() {
        fixed.remove("nodeSelector");
        fixed.remove("affinity");
    }
    if let Some(fields) = fixed.as_object_mut() {
        fields.retain(|_, value| !is_empty(Some(value)));
    }
    fixed
}
