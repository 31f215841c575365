//! Group storage.k8s.io.

use lotse_schema::{Cause, names};
use serde_json::Value;

use super::metadata;
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View},
};

pub(crate) fn default_class(object: &mut Value) {
    object.set_default("reclaimPolicy", "Delete");
    object.set_default("volumeBindingMode", "Immediate");
}

pub(crate) fn validate_class(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let provisioner = Path::new("provisioner");
    match new.filled("provisioner") {
        None => findings.required(&provisioner, ""),
        Some(name) => findings.rule(&provisioner, &name.to_lowercase(), names::qualified_name),
    }
    findings.one_of(&Path::new("reclaimPolicy"), new.filled("reclaimPolicy"), &["Delete", "Retain"]);
    findings.one_of(
        &Path::new("volumeBindingMode"),
        new.filled("volumeBindingMode"),
        &["Immediate", "WaitForFirstConsumer"],
    );
    if let Some(old) = old {
        for key in ["parameters", "provisioner"] {
            if !crate::json::same(new.at(key), old.at(key)) {
                findings.forbidden(&Path::new(key), "updates to this field are forbidden.");
            }
        }
        for key in ["reclaimPolicy", "volumeBindingMode"] {
            findings.immutable(&Path::new(key), new.at(key), old.at(key));
        }
    }
    findings.0
}

pub(crate) fn default_csi_driver(object: &mut Value) {
    let Some(spec) = object.object_mut("spec") else { return };
    spec.set_default("attachRequired", true);
    spec.set_default("podInfoOnMount", false);
    spec.set_default("storageCapacity", false);
    spec.set_default("fsGroupPolicy", "ReadWriteOnceWithFSType");
    spec.set_default("requiresRepublish", false);
    spec.set_default("seLinuxMount", false);
    if spec.items("volumeLifecycleModes").is_empty() {
        spec.set("volumeLifecycleModes", vec!["Persistent"]);
    }
}

pub(crate) fn validate_attachment(strategy: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    let path = Path::new("spec");
    for key in ["attacher", "nodeName"] {
        if new.at("spec").and_then(|spec| spec.filled(key)).is_none() {
            findings.required(&path.field(key), "");
        }
    }
    if let Some(old) = old.filter(|_| strategy != Strategy::Subresource) {
        findings.immutable(&path, new.at("spec"), old.at("spec"));
    }
    findings.0
}

pub(crate) fn validate_attributes_class(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if new.filled("driverName").is_none() {
        findings.required(&Path::new("driverName"), "");
    }
    if let Some(old) = old {
        for key in ["driverName", "parameters"] {
            findings.immutable(&Path::new(key), new.at(key), old.at(key));
        }
    }
    findings.0
}
