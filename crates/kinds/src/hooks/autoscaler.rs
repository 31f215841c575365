//! HorizontalPodAutoscaler, version v2: the stored one.

use lotse_schema::{Cause, names};
use serde_json::{Value, json};

use super::{container, metadata, pod_defaults};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View, is_empty},
};

const SPEC: Path<'_> = Path::new("spec");
/// Kinds of metric, and the field that describes each.
const METRICS: [(&str, &str); 5] = [
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
    ("Pods", "pods"),
    ("Object", "object"),
    ("External", "external"),
];

pub(crate) fn default(object: &mut Value) {
    let Some(spec) = object.at_mut("spec") else { return };
    spec.set_default("minReplicas", 1);
    if is_empty(spec.at("metrics")) {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
        spec.set("metrics", vec![cpu]);
    }
    for metric in spec.items_mut("metrics") {
        for (_, field) in METRICS {
            if let Some(target) = metric.path_mut(&[field, "target"]) {
                pod_defaults::quantity(target, "averageValue");
                pod_defaults::quantity(target, "value");
            }
        }
    }
    let Some(behavior) = spec.at_mut("behavior") else { return };
    let up = json!([
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ]);
    let down = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
    for (direction, policies, window) in [("scaleUp", up, Some(0)), ("scaleDown", down, None)] {
        let Some(rules) = behavior.object_mut(direction) else { continue };
        rules.set_default("selectPolicy", "Max");
        window.into_iter().for_each(|window| rules.set_default("stabilizationWindowSeconds", window));
        if is_empty(rules.at("policies")) {
            rules.set("policies", policies);
        }
    }
}

pub(crate) fn validate(strategy: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Subresource {
        return findings.0;
    }
    validate_common(new, &mut findings);
    let spec = new.at("spec").unwrap_or(&Value::Null);
    let metrics = SPEC.field("metrics");
    for (index, metric) in spec.items("metrics").iter().enumerate() {
        validate_metric(&metrics.index(index), metric, &mut findings);
    }
    let behavior = SPEC.field("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        let Some(rules) = spec.path(&["behavior", direction]) else { continue };
        let path = behavior.field(direction);
        findings.range(&path.field("stabilizationWindowSeconds"), rules.int("stabilizationWindowSeconds"), 0, 3600);
        findings.one_of(&path.field("selectPolicy"), rules.filled("selectPolicy"), &["Disabled", "Max", "Min"]);
        let policies = path.field("policies");
        for (index, policy) in rules.items("policies").iter().enumerate() {
            let path = policies.index(index);
            findings.one_of(&path.field("type"), policy.filled("type"), &["Percent", "Pods"]);
            findings.positive(&path.field("value"), policy.int("value"));
            findings.range(&path.field("periodSeconds"), policy.int("periodSeconds"), 1, 1800);
        }
    }
    findings.0
}

/// What both versions share: the target, and the range of replicas.
pub(super) fn validate_common(object: &Value, findings: &mut Findings) {
    metadata::name(object, names::dns1123_subdomain, findings);
    let spec = object.at("spec").unwrap_or(&Value::Null);
    let target = SPEC.field("scaleTargetRef");
    for key in ["kind", "name"] {
        match spec.path(&["scaleTargetRef", key]).and_then(Value::as_str).filter(|text| !text.is_empty()) {
            None => findings.required(&target.field(key), ""),
            Some(text) => findings.rule(&target.field(key), text, metadata::path_segment),
        }
    }
    let (minimum, maximum) = (spec.int("minReplicas"), spec.int("maxReplicas"));
    if let Some(minimum) = minimum.filter(|minimum| *minimum < 1) {
        findings.invalid(&SPEC.field("minReplicas"), &minimum.into(), "must be greater than or equal to 1");
    }
    match maximum {
        None => findings.required(&SPEC.field("maxReplicas"), ""),
        maximum => findings.positive(&SPEC.field("maxReplicas"), maximum),
    }
    if let (Some(minimum), Some(maximum)) = (minimum, maximum)
        && maximum < minimum
    {
        findings.invalid(&SPEC.field("maxReplicas"), &maximum.into(), "must be greater than or equal to `minReplicas`");
    }
}

fn validate_metric(path: &Path<'_>, metric: &Value, findings: &mut Findings) {
    let kinds = METRICS.map(|(kind, _)| kind);
    let kind = metric.filled("type");
    match kind {
        None => findings.required(&path.field("type"), "must specify a metric source type"),
        kind => findings.one_of(&path.field("type"), kind, &kinds),
    }
    let Some((_, field)) = METRICS.iter().find(|(name, _)| Some(*name) == kind) else { return };
    let path = path.field(field);
    let Some(source) = metric.at(field) else {
        return findings.required(&path, "must populate information for the given metric source");
    };
    if field.ends_with("esource") && source.filled("name").is_none() {
        findings.required(&path.field("name"), "must specify a resource name");
    }
    let path = path.field("target");
    let target = source.at("target").unwrap_or(&Value::Null);
    findings.one_of(&path.field("type"), target.filled("type"), &["AverageValue", "Utilization", "Value"]);
    findings.positive(&path.field("averageUtilization"), target.int("averageUtilization"));
    for key in ["averageValue", "value"] {
        if let Some(amount) = target.at(key) {
            container::validate_quantity(&path.field(key), amount, findings);
        }
    }
    if ["averageUtilization", "averageValue", "value"].iter().all(|key| target.at(key).is_none()) {
        findings.required(&path, "must set either a target raw value or a target utilization");
    }
}
