//! What a CustomResourceDefinition demands of a value beyond its type (the value validations of OpenAPI v3 that structural
//! schemas allow).

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::findings::{Findings, quote};
use crate::path::Path;

/// What one compiled pattern may cost.
const MAX_PATTERN_SIZE: usize = 1 << 20;

/// Value validations of one node.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// The JSON type, below a combination.
    pub(crate) kind: Option<Box<str>>,
    pub(crate) allowed: Vec<Value>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) minimum: Option<Bound>,
    pub(crate) maximum: Option<Bound>,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) length: Range,
    pub(crate) items: Range,
    pub(crate) properties: Range,
    pub(crate) all_of: Vec<Checks>,
    pub(crate) any_of: Vec<Checks>,
    pub(crate) one_of: Vec<Checks>,
    pub(crate) not: Option<Box<Checks>>,
    /// Only below `allOf`, `anyOf`, `oneOf` and `not`, and for the metadata of custom resources.
    pub(crate) nested: Option<Box<Nested>>,
}

/// Value validations of what a value contains.
#[derive(Debug, Default)]
pub(crate) struct Nested {
    pub(crate) required: Vec<Box<str>>,
    pub(crate) fields: Vec<(Box<str>, Checks)>,
    pub(crate) entries: Option<Checks>,
    pub(crate) items: Option<Checks>,
}

/// A smallest or greatest number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) limit: f64,
    pub(crate) exclusive: bool,
}

/// A smallest and greatest count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Range {
    pub(crate) min: Option<u64>,
    pub(crate) max: Option<u64>,
}

/// A regular expression, compiled on first use: most custom resources never meet most patterns of their definition.
#[derive(Debug)]
pub(crate) struct Pattern {
    source: Box<str>,
    compiled: OnceLock<Option<Regex>>,
}

// === impl Range ===

impl Range {
    pub(crate) fn is_set(&self) -> bool {
        self.min.is_some() || self.max.is_some()
    }
}

// === impl Pattern ===

impl Pattern {
    /// Fails with the reason when the expression is malformed or too costly.
    pub(crate) fn new(source: &str) -> Result<Self, String> {
        compile(source).map_err(|error| error.to_string())?;
        Ok(Self { source: source.into(), compiled: OnceLock::new() })
    }

    fn matches(&self, text: &str) -> bool {
        self.compiled.get_or_init(|| compile(&self.source).ok()).as_ref().is_some_and(|pattern| pattern.is_match(text))
    }
}

fn compile(source: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(source).size_limit(MAX_PATTERN_SIZE).dfa_size_limit(MAX_PATTERN_SIZE).build()
}

// === impl Checks ===

impl Checks {
    pub(crate) fn run(&self, value: &Value, path: &Path<'_>, findings: &mut Findings) {
        if findings.is_full() || path.too_deep() {
            return;
        }
        if let Some(kind) = self.kind.as_deref().filter(|kind| !is_of_type(value, kind)) {
            findings.wrong_type(path, kind, value);
        }
        if !self.allowed.is_empty() && !self.allowed.contains(value) {
            findings.not_supported(path, value, &self.allowed);
        }
        match value {
            Value::String(text) => self.run_string(text, value, path, findings),
            Value::Number(number) => {
                if let Some(number) = number.as_f64() {
                    self.run_number(number, value, path, findings);
                }
            }
            Value::Array(items) => self.run_array(items, path, findings),
            Value::Object(fields) => self.run_object(fields, path, findings),
            Value::Null | Value::Bool(_) => {}
        }
        self.run_combinations(value, path, findings);
    }

    fn holds(&self, value: &Value, path: &Path<'_>) -> bool {
        let mut findings = Findings::default();
        self.run(value, path, &mut findings);
        findings.is_empty()
    }

    fn run_string(&self, text: &str, value: &Value, path: &Path<'_>, findings: &mut Findings) {
        let length = text.chars().count() as u64;
        if self.length.min.is_some_and(|min| length < min) {
            let min = self.length.min.unwrap_or_default();
            findings.invalid(path, value, format_args!("{path} in body should be at least {min} chars long"));
        }
        if let Some(max) = self.length.max.filter(|max| length > *max) {
            let message = format!("Too long: may not be more than {max} bytes");
            findings.push(crate::Reason::FieldValueInvalid, path, message);
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            findings.invalid(path, value, format_args!("{path} in body should match '{}'", pattern.source));
        }
    }

    fn run_number(&self, number: f64, value: &Value, path: &Path<'_>, findings: &mut Findings) {
        if let Some(Bound { limit, exclusive }) = self.minimum
            && (number < limit || exclusive && number <= limit)
        {
            let relation = if exclusive { "greater than" } else { "greater than or equal to" };
            findings.invalid(path, value, format_args!("{path} in body should be {relation} {limit}"));
        }
        if let Some(Bound { limit, exclusive }) = self.maximum
            && (number > limit || exclusive && number >= limit)
        {
            let relation = if exclusive { "less than" } else { "less than or equal to" };
            findings.invalid(path, value, format_args!("{path} in body should be {relation} {limit}"));
        }
        if let Some(factor) = self.multiple_of.filter(|factor| *factor > 0.0) {
            let quotient = number / factor;
            if (quotient - quotient.round()).abs() > 1e-9 * quotient.abs().max(1.0) {
                findings.invalid(path, value, format_args!("{path} in body should be a multiple of {factor}"));
            }
        }
    }

    fn run_array(&self, items: &[Value], path: &Path<'_>, findings: &mut Findings) {
        let length = items.len() as u64;
        if let Some(min) = self.items.min.filter(|min| length < *min) {
            findings.invalid(path, &length.into(), format_args!("{path} in body should have at least {min} items"));
        }
        too_many(self.items.max, length, path, findings);
        if let Some(checks) = self.nested.as_ref().and_then(|nested| nested.items.as_ref()) {
            for (index, item) in items.iter().enumerate() {
                checks.run(item, &path.index(index), findings);
            }
        }
    }

    fn run_object(&self, fields: &serde_json::Map<String, Value>, path: &Path<'_>, findings: &mut Findings) {
        let length = fields.len() as u64;
        if let Some(min) = self.properties.min.filter(|min| length < *min) {
            findings.invalid(
                path,
                &length.into(),
                format_args!("{path} in body should have at least {min} properties"),
            );
        }
        too_many(self.properties.max, length, path, findings);
        let Some(nested) = &self.nested else { return };
        for name in &nested.required {
            if !fields.contains_key(&**name) {
                findings.required(&path.field(name), "");
            }
        }
        for (name, checks) in &nested.fields {
            if let Some(value) = fields.get(&**name) {
                checks.run(value, &path.field(name), findings);
            }
        }
        if let Some(checks) = &nested.entries {
            for (key, value) in fields {
                checks.run(value, &path.entry(key), findings);
            }
        }
    }

    fn run_combinations(&self, value: &Value, path: &Path<'_>, findings: &mut Findings) {
        for checks in &self.all_of {
            checks.run(value, path, findings);
        }
        if !self.any_of.is_empty() && !self.any_of.iter().any(|checks| checks.holds(value, path)) {
            findings.invalid(path, value, format_args!("\"{path}\" must validate at least one schema (anyOf)"));
        }
        if !self.one_of.is_empty() {
            let holding = self.one_of.iter().filter(|checks| checks.holds(value, path)).count();
            if holding != 1 {
                let found =
                    if holding == 0 { "none valid".to_owned() } else { format!("{holding} valid alternatives") };
                let detail = format!("\"{path}\" must validate one and only one schema (oneOf). Found {found}");
                findings.invalid(path, value, detail);
            }
        }
        if self.not.as_ref().is_some_and(|checks| checks.holds(value, path)) {
            findings.invalid(path, value, format_args!("\"{path}\" must not validate the schema (not)"));
        }
    }
}

/// Duplicates in a list of values.
pub(crate) fn unique(items: &[Value], path: &Path<'_>, findings: &mut Findings) {
    let mut seen = std::collections::HashSet::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        if !seen.insert(crate::fields::canonical(item)) {
            findings.duplicate(&path.index(index), item);
        }
    }
}

fn is_of_type(value: &Value, kind: &str) -> bool {
    match kind {
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn too_many(max: Option<u64>, length: u64, path: &Path<'_>, findings: &mut Findings) {
    if let Some(max) = max.filter(|max| length > *max) {
        let message = format!("Too many: {}: must have at most {max} items", quote(&length.into()));
        findings.push(crate::Reason::FieldValueInvalid, path, message);
    }
}
