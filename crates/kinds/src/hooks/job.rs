//! Job (`k8s.io/kubernetes/pkg/apis/batch`).

use lotse_schema::{Cause, names};
use serde_json::Value;

use super::{metadata, pod_defaults, pod_spec, selector};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View, is_empty, same},
};

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

pub(crate) fn default(object: &mut Value) {
    let labels =
        object.path(&["spec", "template", "metadata", "labels"]).filter(|labels| !is_empty(Some(labels))).cloned();
    if let Some(labels) = labels
        && let Some(metadata) = object.object_mut("metadata")
        && is_empty(metadata.at("labels"))
    {
        metadata.set("labels", labels);
    }
    let Some(spec) = object.at_mut("spec") else { return };
    if spec.at("completions").is_none() && spec.at("parallelism").is_none() {
        spec.set("completions", 1);
    }
    spec.set_default("parallelism", 1);
    let backoff_limit = if spec.at("backoffLimitPerIndex").is_some() { i64::from(i32::MAX) } else { 6 };
    spec.set_default("backoffLimit", backoff_limit);
    spec.set_default("completionMode", "NonIndexed");
    spec.set_default("suspend", false);
    spec.set_default("manualSelector", false);
    let replacement = if spec.at("podFailurePolicy").is_some() { "Failed" } else { "TerminatingOrFailed" };
    spec.set_default("podReplacementPolicy", replacement);
    if let Some(policy) = spec.at_mut("podFailurePolicy") {
        for rule in policy.items_mut("rules") {
            rule.items_mut("onPodConditions").for_each(|condition| condition.set_default("status", "True"));
        }
    }
    if let Some(template) = spec.at_mut("template") {
        pod_defaults::default_template(template);
    }
}

/// A new Job selects its pods by its own identity, unless it says how itself. Needs `metadata.uid` and `metadata.name`.
pub(crate) fn prepare(strategy: Strategy, new: &mut Value, old: Option<&Value>) -> Result<(), Vec<Cause>> {
    if strategy != Strategy::Create
        || old.is_some()
        || new.path(&["spec", "manualSelector"]) == Some(&Value::Bool(true))
    {
        return Ok(());
    }
    let read = |key: &str| new.path(&["metadata", key]).and_then(Value::as_str).map(str::to_owned);
    let (Some(uid), Some(name)) = (read("uid"), read("name")) else { return Ok(()) };
    let Some(spec) = new.at_mut("spec") else { return Ok(()) };
    let labels = spec.at_mut("template").and_then(|template| template.object_mut("metadata")?.object_mut("labels"));
    if let Some(labels) = labels {
        for (key, value) in [("controller-uid", &uid), (CONTROLLER_UID, &uid), ("job-name", &name), (JOB_NAME, &name)] {
            labels.set_default(key, value.as_str());
        }
    }
    if let Some(labels) = spec.object_mut("selector").and_then(|selector| selector.object_mut("matchLabels")) {
        labels.set_default(CONTROLLER_UID, uid);
    }
    Ok(())
}

pub(crate) fn validate(strategy: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Subresource {
        return findings.0;
    }
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    metadata::name_at_most(new, 63, &mut findings);
    let path = Path::new("spec");
    let Some(spec) = new.at("spec") else {
        findings.required(&path, "");
        return findings.0;
    };
    validate_spec(&path, spec, &mut findings);
    let labels = spec.path(&["template", "metadata", "labels"]);
    if spec.at("selector").is_some_and(|selector| !selector::selects(selector, labels)) {
        let template = path.field("template");
        let metadata = template.field("metadata");
        findings.invalid(
            &metadata.field("labels"),
            labels.unwrap_or(&Value::Null),
            "`selector` does not match template `labels`",
        );
    }
    if let Some(old) = old.and_then(|old| old.at("spec")) {
        validate_update(&path, spec, old, &mut findings);
    }
    findings.0
}

pub(super) fn validate_spec(path: &Path<'_>, spec: &Value, findings: &mut Findings) {
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
    ] {
        findings.non_negative(&path.field(key), spec.int(key));
    }
    findings.one_of(&path.field("completionMode"), spec.filled("completionMode"), &["NonIndexed", "Indexed"]);
    if spec.text("completionMode") == Some("Indexed") && spec.at("completions").is_none() {
        findings.required(&path.field("completions"), "when completion mode is Indexed");
    }
    let template_path = path.field("template");
    let Some(template) = spec.at("template") else { return findings.required(&template_path, "") };
    pod_spec::validate_template(&template_path, template, &[], findings);
    let pod = template_path.field("spec");
    match template.path(&["spec", "restartPolicy"]).and_then(Value::as_str) {
        None | Some("Always") => {
            let detail = "valid values: \"OnFailure\", \"Never\"";
            findings.required(&pod.field("restartPolicy"), detail);
        }
        policy => findings.one_of(&pod.field("restartPolicy"), policy, &["OnFailure", "Never"]),
    }
}

/// What a Job does is settled when it is made; the template may change while it is suspended and has not begun.
fn validate_update(path: &Path<'_>, new: &Value, old: &Value, findings: &mut Findings) {
    for key in ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        findings.immutable(&path.field(key), new.at(key), old.at(key));
    }
    if new.text("completionMode") != Some("Indexed") {
        findings.immutable(&path.field("completions"), new.at("completions"), old.at("completions"));
    }
    let suspended = old.flag("suspend");
    if !suspended && !same(new.at("template"), old.at("template")) {
        findings.immutable(&path.field("template"), new.at("template"), old.at("template"));
    }
}
