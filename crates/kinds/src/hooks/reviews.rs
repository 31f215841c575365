//! Questions to the API server about identity and permission.

use lotse_schema::Cause;
use serde_json::Value;

use crate::{
    Strategy,
    findings::{Findings, Path},
    json::View,
};

const SPEC: Path<'_> = Path::new("spec");

fn spec(review: &Value) -> &Value {
    review.at("spec").unwrap_or(&Value::Null)
}

pub(crate) fn validate_token_review(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if spec(new).filled("token").is_none() {
        findings.required(&SPEC.field("token"), "");
    }
    findings.0
}

pub(crate) fn validate_self_subject_rules_review(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if spec(new).filled("namespace").is_none() {
        findings.required(&SPEC.field("namespace"), "");
    }
    findings.0
}

pub(crate) fn validate_self_subject_access_review(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    attributes(new, &mut findings);
    findings.0
}

pub(crate) fn validate_subject_access_review(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    attributes(new, &mut findings);
    subject(new, &mut findings);
    findings.0
}

pub(crate) fn validate_local_subject_access_review(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    attributes(new, &mut findings);
    subject(new, &mut findings);
    let path = SPEC.field("resourceAttributes");
    let asked = spec(new).path(&["resourceAttributes", "namespace"]).and_then(Value::as_str);
    let own = new.path(&["metadata", "namespace"]).and_then(Value::as_str);
    if let Some(asked) = asked.filter(|_| asked != own && own.is_some()) {
        let detail = format!("must match metadata.namespace: {}", own.unwrap_or_default());
        findings.invalid_text(&path.field("namespace"), asked, detail);
    }
    if spec(new).at("nonResourceAttributes").is_some() {
        findings.forbidden(&SPEC.field("nonResourceAttributes"), "disallowed on this kind of request");
    }
    findings.0
}

fn attributes(review: &Value, findings: &mut Findings) {
    let given =
        ["resourceAttributes", "nonResourceAttributes"].iter().filter(|key| spec(review).at(key).is_some()).count();
    if given != 1 {
        let path = SPEC.field("resourceAttributes");
        findings.invalid(
            &path,
            &Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        );
    }
}

fn subject(review: &Value, findings: &mut Findings) {
    if spec(review).filled("user").is_none() && spec(review).items("groups").is_empty() {
        findings.invalid_text(&SPEC.field("user"), "", "at least one of user or group must be specified");
    }
}
