//! PodDisruptionBudget.

use lotse_schema::{Cause, names};
use serde_json::Value;

use super::{metadata, selector};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::View,
};

const SPEC: Path<'_> = Path::new("spec");

pub(crate) fn validate(strategy: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Subresource {
        return findings.0;
    }
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let Some(spec) = new.at("spec") else { return findings.0 };
    if spec.at("minAvailable").is_some() && spec.at("maxUnavailable").is_some() {
        findings.invalid(&SPEC, spec, "minAvailable and maxUnavailable cannot be both set");
    }
    for key in ["minAvailable", "maxUnavailable"] {
        let (percent, _) = selector::int_or_percent(&SPEC.field(key), spec.at(key), &mut findings);
        if percent.is_some_and(|percent| percent > 100) {
            findings.invalid(&SPEC.field(key), &spec[key], "must not be greater than 100%");
        }
    }
    if let Some(found) = spec.at("selector") {
        selector::validate(&SPEC.field("selector"), found, &mut findings);
    }
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    findings.one_of(&SPEC.field("unhealthyPodEvictionPolicy"), spec.filled("unhealthyPodEvictionPolicy"), &policies);
    findings.0
}
