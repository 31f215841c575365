//! Label selectors and the templates they select.

use lotse_schema::names;
use serde_json::Value;

use super::pod_spec;
use crate::{
    findings::{Findings, Path},
    json::{View, is_empty},
};

/// A `LabelSelector`.
pub(super) fn validate(path: &Path<'_>, selector: &Value, findings: &mut Findings) {
    let match_labels = path.field("matchLabels");
    labels(&match_labels, selector.at("matchLabels"), findings);
    let expressions = path.field("matchExpressions");
    for (index, expression) in selector.items("matchExpressions").iter().enumerate() {
        let path = expressions.index(index);
        match expression.filled("key") {
            None => findings.required(&path.field("key"), ""),
            Some(key) => findings.rule(&path.field("key"), key, names::qualified_name),
        }
        let values = expression.items("values");
        match expression.text("operator") {
            Some("In" | "NotIn") if values.is_empty() => {
                findings.required(&path.field("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            Some("Exists" | "DoesNotExist") if !values.is_empty() => {
                findings.forbidden(
                    &path.field("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            Some("In" | "NotIn" | "Exists" | "DoesNotExist") => {}
            other => findings.invalid_text(
                &path.field("operator"),
                other.unwrap_or_default(),
                "not a valid selector operator",
            ),
        }
    }
}

/// A map of labels.
pub(super) fn labels(path: &Path<'_>, labels: Option<&Value>, findings: &mut Findings) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        findings.rule(path, key, names::qualified_name);
        if let Some(value) = value.as_str() {
            findings.rule(&path.key(key), value, names::label_value);
        }
    }
}

/// Whether a `LabelSelector` selects the labels.
pub(super) fn selects(selector: &Value, labels: Option<&Value>) -> bool {
    let label = |key: &str| labels.and_then(|labels| labels.text(key));
    let all_equal = selector
        .entries("matchLabels")
        .all(|(key, value)| label(key).is_some_and(|label| Some(label) == value.as_str()));
    all_equal
        && selector.items("matchExpressions").iter().all(|expression| {
            let value = label(expression.text("key").unwrap_or_default());
            let listed = value
                .is_some_and(|value| expression.items("values").iter().any(|listed| listed.as_str() == Some(value)));
            match expression.text("operator") {
                Some("In") => listed,
                Some("NotIn") => !listed,
                Some("Exists") => value.is_some(),
                Some("DoesNotExist") => value.is_none(),
                _ => false,
            }
        })
}

/// `spec.selector` and `spec.template` of a workload that keeps its pods running: the selector is there, says something and
/// selects the template's labels; pods restart always. `claims` are volumes that the workload adds to each pod.
pub(super) fn workload(spec: &Value, claims: &[&str], findings: &mut Findings) {
    let path = Path::new("spec");
    let selector_path = path.field("selector");
    let template_path = path.field("template");
    let selector = spec.at("selector");
    match selector {
        None => findings.required(&selector_path, ""),
        Some(selector) => {
            validate(&selector_path, selector, findings);
            if is_empty(selector.at("matchLabels")) && is_empty(selector.at("matchExpressions")) {
                findings.invalid(&selector_path, selector, "empty selector is not valid: it would select every pod");
            }
        }
    }
    let Some(template) = spec.at("template") else { return findings.required(&template_path, "") };
    pod_spec::validate_template(&template_path, template, claims, findings);
    let labels = template.path(&["metadata", "labels"]);
    if selector.is_some_and(|selector| !selects(selector, labels)) {
        let metadata = template_path.field("metadata");
        let empty = Value::Object(serde_json::Map::new());
        findings.invalid(
            &metadata.field("labels"),
            labels.unwrap_or(&empty),
            "`selector` does not match template `labels`",
        );
    }
    let pod = template_path.field("spec");
    always_restarts(&pod, template, findings);
}

/// Pods of a workload that keeps them running restart always.
pub(super) fn always_restarts(path: &Path<'_>, template: &Value, findings: &mut Findings) {
    let policy = template.path(&["spec", "restartPolicy"]).and_then(Value::as_str);
    findings.one_of(&path.field("restartPolicy"), policy, &["Always"]);
    if template.path(&["spec", "activeDeadlineSeconds"]).is_some() {
        findings
            .forbidden(&path.field("activeDeadlineSeconds"), "activeDeadlineSeconds in this workload is not supported");
    }
}

/// `25%` or `3`: (percent, whole number).
pub(super) fn int_or_percent(
    path: &Path<'_>,
    value: Option<&Value>,
    findings: &mut Findings,
) -> (Option<i64>, Option<i64>) {
    match value {
        Some(Value::Number(number)) => {
            findings.non_negative(path, number.as_i64());
            (None, number.as_i64())
        }
        Some(Value::String(text)) => {
            let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<u32>().ok());
            if percent.is_none() {
                findings.invalid_text(
                    path,
                    text,
                    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%')",
                );
            }
            (percent.map(i64::from), None)
        }
        _ => (None, None),
    }
}
