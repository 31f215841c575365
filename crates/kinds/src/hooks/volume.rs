//! PersistentVolume.

use lotse_schema::{Cause, names};
use serde_json::{Value, json};

use super::{claim, container, metadata, pod_defaults};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View, same},
};

const SPEC: Path<'_> = Path::new("spec");
/// Fields of the spec that are not the volume's source.
const COMMON: [&str; 9] = [
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];

pub(crate) fn default(object: &mut Value) {
    let Some(spec) = object.at_mut("spec") else { return };
    spec.set_default("persistentVolumeReclaimPolicy", "Retain");
    spec.set_default("volumeMode", "Filesystem");
    if let Some(capacity) = spec.at_mut("capacity") {
        pod_defaults::quantities(capacity);
    }
    if let Some(host_path) = spec.at_mut("hostPath")
        && host_path.at("type").is_none()
    {
        host_path.set("type", "");
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
    let modes = SPEC.field("accessModes");
    if spec.items("accessModes").is_empty() {
        findings.required(&modes, "");
    }
    for (index, mode) in spec.items("accessModes").iter().enumerate() {
        findings.one_of(&modes.index(index), mode.as_str(), &claim::ACCESS_MODES);
    }
    let capacity = SPEC.field("capacity");
    match spec.path(&["capacity", "storage"]) {
        None => findings.required(&capacity, "must specify storage"),
        Some(size) => container::validate_quantity(&capacity.key("storage"), size, &mut findings),
    }
    let policies = ["Delete", "Recycle", "Retain"];
    let policy = spec.filled("persistentVolumeReclaimPolicy");
    findings.one_of(&SPEC.field("persistentVolumeReclaimPolicy"), policy, &policies);
    findings.one_of(&SPEC.field("volumeMode"), spec.filled("volumeMode"), &["Block", "Filesystem"]);
    let source = source(spec);
    match source.as_slice() {
        [] => findings.required(&SPEC, "must specify a volume type"),
        [_] => {}
        [_, further @ ..] => {
            for (name, _) in further {
                findings.forbidden(&SPEC.field(name), "may not specify more than 1 volume type");
            }
        }
    }
    for (name, value) in &source {
        if matches!(*name, "hostPath" | "local") {
            let path = SPEC.field(name);
            match value.filled("path") {
                None => findings.required(&path.field("path"), ""),
                Some(target) if target.split('/').any(|part| part == "..") => {
                    findings.invalid_text(&path.field("path"), target, "must not contain '..'");
                }
                Some(_) => {}
            }
        }
        if *name == "local" && spec.at("nodeAffinity").is_none() {
            findings.required(&SPEC.field("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if let Some(old) = old.and_then(|old| old.at("spec")) {
        if source != self::source(old) {
            findings.forbidden(&SPEC, "spec.persistentvolumesource is immutable after creation");
        }
        findings.immutable(&SPEC.field("volumeMode"), spec.at("volumeMode"), old.at("volumeMode"));
        if old.at("nodeAffinity").is_some() && !same(spec.at("nodeAffinity"), old.at("nodeAffinity")) {
            findings.immutable(&SPEC.field("nodeAffinity"), spec.at("nodeAffinity"), old.at("nodeAffinity"));
        }
    }
    findings.0
}

fn source(spec: &Value) -> Vec<(&str, &Value)> {
    let fields = spec.as_object().into_iter().flatten();
    fields
        .filter(|(key, value)| !COMMON.contains(&key.as_str()) && !value.is_null())
        .map(|(key, value)| (key.as_str(), value))
        .collect()
}
