//! StatefulSet.

use lotse_schema::{Cause, names};
use serde_json::{Value, json};

use super::{claim, metadata, pod_defaults, selector};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View, same},
};

const SPEC: Path<'_> = Path::new("spec");
/// What a StatefulSet may change after creation.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

pub(crate) fn default(object: &mut Value) {
    let Some(spec) = object.at_mut("spec") else { return };
    spec.set_default("podManagementPolicy", "OrderedReady");
    spec.set_default("replicas", 1);
    spec.set_default("revisionHistoryLimit", 10);
    if let Some(strategy) = spec.object_mut("updateStrategy") {
        strategy.set_default("type", "RollingUpdate");
        if strategy.text("type") == Some("RollingUpdate")
            && let Some(rolling) = strategy.object_mut("rollingUpdate")
        {
            rolling.set_default("partition", 0);
        }
    }
    if let Some(retention) = spec.object_mut("persistentVolumeClaimRetentionPolicy") {
        retention.set_default("whenDeleted", "Retain");
        retention.set_default("whenScaled", "Retain");
    }
    if let Some(template) = spec.at_mut("template") {
        pod_defaults::default_template(template);
    }
    for template in spec.items_mut("volumeClaimTemplates") {
        template.set_default("apiVersion", "v1");
        template.set_default("kind", "PersistentVolumeClaim");
        claim::default(template);
        if template.at("status").is_none() {
            template.set("status", json!({"phase": "Pending"}));
        }
    }
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
    let claims: Vec<&str> = spec
        .items("volumeClaimTemplates")
        .iter()
        .filter_map(|template| template.path(&["metadata", "name"]).and_then(Value::as_str))
        .collect();
    selector::workload(spec, &claims, &mut findings);
    for key in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        findings.non_negative(&SPEC.field(key), spec.int(key));
    }
    findings.one_of(
        &SPEC.field("podManagementPolicy"),
        spec.filled("podManagementPolicy"),
        &["OrderedReady", "Parallel"],
    );
    if let Some(update) = spec.at("updateStrategy") {
        let path = SPEC.field("updateStrategy");
        findings.one_of(&path.field("type"), update.filled("type"), &["RollingUpdate", "OnDelete"]);
        let rolling = path.field("rollingUpdate");
        findings.non_negative(
            &rolling.field("partition"),
            update.path(&["rollingUpdate", "partition"]).and_then(Value::as_i64),
        );
    }
    let retention = SPEC.field("persistentVolumeClaimRetentionPolicy");
    for key in ["whenDeleted", "whenScaled"] {
        let policy = spec.path(&["persistentVolumeClaimRetentionPolicy", key]).and_then(Value::as_str);
        findings.one_of(&retention.field(key), policy, &["Retain", "Delete"]);
    }
    let templates = SPEC.field("volumeClaimTemplates");
    for (index, template) in spec.items("volumeClaimTemplates").iter().enumerate() {
        let path = templates.index(index);
        if template.path(&["metadata", "name"]).is_none() {
            let metadata = path.field("metadata");
            findings.required(&metadata.field("name"), "");
        }
        claim::validate_spec(&path.field("spec"), template.at("spec").unwrap_or(&Value::Null), &mut findings);
    }
    if let Some(old) = old.and_then(|old| old.at("spec")) {
        validate_update(spec, old, &mut findings);
    }
    findings.0
}

fn validate_update(new: &Value, old: &Value, findings: &mut Findings) {
    let keys = [new, old].into_iter().filter_map(Value::as_object).flat_map(|spec| spec.keys());
    let changed = keys.filter(|key| !MUTABLE.contains(&key.as_str())).any(|key| !same(new.get(key), old.get(key)));
    if changed {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                      'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        findings.forbidden(&SPEC, detail);
    }
}
