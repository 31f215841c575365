//! Node.

use lotse_schema::{Cause, names};
use serde_json::Value;

use super::{container, metadata, pod_defaults};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View, is_empty},
};

/// A Node without allocatable resources can allocate its capacity.
pub(crate) fn default(object: &mut Value) {
    let Some(status) = object.at_mut("status") else { return };
    for list in ["capacity", "allocatable"] {
        if let Some(list) = status.at_mut(list) {
            pod_defaults::quantities(list);
        }
    }
    if is_empty(status.at("allocatable"))
        && let Some(capacity) = status.at("capacity").cloned()
    {
        status.set("allocatable", capacity);
    }
}

pub(crate) fn validate(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let spec = Path::new("spec");
    let taints = spec.field("taints");
    for (index, taint) in new.at("spec").map_or(&[][..], |spec| spec.items("taints")).iter().enumerate() {
        let path = taints.index(index);
        match taint.filled("key") {
            None => findings.required(&path.field("key"), ""),
            Some(key) => findings.rule(&path.field("key"), key, names::qualified_name),
        }
        match taint.filled("effect") {
            None => findings.required(&path.field("effect"), ""),
            effect => findings.one_of(&path.field("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]),
        }
    }
    let status = Path::new("status");
    for list in ["capacity", "allocatable"] {
        let path = status.field(list);
        for (name, value) in new.at("status").into_iter().flat_map(|status| status.entries(list)) {
            container::validate_quantity(&path.key(name), value, &mut findings);
        }
    }
    if let Some(old) = old {
        for key in ["podCIDR", "providerID"] {
            let before = old.path(&["spec", key]);
            if !is_empty(before) {
                findings.immutable(&spec.field(key), new.path(&["spec", key]), before);
            }
        }
    }
    findings.0
}
