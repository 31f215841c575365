//! Rules for names that differ by kind. What holds for all metadata is checked by the API server.

use serde_json::Value;

use crate::{
    findings::{Findings, Path},
    json::View,
};

const METADATA: Path<'_> = Path::new("metadata");

/// The object's name must satisfy the rule; whether there is a name at all is a rule for all kinds.
pub(super) fn name(object: &Value, rule: fn(&str) -> Result<(), String>, findings: &mut Findings) {
    if let Some(name) = object.path(&["metadata", "name"]).and_then(Value::as_str) {
        findings.rule(&METADATA.field("name"), name, rule);
    }
}

/// The object's name must leave room for what is appended to it.
pub(super) fn name_at_most(object: &Value, limit: usize, findings: &mut Findings) {
    if let Some(name) = object.path(&["metadata", "name"]).and_then(Value::as_str).filter(|name| name.len() > limit) {
        findings.invalid_text(&METADATA.field("name"), name, format_args!("must be no more than {limit} characters"));
    }
}

/// A name that is only ever one segment of an address (`k8s.io/apimachinery/pkg/api/validation/path`).
pub(super) fn path_segment(name: &str) -> Result<(), String> {
    match name {
        "." | ".." => Err(format!("may not be '{name}'")),
        name => match name.chars().find(|c| matches!(c, '/' | '%')) {
            Some(c) => Err(format!("may not contain '{c}'")),
            None => Ok(()),
        },
    }
}
