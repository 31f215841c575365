//! HorizontalPodAutoscaler and PodDisruptionBudget.

use serde_json::Value;

use super::{age, column, field_or, integer, name, text};
use crate::{Column, ColumnType, hooks, json::View};

/// The columns of v2.
pub(crate) fn autoscaler() -> Vec<Column> {
    vec![
        name(),
        text("Reference", "What is scaled.", |object: &Value| {
            let target = object.path(&["spec", "scaleTargetRef"]).unwrap_or(&Value::Null);
            format!("{}/{}", target.text("kind").unwrap_or_default(), target.text("name").unwrap_or_default())
        }),
        text("Targets", "Observed and wanted values of the metrics.", targets),
        field_or("MinPods", "Fewest replicas.", "/spec/minReplicas", "<unset>"),
        field_or("MaxPods", "Most replicas.", "/spec/maxReplicas", "0"),
        field_or("Replicas", "Observed replicas.", "/status/currentReplicas", "0"),
        age(),
    ]
}

/// The columns of v1, which are those of v2.
pub(crate) fn autoscaler_v1() -> Vec<Column> {
    let as_v2 = |mut column: Column| {
        let cell = column.cell;
        column.cell = std::sync::Arc::new(move |object, now| {
            let mut object = object.clone();
            hooks::autoscaler_v1::to_stored(&mut object);
            cell(&object, now)
        });
        column
    };
    autoscaler().into_iter().map(as_v2).collect()
}

/// `cpu: 12%/70%`, the first two metrics and the number of the others.
fn targets(object: &Value) -> String {
    let metrics = object.at("spec").map_or(&[][..], |spec| spec.items("metrics"));
    let current = object.at("status").map_or(&[][..], |status| status.items("currentMetrics"));
    let all: Vec<_> = metrics.iter().enumerate().map(|(index, metric)| target(metric, current.get(index))).collect();
    match all.as_slice() {
        [] => "<none>".to_owned(),
        [first, second, rest @ ..] if !rest.is_empty() => format!("{first}, {second} + {} more...", rest.len()),
        all => all.join(", "),
    }
}

fn target(metric: &Value, current: Option<&Value>) -> String {
    const UNKNOWN: &str = "<unknown>";
    let kind = metric.text("type").unwrap_or_default();
    let field = match kind {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return "<unknown type>".to_owned(),
    };
    let wanted = metric.path(&[field, "target"]).unwrap_or(&Value::Null);
    let observed = current.and_then(|current| current.path(&[field, "current"])).unwrap_or(&Value::Null);
    let amount = |values: &Value, key: &str| values.filled(key).map(str::to_owned);
    let percent = |values: &Value| values.int("averageUtilization").map(|percent| format!("{percent}%"));
    let pair = |observed: Option<String>, wanted: String| {
        format!("{}/{wanted}", observed.unwrap_or_else(|| UNKNOWN.to_owned()))
    };
    let values = match (amount(wanted, "averageValue"), amount(wanted, "value"), percent(wanted)) {
        (Some(wanted), _, _) if matches!(kind, "Object" | "External") => {
            pair(amount(observed, "averageValue"), format!("{wanted} (avg)"))
        }
        (Some(wanted), _, _) => pair(amount(observed, "averageValue"), wanted),
        (None, Some(wanted), _) => pair(amount(observed, "value"), wanted),
        (None, None, wanted) => pair(percent(observed), wanted.unwrap_or_else(|| "<auto>".to_owned())),
    };
    match metric.at(field).and_then(|source| source.filled("name")) {
        Some(resource) => format!("{resource}: {values}"),
        None => values,
    }
}

pub(crate) fn disruption_budget() -> Vec<Column> {
    let amount = |name: &'static str, description: &'static str, pointer: &'static str| {
        column(name, ColumnType::String, description, move |object, _| match object.pointer(pointer) {
            Some(Value::String(text)) => text.as_str().into(),
            Some(Value::Number(number)) => number.to_string().into(),
            _ => "N/A".into(),
        })
    };
    vec![
        name(),
        amount("Min Available", "Fewest pods that stay.", "/spec/minAvailable"),
        amount("Max Unavailable", "Most pods that may be missing.", "/spec/maxUnavailable"),
        integer("Allowed Disruptions", "Pods that may be evicted now.", "/status/disruptionsAllowed"),
        age(),
    ]
}
