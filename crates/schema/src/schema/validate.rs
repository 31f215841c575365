//! Is an object what its schema says?

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use regex::Regex;
use serde_json::{Map, Value};

use super::{
    Origin, Schema, checks,
    findings::Findings,
    node::{Child, Format, List, Node, Object, Relation, Shape, Width},
};
use crate::{Cause, fields, names, path::Path, quantity};

pub(crate) static PLAIN_STRING: Node =
    Node { shape: Shape::String(Format::Plain), nullable: false, default: None, checks: None };

pub(super) fn run(schema: &Schema, object: &Value) -> Vec<Cause> {
    let mut walk = Walk { schema, findings: Findings::default(), lenient: false };
    walk.node(schema.root(), object, &Path::ROOT);
    walk.findings.into_causes()
}

struct Walk<'a> {
    schema: &'a Schema,
    findings: Findings,
    /// Below the status of a built-in kind: its writers omit required fields that are zero.
    lenient: bool,
}

// === impl Walk ===

impl Walk<'_> {
    fn node(&mut self, node: &Node, value: &Value, path: &Path<'_>) {
        if self.findings.is_full() {
            return;
        }
        if path.too_deep() {
            self.findings.forbidden(path, "the object is nested too deeply");
            return;
        }
        if value.is_null() {
            if !node.nullable && !self.built_in() {
                self.findings.wrong_type(path, expected(&node.shape), value);
            }
            return;
        }
        match (&node.shape, value) {
            (Shape::Any, _) if path.is_root() => self.any_root(value),
            (Shape::Any, _) | (Shape::Boolean, Value::Bool(_)) | (Shape::Number, Value::Number(_)) => {}
            (Shape::Integer(width), Value::Number(number)) => self.integer(*width, number, value, path),
            (Shape::String(format), Value::String(text)) => self.string(format, text, value, path),
            (Shape::IntOrString, Value::String(_)) => {}
            (Shape::IntOrString, Value::Number(number)) => {
                // Only the built-in type is limited to 32 bits.
                let width = if self.built_in() { Width::Int32 } else { Width::Int64 };
                self.integer(Some(width), number, value, path);
            }
            (Shape::Quantity, Value::String(text)) => {
                if let Err(error) = quantity::parse(text) {
                    self.findings.invalid(path, value, error);
                }
            }
            (Shape::Quantity, Value::Number(_)) => {}
            (Shape::Object(object), Value::Object(fields)) => self.object(object, fields, path),
            (Shape::List(list), Value::Array(items)) => self.list(list, items, path),
            (shape, value) => {
                self.findings.wrong_type(path, expected(shape), value);
                return;
            }
        }
        if let Some(checks) = &node.checks {
            checks.run(value, path, &mut self.findings);
        }
    }

    fn built_in(&self) -> bool {
        self.schema.origin == Origin::BuiltIn
    }

    fn any_root(&mut self, value: &Value) {
        let Value::Object(fields) = value else {
            self.findings.wrong_type(&Path::ROOT, "object", value);
            return;
        };
        for name in ["apiVersion", "kind", "metadata"] {
            if let (Some(node), Some(value)) = (self.schema.root_field(name), fields.get(name)) {
                self.metadata(node, value, &Path::ROOT.field(name));
            }
        }
    }

    /// What every kind has is a generated type even where the kind is a custom one.
    fn metadata(&mut self, node: &Node, value: &Value, path: &Path<'_>) {
        let mut walk =
            Walk { schema: METADATA_RULES.as_ref(), findings: std::mem::take(&mut self.findings), lenient: true };
        walk.node(node, value, path);
        self.findings = walk.findings;
    }

    fn object(&mut self, object: &Object, fields: &Map<String, Value>, path: &Path<'_>) {
        if !self.lenient {
            for name in &object.required {
                let missing = match fields.get(&**name) {
                    None => true,
                    // Go's clients write an empty list as null.
                    Some(Value::Null) => self.built_in() && !is_list(object, name),
                    Some(_) => false,
                };
                if missing {
                    self.findings.required(&path.field(name), "");
                }
            }
        }
        for (name, value) in fields {
            if path.is_root() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                if let Some(node) = self.schema.root_field(name) {
                    self.metadata(node, value, &path.field(name));
                }
            } else if let Some(property) = object.property(name) {
                let lenient = self.lenient;
                self.lenient = lenient || path.is_root() && name == "status" && self.built_in();
                self.node(property.node.get(), value, &path.field(name));
                self.lenient = lenient;
            } else if let Some(entries) = &object.entries {
                self.node(entries.get(), value, &path.entry(name));
            }
        }
    }

    fn list(&mut self, list: &List, items: &[Value], path: &Path<'_>) {
        for (index, item) in items.iter().enumerate() {
            self.node(list.items.get(), item, &path.index(index));
        }
        match &list.relation {
            Relation::Set if list.unique => checks::unique(items, path, &mut self.findings),
            Relation::Map(keys) if list.unique => {
                let mut seen = std::collections::HashSet::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    if let Some(key) = fields::item_key(keys, item)
                        && !seen.insert(key.clone())
                    {
                        let shown = serde_json::from_str(key.trim_start_matches("k:")).unwrap_or(Value::Null);
                        self.findings.duplicate(&path.index(index), &shown);
                    }
                }
            }
            Relation::Atomic | Relation::Set | Relation::Map(_) => {}
        }
    }

    fn integer(&mut self, width: Option<Width>, number: &serde_json::Number, value: &Value, path: &Path<'_>) {
        let fits = match (number.as_i64(), width) {
            (Some(number), Some(Width::Int32)) => i32::try_from(number).is_ok(),
            (Some(_), _) => true,
            (None, None) => number.is_u64(),
            (None, Some(_)) => false,
        };
        if fits {
            return;
        }
        if number.is_f64() {
            self.findings.wrong_type(path, "integer", value);
        } else {
            let width = if width == Some(Width::Int32) { "int32" } else { "int64" };
            self.findings.invalid(path, value, format_args!("{path} in body must be of type {width}: \"{number}\""));
        }
    }

    fn string(&mut self, format: &Format, text: &str, value: &Value, path: &Path<'_>) {
        let (name, holds) = match format {
            Format::Plain => return,
            Format::DateTime => ("date-time", is_date_time(text)),
            Format::Byte => ("byte", is_base64(text)),
            Format::Named(name) => (&**name, has_format(name, text)),
        };
        if !holds {
            self.findings.invalid(path, value, format_args!("{path} in body must be of type {name}: {value}"));
        }
    }
}

static METADATA_RULES: LazyLock<std::sync::Arc<Schema>> = LazyLock::new(|| {
    std::sync::Arc::new(Schema {
        root: super::builtin::object_meta(),
        metadata: super::builtin::object_meta(),
        origin: Origin::BuiltIn,
        validation_rules: false,
    })
});

fn is_list(object: &Object, name: &str) -> bool {
    object.property(name).is_some_and(|property| matches!(Child::get(&property.node).shape, Shape::List(_)))
}

fn expected(shape: &Shape) -> &'static str {
    match shape {
        Shape::Any | Shape::Object(_) => "object",
        Shape::Boolean => "boolean",
        Shape::Integer(_) => "integer",
        Shape::Number => "number",
        Shape::String(_) | Shape::Quantity => "string",
        Shape::IntOrString => "integer,string",
        Shape::List(_) => "array",
    }
}

/// Go's decoder skips line ends.
fn is_base64(text: &str) -> bool {
    if text.contains(['\r', '\n']) {
        let joined: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        return STANDARD.decode(joined).is_ok();
    }
    STANDARD.decode(text).is_ok()
}

/// RFC 3339, as Go reads it: upper-case `T`, an offset, and nothing after it.
fn is_date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.len() <= 64
        && bytes.get(10) == Some(&b'T')
        && !text.contains(['[', ' '])
        && text.parse::<jiff::Timestamp>().is_ok()
}

/// The formats that the API server enforces for custom resources; every other name is a note to the reader.
fn has_format(name: &str, text: &str) -> bool {
    match name {
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "email" => {
            text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !text.contains(' '))
        }
        "hostname" => text.len() <= 255 && text.split('.').all(|label| matches(&HOST_LABEL, label)),
        "uri" => matches(&URI, text),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => matches(&UUID, text),
        "mac" => matches(&MAC, text),
        "hexcolor" => matches(&HEX_COLOR, text),
        "duration" => is_duration(text),
        "k8s-short-name" => names::dns1123_label(text).is_ok(),
        "k8s-long-name" => names::dns1123_subdomain(text).is_ok(),
        _ => true,
    }
}

fn is_cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, length)| {
        let most = match address.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(_)) => 32,
            Ok(std::net::IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        length.parse::<u8>().is_ok_and(|length| length <= most)
    })
}

/// Go's `time.ParseDuration`, and the longer units of the format library (`3 days`).
fn is_duration(text: &str) -> bool {
    text == "0" || matches(&GO_DURATION, text) || matches(&LONG_DURATION, text)
}

type Expression = LazyLock<Option<Regex>>;

static HOST_LABEL: Expression = LazyLock::new(|| Regex::new("^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$").ok());
static URI: Expression = LazyLock::new(|| Regex::new(r"^([a-zA-Z][a-zA-Z0-9+.-]*:[^\s]+|/[^\s]*)$").ok());
static UUID: Expression =
    LazyLock::new(|| Regex::new("^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$").ok());
static MAC: Expression = LazyLock::new(|| Regex::new("^([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}$").ok());
static HEX_COLOR: Expression = LazyLock::new(|| Regex::new("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$").ok());
static GO_DURATION: Expression =
    LazyLock::new(|| Regex::new(r"^[-+]?((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+$").ok());
static LONG_DURATION: Expression = LazyLock::new(|| {
    let units = "ns|nano|us|µs|micro|ms|milli|s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hr|hrs|hour|hours|d|day|days|w|wk|week|weeks";
    Regex::new(&format!(r"^(\d+\s*({units})\s*)+$")).ok()
});

fn matches(expression: &Expression, text: &str) -> bool {
    expression.as_ref().is_some_and(|expression| expression.is_match(text))
}
