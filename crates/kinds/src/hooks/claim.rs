//! PersistentVolumeClaim.

use lotse_schema::{Cause, names};
use serde_json::{Value, json};

use super::{container, metadata, pod_defaults};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View, is_empty, same},
    quantity,
};

const SPEC: Path<'_> = Path::new("spec");
pub(super) const ACCESS_MODES: [&str; 4] = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"];

pub(crate) fn default(object: &mut Value) {
    if let Some(spec) = object.at_mut("spec") {
        default_spec(spec);
    }
}

pub(super) fn default_spec(spec: &mut Value) {
    spec.set_default("volumeMode", "Filesystem");
    if let Some(resources) = spec.at_mut("resources") {
        pod_defaults::default_resources(resources);
    }
}

pub(crate) fn prepare(strategy: Strategy, new: &mut Value, old: Option<&Value>) -> Result<(), Vec<Cause>> {
    if strategy == Strategy::Create && old.is_none() {
        new.set("status", json!({"phase": "Pending"}));
    }
    Ok(())
}

pub(crate) fn validate(strategy: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Subresource {
        return findings.0;
    }
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let Some(spec) = new.at("spec") else {
        findings.required(&SPEC, "");
        return findings.0;
    };
    validate_spec(&SPEC, spec, &mut findings);
    if let Some(old) = old {
        validate_update(spec, old, &mut findings);
    }
    findings.0
}

pub(super) fn validate_spec(path: &Path<'_>, spec: &Value, findings: &mut Findings) {
    let modes = path.field("accessModes");
    if spec.items("accessModes").is_empty() {
        findings.required(&modes, "at least 1 access mode is required");
    }
    for (index, mode) in spec.items("accessModes").iter().enumerate() {
        findings.one_of(&modes.index(index), mode.as_str(), &ACCESS_MODES);
    }
    let resources = path.field("resources");
    let requests = resources.field("requests");
    match spec.path(&["resources", "requests", "storage"]) {
        None => findings.required(&requests.key("storage"), ""),
        Some(size) => {
            container::validate_quantity(&requests.key("storage"), size, findings);
            if quantity::parse(size).is_some_and(|amount| amount.is_zero()) {
                findings.invalid(&requests.key("storage"), size, "must be greater than zero");
            }
        }
    }
    if let Some(class) = spec.filled("storageClassName") {
        findings.rule(&path.field("storageClassName"), class, names::dns1123_subdomain);
    }
    findings.one_of(&path.field("volumeMode"), spec.filled("volumeMode"), &["Block", "Filesystem"]);
}

/// A claim may only grow once it is bound; until then its volume is filled in.
fn validate_update(new: &Value, old: &Value, findings: &mut Findings) {
    let bound = old.path(&["status", "phase"]).and_then(Value::as_str) == Some("Bound");
    let Some(old) = old.at("spec") else { return };
    for key in ["accessModes", "selector", "volumeMode", "dataSource", "dataSourceRef"] {
        forbid_change(key, new, old, findings);
    }
    if !is_empty(old.at("volumeName")) {
        forbid_change("volumeName", new, old, findings);
    }
    if old.at("storageClassName").is_some() {
        forbid_change("storageClassName", new, old, findings);
    }
    let size = |spec: &Value| spec.path(&["resources", "requests", "storage"]).and_then(quantity::parse);
    if let (Some(before), Some(now)) = (size(old), size(new)) {
        let path = SPEC.field("resources");
        let path = path.field("requests");
        if now < before {
            findings.forbidden(&path.key("storage"), "field can not be less than status.capacity");
        } else if now > before && !bound {
            findings.forbidden(&path.key("storage"), "only bound claims can be expanded");
        }
    }
}

fn forbid_change(key: &str, new: &Value, old: &Value, findings: &mut Findings) {
    if !same(new.at(key), old.at(key)) {
        let detail =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        findings.forbidden(&SPEC.field(key), detail);
    }
}
