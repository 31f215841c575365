//! Label selectors, as `metav1.LabelSelectorAsSelector` reads them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

type Labels = BTreeMap<String, String>;

/// Whether `labels` satisfy `selector`. An empty selector selects everything; an unknown operator selects nothing.
pub(crate) fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let wanted = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    wanted.into_iter().all(|(key, value)| get(labels, key) == Some(value))
        && expressions.into_iter().all(|requirement| holds(requirement, labels))
}

/// Whether a selector says nothing at all. Controllers that own pods treat that as "selects nothing".
pub(crate) fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// Whether `labels` contain every pair of `wanted`.
pub(crate) fn contains(labels: Option<&Labels>, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| get(labels, key) == Some(value))
}

fn get<'a>(labels: Option<&'a Labels>, key: &str) -> Option<&'a String> {
    labels.and_then(|labels| labels.get(key))
}

fn holds(requirement: &LabelSelectorRequirement, labels: Option<&Labels>) -> bool {
    let value = get(labels, &requirement.key);
    let listed = |value: &String| requirement.values.iter().flatten().any(|allowed| allowed == value);
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn expressions_follow_the_kubernetes_operators() {
        let labels: Labels = [("app".to_owned(), "web".to_owned())].into();
        let table = [
            ("app", "In", vec!["web", "api"], true),
            ("app", "In", vec!["api"], false),
            ("app", "NotIn", vec!["api"], true),
            ("tier", "NotIn", vec!["api"], true),
            ("app", "Exists", vec![], true),
            ("tier", "Exists", vec![], false),
            ("tier", "DoesNotExist", vec![], true),
            ("app", "Like", vec!["web"], false),
        ];
        for (key, operator, values, expected) in table {
            let selector = LabelSelector {
                match_expressions: Some(vec![LabelSelectorRequirement {
                    key: key.to_owned(),
                    operator: operator.to_owned(),
                    values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
                }]),
                match_labels: None,
            };
            assert_eq!(matches(&selector, Some(&labels)), expected, "{key} {operator} {values:?}");
        }
    }
}
