//! DaemonSet.

use lotse_schema::{Cause, names};
use serde_json::Value;

use super::{metadata, pod_defaults, selector};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View},
};

const SPEC: Path<'_> = Path::new("spec");

pub(crate) fn default(object: &mut Value) {
    let Some(spec) = object.at_mut("spec") else { return };
    spec.set_default("revisionHistoryLimit", 10);
    if let Some(strategy) = spec.object_mut("updateStrategy") {
        strategy.set_default("type", "RollingUpdate");
        if strategy.text("type") == Some("RollingUpdate")
            && let Some(rolling) = strategy.object_mut("rollingUpdate")
        {
            rolling.set_default("maxUnavailable", 1);
            rolling.set_default("maxSurge", 0);
        }
    }
    if let Some(template) = spec.at_mut("template") {
        pod_defaults::default_template(template);
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
    selector::workload(spec, &[], &mut findings);
    for key in ["minReadySeconds", "revisionHistoryLimit"] {
        findings.non_negative(&SPEC.field(key), spec.int(key));
    }
    if let Some(update) = spec.at("updateStrategy") {
        let path = SPEC.field("updateStrategy");
        findings.one_of(&path.field("type"), update.filled("type"), &["RollingUpdate", "OnDelete"]);
        if let Some(rolling) = update.at("rollingUpdate") {
            let path = path.field("rollingUpdate");
            let amount = |key: &str, findings: &mut Findings| {
                let (percent, number) = selector::int_or_percent(&path.field(key), rolling.at(key), findings);
                percent.or(number).unwrap_or(0)
            };
            match (amount("maxUnavailable", &mut findings), amount("maxSurge", &mut findings)) {
                (0, 0) => {
                    let value = rolling.at("maxUnavailable").unwrap_or(&Value::Null);
                    findings.invalid(&path.field("maxUnavailable"), value, "cannot be 0 when maxSurge is 0");
                }
                (1.., 1..) => {
                    let value = rolling.at("maxSurge").unwrap_or(&Value::Null);
                    findings.invalid(&path.field("maxSurge"), value, "may not be set when maxUnavailable is non-zero");
                }
                _ => {}
            }
        }
    }
    if let Some(old) = old {
        findings.immutable(&SPEC.field("selector"), spec.at("selector"), old.path(&["spec", "selector"]));
    }
    findings.0
}
