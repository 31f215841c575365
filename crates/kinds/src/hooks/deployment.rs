//! Deployment (`k8s.io/kubernetes/pkg/apis/apps`).

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
    spec.set_default("replicas", 1);
    spec.set_default("revisionHistoryLimit", 10);
    spec.set_default("progressDeadlineSeconds", 600);
    if let Some(strategy) = spec.object_mut("strategy") {
        strategy.set_default("type", "RollingUpdate");
        if strategy.text("type") == Some("RollingUpdate")
            && let Some(rolling) = strategy.object_mut("rollingUpdate")
        {
            rolling.set_default("maxUnavailable", "25%");
            rolling.set_default("maxSurge", "25%");
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
    for key in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        findings.non_negative(&SPEC.field(key), spec.int(key));
    }
    if let (Some(deadline), Some(ready)) = (spec.int("progressDeadlineSeconds"), spec.int("minReadySeconds"))
        && deadline <= ready
    {
        findings.invalid(
            &SPEC.field("progressDeadlineSeconds"),
            &deadline.into(),
            "must be greater than minReadySeconds",
        );
    }
    validate_strategy(spec, &mut findings);
    if let Some(old) = old {
        findings.immutable(&SPEC.field("selector"), spec.at("selector"), old.path(&["spec", "selector"]));
    }
    findings.0
}

fn validate_strategy(spec: &Value, findings: &mut Findings) {
    let path = SPEC.field("strategy");
    let Some(strategy) = spec.at("strategy") else { return };
    findings.one_of(&path.field("type"), strategy.filled("type"), &["Recreate", "RollingUpdate"]);
    let rolling_path = path.field("rollingUpdate");
    let Some(rolling) = strategy.at("rollingUpdate") else { return };
    if strategy.text("type") == Some("Recreate") {
        return findings.forbidden(&rolling_path, "may not be specified when strategy `type` is 'Recreate'");
    }
    let unavailable =
        selector::int_or_percent(&rolling_path.field("maxUnavailable"), rolling.at("maxUnavailable"), findings);
    let surge = selector::int_or_percent(&rolling_path.field("maxSurge"), rolling.at("maxSurge"), findings);
    if unavailable.0.is_some_and(|percent| percent > 100) {
        let value = rolling.at("maxUnavailable").unwrap_or(&Value::Null);
        findings.invalid(&rolling_path.field("maxUnavailable"), value, "must not be greater than 100%");
    }
    let zero = |amount: (Option<i64>, Option<i64>)| amount.0.or(amount.1) == Some(0);
    if zero(unavailable) && zero(surge) {
        let value = rolling.at("maxUnavailable").unwrap_or(&Value::Null);
        findings.invalid(&rolling_path.field("maxUnavailable"), value, "may not be 0 when `maxSurge` is 0");
    }
}
