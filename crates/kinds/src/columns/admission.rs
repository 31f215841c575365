//! Group admissionregistration.k8s.io.

use serde_json::Value;

use super::{age, column, field, name, text};
use crate::{Column, ColumnType, json::View};

pub(crate) fn webhooks() -> Vec<Column> {
    vec![
        name(),
        column("Webhooks", ColumnType::Integer, "Number of webhooks.", |object, _| {
            object.items("webhooks").len().into()
        }),
        age(),
    ]
}

pub(crate) fn policy() -> Vec<Column> {
    vec![
        name(),
        column("Validations", ColumnType::Integer, "Number of rules.", |object, _| {
            object.at("spec").map_or(0, |spec| spec.items("validations").len()).into()
        }),
        text("ParamKind", "Kind of the parameters.", |object: &Value| match object.path(&["spec", "paramKind"]) {
            None => "<unset>".to_owned(),
            Some(kind) => {
                format!("{}/{}", kind.text("apiVersion").unwrap_or_default(), kind.text("kind").unwrap_or_default())
            }
        }),
        age(),
    ]
}

pub(crate) fn policy_binding() -> Vec<Column> {
    vec![
        name(),
        field("PolicyName", "Policy that is put into force.", "/spec/policyName"),
        text("ParamRef", "Parameters.", |object: &Value| match object.path(&["spec", "paramRef"]) {
            None => "<unset>".to_owned(),
            Some(reference) => match (reference.filled("name"), reference.filled("namespace")) {
                (Some(name), Some(namespace)) => format!("{namespace}/{name}"),
                (Some(name), None) => format!("*/{name}"),
                (None, _) => "*".to_owned(),
            },
        }),
        age(),
    ]
}
