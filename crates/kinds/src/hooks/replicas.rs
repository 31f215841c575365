//! ReplicaSet, ReplicationController and ControllerRevision.

use lotse_schema::{Cause, names};
use serde_json::Value;

use super::{metadata, pod_defaults, pod_spec, selector};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View, is_empty},
};

const SPEC: Path<'_> = Path::new("spec");

pub(crate) fn default_replica_set(object: &mut Value) {
    let Some(spec) = object.at_mut("spec") else { return };
    spec.set_default("replicas", 1);
    if let Some(template) = spec.at_mut("template") {
        pod_defaults::default_template(template);
    }
}

/// As for a ReplicaSet; selector and labels follow the template where they are absent.
pub(crate) fn default_replication_controller(object: &mut Value) {
    default_replica_set(object);
    let labels =
        object.path(&["spec", "template", "metadata", "labels"]).filter(|labels| !is_empty(Some(labels))).cloned();
    let Some(labels) = labels else { return };
    if let Some(spec) = object.at_mut("spec")
        && is_empty(spec.at("selector"))
    {
        spec.set("selector", labels.clone());
    }
    if let Some(metadata) = object.object_mut("metadata")
        && is_empty(metadata.at("labels"))
    {
        metadata.set("labels", labels);
    }
}

pub(crate) fn validate_replica_set(strategy: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Subresource {
        return findings.0;
    }
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let Some(spec) = new.at("spec") else {
        findings.required(&SPEC, "");
        return findings.0;
    };
    selector::workload(spec, &[], &mut findings);
    for key in ["replicas", "minReadySeconds"] {
        findings.non_negative(&SPEC.field(key), spec.int(key));
    }
    if let Some(old) = old {
        findings.immutable(&SPEC.field("selector"), spec.at("selector"), old.path(&["spec", "selector"]));
    }
    findings.0
}

pub(crate) fn validate_replication_controller(strategy: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Subresource {
        return findings.0;
    }
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let spec = new.at("spec").unwrap_or(&Value::Null);
    for key in ["replicas", "minReadySeconds"] {
        findings.non_negative(&SPEC.field(key), spec.int(key));
    }
    if is_empty(spec.at("selector")) {
        findings.required(&SPEC.field("selector"), "");
    }
    let path = SPEC.field("template");
    let Some(template) = spec.at("template") else {
        findings.required(&path, "");
        return findings.0;
    };
    pod_spec::validate_template(&path, template, &[], &mut findings);
    selector::always_restarts(&path.field("spec"), template, &mut findings);
    let labels = template.path(&["metadata", "labels"]);
    let matches = spec.entries("selector").all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value));
    if !matches {
        let metadata = path.field("metadata");
        findings.invalid(
            &metadata.field("labels"),
            labels.unwrap_or(&Value::Null),
            "`selector` does not match template `labels`",
        );
    }
    findings.0
}

/// A revision is a record: nobody rewrites it.
pub(crate) fn validate_controller_revision(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    findings.non_negative(&Path::new("revision"), new.int("revision"));
    if let Some(old) = old {
        findings.immutable(&Path::new("data"), new.at("data"), old.at("data"));
    }
    findings.0
}
