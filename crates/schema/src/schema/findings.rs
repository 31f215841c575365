//! Findings in the words of Kubernetes (`field.Error` of apimachinery), bounded.

use std::fmt::Display;

use serde_json::Value;

use crate::{Cause, Reason, path::Path};

/// How many findings one validation reports; more help nobody.
const MAX_FINDINGS: usize = 64;
/// How much of a value a finding quotes.
const MAX_QUOTE: usize = 256;

/// Collects findings.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Cause>);

// === impl Findings ===

impl Findings {
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MAX_FINDINGS
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_causes(self) -> Vec<Cause> {
        self.0
    }

    pub(crate) fn push(&mut self, reason: Reason, path: &Path<'_>, message: String) {
        if !self.is_full() {
            self.0.push(Cause { reason, message, field: path.to_string() });
        }
    }

    pub(crate) fn required(&mut self, path: &Path<'_>, detail: &str) {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        self.push(Reason::FieldValueRequired, path, message);
    }

    pub(crate) fn invalid(&mut self, path: &Path<'_>, value: &Value, detail: impl Display) {
        self.push(Reason::FieldValueInvalid, path, format!("Invalid value: {}: {detail}", quote(value)));
    }

    /// `spec.x in body must be of type integer: "string"`.
    pub(crate) fn wrong_type(&mut self, path: &Path<'_>, expected: &str, found: &Value) {
        let found = type_name(found);
        let message = format!("Invalid value: \"{found}\": {path} in body must be of type {expected}: \"{found}\"");
        self.push(Reason::FieldValueTypeInvalid, path, message);
    }

    pub(crate) fn duplicate(&mut self, path: &Path<'_>, value: &Value) {
        self.push(Reason::FieldValueDuplicate, path, format!("Duplicate value: {}", quote(value)));
    }

    pub(crate) fn forbidden(&mut self, path: &Path<'_>, detail: &str) {
        self.push(Reason::FieldValueForbidden, path, format!("Forbidden: {detail}"));
    }

    pub(crate) fn not_supported(&mut self, path: &Path<'_>, value: &Value, allowed: &[Value]) {
        let allowed: Vec<String> = allowed.iter().take(MAX_FINDINGS).map(quote).collect();
        let message = format!("Unsupported value: {}: supported values: {}", quote(value), allowed.join(", "));
        self.push(Reason::FieldValueNotSupported, path, message);
    }
}

/// A value as it stands in a message: JSON, cut where it gets long.
pub(crate) fn quote(value: &Value) -> String {
    let mut text = value.to_string();
    if text.len() > MAX_QUOTE {
        let mut end = MAX_QUOTE;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
