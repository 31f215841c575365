//! Lease, PriorityClass, RuntimeClass, CertificateSigningRequest and APIService.

use lotse_schema::{Cause, names};
use serde_json::Value;

use super::metadata;
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View},
};

const SPEC: Path<'_> = Path::new("spec");
/// The highest priority that is not reserved for the system.
const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;

pub(crate) fn validate_lease(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let spec = new.at("spec").unwrap_or(&Value::Null);
    findings.positive(&SPEC.field("leaseDurationSeconds"), spec.int("leaseDurationSeconds"));
    findings.non_negative(&SPEC.field("leaseTransitions"), spec.int("leaseTransitions"));
    findings.0
}

pub(crate) fn default_priority_class(object: &mut Value) {
    object.set_default("preemptionPolicy", "PreemptLowerPriority");
}

pub(crate) fn validate_priority_class(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let value = Path::new("value");
    let system =
        new.path(&["metadata", "name"]).and_then(Value::as_str).is_some_and(|name| name.starts_with("system-"));
    if new.int("value").is_some_and(|priority| priority > HIGHEST_USER_PRIORITY) && !system {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}");
        findings.forbidden(&value, &detail);
    }
    findings.one_of(&Path::new("preemptionPolicy"), new.filled("preemptionPolicy"), &["Never", "PreemptLowerPriority"]);
    if let Some(old) = old {
        for key in ["value", "preemptionPolicy"] {
            if !crate::json::same(new.at(key), old.at(key)) {
                findings.forbidden(&Path::new(key), "may not be changed in an update.");
            }
        }
    }
    findings.0
}

pub(crate) fn validate_runtime_class(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let handler = Path::new("handler");
    match new.filled("handler") {
        None => findings.required(&handler, ""),
        Some(name) => findings.rule(&handler, name, names::dns1123_label),
    }
    if let Some(old) = old {
        findings.immutable(&handler, new.at("handler"), old.at("handler"));
    }
    findings.0
}

pub(crate) fn default_signing_request(object: &mut Value) {
    if let Some(spec) = object.at_mut("spec")
        && spec.items("usages").is_empty()
    {
        spec.set("usages", vec!["digital signature", "key encipherment"]);
    }
}

pub(crate) fn validate_signing_request(strategy: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Subresource {
        return findings.0;
    }
    let spec = new.at("spec").unwrap_or(&Value::Null);
    let signer = SPEC.field("signerName");
    match spec.filled("signerName") {
        None => findings.required(&signer, ""),
        Some(name) if !name.contains('/') => {
            findings.invalid_text(
                &signer,
                name,
                "must be a fully qualified domain and path of the form 'example.com/signer-name'",
            );
        }
        Some(_) => {}
    }
    if spec.filled("request").is_none() {
        findings.required(&SPEC.field("request"), "");
    }
    if let Some(seconds) = spec.int("expirationSeconds").filter(|seconds| *seconds < 600) {
        findings.invalid(
            &SPEC.field("expirationSeconds"),
            &seconds.into(),
            "may not specify a duration less than 600 seconds (10 minutes)",
        );
    }
    if let Some(old) = old {
        findings.immutable(&SPEC, new.at("spec"), old.at("spec"));
    }
    findings.0
}

pub(crate) fn validate_api_service(strategy: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Subresource {
        return findings.0;
    }
    let spec = new.at("spec").unwrap_or(&Value::Null);
    let (group, version) = (spec.text("group").unwrap_or_default(), spec.text("version").unwrap_or_default());
    let name = new.path(&["metadata", "name"]).and_then(Value::as_str).unwrap_or_default();
    if name != format!("{version}.{group}") {
        let metadata = Path::new("metadata");
        findings.invalid_text(&metadata.field("name"), name, "must be spec.version+\".\"+spec.group");
    }
    for (key, limit) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
        findings.range(&SPEC.field(key), Some(spec.int(key).unwrap_or(0)), 1, limit);
    }
    findings.0
}
