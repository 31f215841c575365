//! Findings about fields, in the words of the Kubernetes API (`k8s.io/apimachinery/pkg/util/validation/field`).

use std::fmt;

use lotse_schema::{Cause, Reason};
use serde_json::Value;

/// The longest value that a message repeats, in bytes.
const ECHO_LIMIT: usize = 256;

#[derive(Clone, Copy)]
enum Segment<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

/// Path of a field, as a chain on the stack: nothing is allocated until there is something to report.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

/// The findings about one object.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Cause>);

// === impl Path ===

impl<'a> Path<'a> {
    pub(crate) const fn new(field: &'a str) -> Self {
        Self { parent: None, segment: Segment::Field(field) }
    }

    pub(crate) const fn field<'b>(&'b self, field: &'b str) -> Path<'b> {
        Path { parent: Some(self), segment: Segment::Field(field) }
    }

    pub(crate) const fn index(&self, index: usize) -> Path<'_> {
        Path { parent: Some(self), segment: Segment::Index(index) }
    }

    pub(crate) const fn key<'b>(&'b self, key: &'b str) -> Path<'b> {
        Path { parent: Some(self), segment: Segment::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.segment {
            Segment::Field(field) if self.parent.is_some() => write!(f, ".{field}"),
            Segment::Field(field) => f.write_str(field),
            Segment::Index(index) => write!(f, "[{index}]"),
            Segment::Key(key) => write!(f, "[{key}]"),
        }
    }
}

// === impl Findings ===

impl Findings {
    fn add(&mut self, reason: Reason, path: &Path<'_>, message: String) {
        self.0.push(Cause { reason, message, field: path.to_string() });
    }

    /// The value is missing.
    pub(crate) fn required(&mut self, path: &Path<'_>, detail: &str) {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        self.add(Reason::FieldValueRequired, path, message);
    }

    /// The value is malformed; it is repeated in the message.
    pub(crate) fn invalid(&mut self, path: &Path<'_>, value: &Value, detail: impl fmt::Display) {
        self.add(Reason::FieldValueInvalid, path, format!("Invalid value: {}: {detail}", echo(value)));
    }

    /// The text is malformed.
    pub(crate) fn invalid_text(&mut self, path: &Path<'_>, value: &str, detail: impl fmt::Display) {
        self.add(Reason::FieldValueInvalid, path, format!("Invalid value: {}: {detail}", echo(&Value::from(value))));
    }

    /// The value is malformed and must not be shown.
    pub(crate) fn invalid_secret(&mut self, path: &Path<'_>, detail: impl fmt::Display) {
        self.add(Reason::FieldValueInvalid, path, format!("Invalid value: {detail}"));
    }

    /// The value is not one of those allowed.
    pub(crate) fn not_supported(&mut self, path: &Path<'_>, value: &str, allowed: &[&str]) {
        let allowed: Vec<_> = allowed.iter().map(|value| format!("{value:?}")).collect();
        let value = echo(&Value::from(value));
        let message = format!("Unsupported value: {value}: supported values: {}", allowed.join(", "));
        self.add(Reason::FieldValueNotSupported, path, message);
    }

    /// The field may not be set or changed.
    pub(crate) fn forbidden(&mut self, path: &Path<'_>, detail: &str) {
        self.add(Reason::FieldValueForbidden, path, format!("Forbidden: {detail}"));
    }

    /// The value occurs twice.
    pub(crate) fn duplicate(&mut self, path: &Path<'_>, value: &Value) {
        self.add(Reason::FieldValueDuplicate, path, format!("Duplicate value: {}", echo(value)));
    }

    /// What the value names does not exist in this object.
    pub(crate) fn not_found(&mut self, path: &Path<'_>, value: &str) {
        self.add(Reason::FieldValueNotFound, path, format!("Not found: {}", echo(&Value::from(value))));
    }

    /// The text must be one of those allowed; `true` where it is. An absent value is not this rule's business.
    pub(crate) fn one_of(&mut self, path: &Path<'_>, value: Option<&str>, allowed: &[&str]) {
        if let Some(value) = value.filter(|value| !allowed.contains(value)) {
            self.not_supported(path, value, allowed);
        }
    }

    /// The text must satisfy a rule of `lotse_schema::names`.
    pub(crate) fn rule(&mut self, path: &Path<'_>, value: &str, rule: fn(&str) -> Result<(), String>) {
        if let Err(detail) = rule(value) {
            self.invalid_text(path, value, detail);
        }
    }

    /// The number must lie in the range.
    pub(crate) fn range(&mut self, path: &Path<'_>, value: Option<i64>, from: i64, to: i64) {
        if let Some(value) = value.filter(|value| !(from..=to).contains(value)) {
            self.invalid(path, &value.into(), format_args!("must be between {from} and {to}, inclusive"));
        }
    }

    /// The number must not be negative.
    pub(crate) fn non_negative(&mut self, path: &Path<'_>, value: Option<i64>) {
        if let Some(value) = value.filter(|value| *value < 0) {
            self.invalid(path, &value.into(), "must be greater than or equal to 0");
        }
    }

    /// The number must be at least 1.
    pub(crate) fn positive(&mut self, path: &Path<'_>, value: Option<i64>) {
        if let Some(value) = value.filter(|value| *value < 1) {
            self.invalid(path, &value.into(), "must be greater than 0");
        }
    }

    /// The field must be what it was.
    pub(crate) fn immutable(&mut self, path: &Path<'_>, new: Option<&Value>, old: Option<&Value>) {
        if !crate::json::same(new, old) {
            self.invalid(path, new.unwrap_or(&Value::Null), "field is immutable");
        }
    }
}

/// The value as a message shows it: text quoted, the rest as JSON, cut to a bearable length.
fn echo(value: &Value) -> String {
    let mut text = match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    if text.len() > ECHO_LIMIT {
        let end = (0..=ECHO_LIMIT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_name_the_path_and_the_value() {
        let spec = Path::new("spec");
        let containers = spec.field("containers");
        let first = containers.index(0);
        let mut findings = Findings::default();
        findings.invalid(&first.field("ports"), &Value::from(70_000), "must be between 1 and 65535, inclusive");
        findings.not_supported(&Path::new("data").key("a"), "x", &["A", "B"]);
        let lines: Vec<_> = findings.0.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        assert_eq!(
            lines,
            [
                "spec.containers[0].ports: Invalid value: 70000: must be between 1 and 65535, inclusive",
                "data[a]: Unsupported value: \"x\": supported values: \"A\", \"B\"",
            ]
        );
    }

    #[test]
    fn long_values_are_cut() {
        assert!(echo(&Value::from("ä".repeat(10_000))).len() < ECHO_LIMIT + 8);
    }
}
