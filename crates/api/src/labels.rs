//! `metav1.LabelSelector` objects.

use serde_json::Value;

use crate::selector::Requirement;

/// Whether a label selector object selects an object. An empty selector selects everything, a malformed one nothing.
pub(crate) fn selects(selector: &Value, object: &Value) -> bool {
    let labels = object.get("metadata").and_then(|m| m.get("labels"));
    let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
    let exact = selector.get("matchLabels").and_then(Value::as_object);
    let exact = exact.into_iter().flatten().all(|(key, value)| label(key) == value.as_str());
    exact
        && selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten().all(|expression| {
            let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            let values = || {
                let list = expression.get("values").and_then(Value::as_array);
                list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
            };
            match text("operator").as_str() {
                "In" => Requirement::In(text("key"), values()).matches(label),
                "NotIn" => Requirement::NotIn(text("key"), values()).matches(label),
                "Exists" => Requirement::Exists(text("key")).matches(label),
                "DoesNotExist" => Requirement::Absent(text("key")).matches(label),
                _ => false,
            }
        })
}
