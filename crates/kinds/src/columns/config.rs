//! ConfigMap, Secret, ServiceAccount and ResourceQuota.

use serde_json::Value;

use super::{age, column, field, name, text};
use crate::{
    Column, ColumnType,
    json::{View, is_empty},
};

fn entries(object: &Value, keys: &[&str]) -> usize {
    keys.iter().map(|key| object.entries(key).count()).sum()
}

pub(crate) fn config_map() -> Vec<Column> {
    vec![
        name(),
        column("Data", ColumnType::Integer, "Number of keys.", |object, _| {
            entries(object, &["data", "binaryData"]).into()
        }),
        age(),
    ]
}

pub(crate) fn secret() -> Vec<Column> {
    vec![
        name(),
        field("Type", "What the Secret is for.", "/type"),
        column("Data", ColumnType::Integer, "Number of keys.", |object, _| entries(object, &["data"]).into()),
        age(),
    ]
}

pub(crate) fn service_account() -> Vec<Column> {
    vec![
        name(),
        column("Secrets", ColumnType::Integer, "Number of Secrets that the account may use.", |object, _| {
            object.items("secrets").len().into()
        }),
        age(),
    ]
}

/// `pods: 1/10`, requests and limits apart.
fn usage(quota: &Value, limits: bool) -> String {
    let status = quota.at("status").unwrap_or(&Value::Null);
    let hard = if is_empty(status.at("hard")) { quota.at("spec").unwrap_or(&Value::Null) } else { status };
    let rows = hard.entries("hard").filter(|(name, _)| name.starts_with("limits.") == limits);
    let rows = rows.map(|(name, hard)| {
        let used = status.path(&["used", name]).and_then(Value::as_str).unwrap_or("0");
        format!("{name}: {used}/{}", hard.as_str().unwrap_or_default())
    });
    rows.collect::<Vec<_>>().join(", ")
}

pub(crate) fn resource_quota() -> Vec<Column> {
    vec![
        name(),
        text("Request", "What is requested, of what may be.", |quota| usage(quota, false)),
        text("Limit", "What is limited, of what may be.", |quota| usage(quota, true)),
        age(),
    ]
}
