//! HorizontalPodAutoscaler, version v1: the CPU target is a field of its own, and what v2 adds travels in annotations, so that a
//! client of v1 loses nothing (`k8s.io/kubernetes/pkg/apis/autoscaling/v1/conversion.go`).

use lotse_schema::Cause;
use serde_json::{Value, json};

use super::autoscaler;
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View, is_empty},
};

/// Annotations and the v2 fields (object, field) that they carry.
const CARRIED: [(&str, &str, &str); 4] = [
    ("autoscaling.alpha.kubernetes.io/metrics", "spec", "metrics"),
    ("autoscaling.alpha.kubernetes.io/behavior", "spec", "behavior"),
    ("autoscaling.alpha.kubernetes.io/current-metrics", "status", "currentMetrics"),
    ("autoscaling.alpha.kubernetes.io/conditions", "status", "conditions"),
];

pub(crate) fn default(object: &mut Value) {
    let carried = object.path(&["metadata", "annotations", CARRIED[0].0]).is_some();
    let Some(spec) = object.at_mut("spec") else { return };
    spec.set_default("minReplicas", 1);
    if !carried {
        spec.set_default("targetCPUUtilizationPercentage", 80);
    }
}

pub(crate) fn validate(strategy: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy != Strategy::Subresource {
        autoscaler::validate_common(new, &mut findings);
        let path = Path::new("spec");
        let target = new.path(&["spec", "targetCPUUtilizationPercentage"]).and_then(Value::as_i64);
        findings.positive(&path.field("targetCPUUtilizationPercentage"), target);
    }
    findings.0
}

fn is_cpu_utilization(metric: &Value) -> bool {
    metric.text("type") == Some("Resource")
        && metric.path(&["resource", "name"]).is_some_and(|name| name == "cpu")
        && metric.path(&["resource", "target", "averageUtilization"]).is_some()
}

pub(crate) fn to_stored(object: &mut Value) {
    let mut carried = Vec::new();
    if let Some(annotations) = object.path_mut(&["metadata", "annotations"]) {
        for (annotation, parent, field) in CARRIED {
            let text = annotations.remove(annotation);
            // What is not JSON came from nobody's conversion and is dropped, as in Kubernetes.
            let value = text.as_ref().and_then(Value::as_str).and_then(|text| serde_json::from_str::<Value>(text).ok());
            carried.extend(value.map(|value| (parent, field, value)));
        }
    }
    for (parent, field, value) in carried {
        if let Some(parent) = object.object_mut(parent) {
            parent.set(field, value);
        }
    }
    if let Some(spec) = object.at_mut("spec")
        && let Some(percent) = spec.remove("targetCPUUtilizationPercentage")
    {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}});
        match spec.get_mut("metrics") {
            Some(Value::Array(metrics)) => metrics.insert(0, cpu),
            _ => spec.set("metrics", vec![cpu]),
        }
    }
    if let Some(status) = object.at_mut("status")
        && let Some(percent) = status.remove("currentCPUUtilizationPercentage")
    {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent, "averageValue": "0"}}});
        match status.get_mut("currentMetrics") {
            Some(Value::Array(metrics)) => metrics.insert(0, cpu),
            _ => status.set("currentMetrics", vec![cpu]),
        }
    }
}

pub(crate) fn from_stored(object: &mut Value) {
    if let Some(spec) = object.at_mut("spec")
        && let Some(Value::Array(mut metrics)) = spec.remove("metrics")
    {
        if let Some(at) = metrics.iter().position(is_cpu_utilization) {
            let percent = metrics.remove(at).pointer_mut("/resource/target/averageUtilization").map(Value::take);
            spec.set("targetCPUUtilizationPercentage", percent.unwrap_or_default());
        }
        spec.set("metrics", metrics);
    }
    if let Some(status) = object.at_mut("status") {
        let percent = status.items("currentMetrics").iter().find_map(|metric| {
            let cpu = metric.path(&["resource", "name"]).is_some_and(|name| name == "cpu");
            metric.path(&["resource", "current", "averageUtilization"]).filter(|_| cpu).cloned()
        });
        percent.into_iter().for_each(|percent| status.set("currentCPUUtilizationPercentage", percent));
    }
    let mut carried = Vec::new();
    for (annotation, parent, field) in CARRIED {
        let value =
            object.at_mut(parent).and_then(|parent| parent.remove(field)).filter(|value| !is_empty(Some(value)));
        carried.extend(value.map(|value| (annotation, value)));
    }
    if !carried.is_empty()
        && let Some(annotations) = object.object_mut("metadata").and_then(|metadata| metadata.object_mut("annotations"))
    {
        carried.into_iter().for_each(|(annotation, value)| annotations.set(annotation, value.to_string()));
    }
}
