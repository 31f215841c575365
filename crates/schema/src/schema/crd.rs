//! Reads `openAPIV3Schema` of a CustomResourceDefinition and enforces the rules of structural schemas
//! (KEP-1979 and `apiextensions-apiserver/pkg/apiserver/schema`).

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{
    builtin,
    checks::{Bound, Checks, Nested, Pattern, Range},
    findings::Findings,
    node::{Child, Format, Key, List, Node, Object, Patch, Property, Relation, Shape, Width},
};
use crate::{Cause, path::Path};

/// How many nodes one schema may have. The largest definitions in use (Prometheus operator) have some 20,000.
const MAX_NODES: usize = 200_000;

pub(super) struct Parsed {
    pub(super) root: Node,
    pub(super) validation_rules: bool,
}

pub(super) fn parse(value: &Value) -> Result<Parsed, Vec<Cause>> {
    let mut parser = Parser { findings: Findings::default(), nodes: 0, validation_rules: false };
    let mut root = parser.node(value, &Path::ROOT);
    if let Some(kind) = value.get("type")
        && kind != "object"
    {
        parser.findings.invalid(&Path::ROOT.field("type"), kind, "must be object at the root");
    }
    if parser.findings.is_empty() {
        parser.metadata(value, &mut root);
    }
    if parser.findings.is_empty() {
        Ok(Parsed { root, validation_rules: parser.validation_rules })
    } else {
        Err(parser.findings.into_causes())
    }
}

struct Parser {
    findings: Findings,
    nodes: usize,
    validation_rules: bool,
}

// === impl Parser ===

impl Parser {
    fn node(&mut self, value: &Value, path: &Path<'_>) -> Node {
        let Some(schema) = self.enter(value, path) else { return Node::of(Shape::Any) };
        if schema.get("x-kubernetes-validations").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty()) {
            self.validation_rules = true;
        }
        for forbidden in [
            "$ref",
            "definitions",
            "dependencies",
            "deprecated",
            "discriminator",
            "id",
            "patternProperties",
            "readOnly",
            "writeOnly",
            "xml",
        ] {
            if schema.contains_key(forbidden) {
                self.findings.forbidden(&path.field(forbidden), "not allowed in a structural schema");
            }
        }
        let preserve = self.flag(schema, "x-kubernetes-preserve-unknown-fields", path);
        let int_or_string = self.flag(schema, "x-kubernetes-int-or-string", path);
        let embedded = self.flag(schema, "x-kubernetes-embedded-resource", path);
        let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        let shape = if int_or_string {
            if !kind.is_empty() {
                self.findings.invalid(
                    &path.field("type"),
                    &schema["type"],
                    "must be empty if x-kubernetes-int-or-string is true",
                );
            }
            Shape::IntOrString
        } else {
            match kind {
                "boolean" => Shape::Boolean,
                "integer" => Shape::Integer(match schema.get("format").and_then(Value::as_str) {
                    Some("int32") => Some(Width::Int32),
                    Some("int64") => Some(Width::Int64),
                    _ => None,
                }),
                "number" => Shape::Number,
                "string" => Shape::String(format(schema)),
                "array" => self.list(schema, path),
                "object" => Shape::Object(self.object(schema, preserve, embedded, path)),
                "" if preserve && !schema.contains_key("properties") => Shape::Any,
                "" if preserve => Shape::Object(self.object(schema, preserve, embedded, path)),
                "" => {
                    let detail = if path.is_root() {
                        "must not be empty at the root"
                    } else {
                        "must not be empty for specified object fields"
                    };
                    self.findings.required(&path.field("type"), detail);
                    Shape::Any
                }
                _ => {
                    let types = ["array", "boolean", "integer", "number", "object", "string"].map(Value::from);
                    self.findings.not_supported(&path.field("type"), &schema["type"], &types);
                    Shape::Any
                }
            }
        };
        if embedded && !matches!(shape, Shape::Object(_)) {
            self.findings.invalid(
                &path.field("type"),
                &Value::from(kind),
                "must be object if x-kubernetes-embedded-resource is true",
            );
        }
        let mut nullable = schema.get("nullable").and_then(Value::as_bool) == Some(true);
        nullable |= matches!(shape, Shape::Any);
        let checks = self.checks(schema, path, Position::Structural);
        Node {
            shape,
            nullable,
            default: schema.get("default").map(|default| Box::new(default.clone())),
            checks: checks.map(Box::new),
        }
    }

    /// Counts the node; `None` when it is no schema or there are too many.
    fn enter<'v>(&mut self, value: &'v Value, path: &Path<'_>) -> Option<&'v Map<String, Value>> {
        self.nodes += 1;
        if path.too_deep() || self.nodes > MAX_NODES {
            if !self.findings.is_full() {
                self.findings.forbidden(path, "the schema is too large or nested too deeply");
            }
            return None;
        }
        let schema = value.as_object();
        if schema.is_none() {
            self.findings.wrong_type(path, "object", value);
        }
        schema
    }

    fn flag(&mut self, schema: &Map<String, Value>, name: &str, path: &Path<'_>) -> bool {
        match schema.get(name) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(flag)) => {
                if !flag && name == "x-kubernetes-preserve-unknown-fields" {
                    self.findings.invalid(&path.field(name), &Value::Bool(false), "must be true or undefined");
                }
                *flag
            }
            Some(other) => {
                self.findings.wrong_type(&path.field(name), "boolean", other);
                false
            }
        }
    }

    fn object(&mut self, schema: &Map<String, Value>, preserve: bool, embedded: bool, path: &Path<'_>) -> Object {
        let mut properties = Vec::new();
        if let Some(named) = self.map(schema, "properties", path) {
            let at = path.field("properties");
            for (name, value) in named {
                let mut node = self.node(value, &at.entry(name));
                if path.is_root() && name == "metadata" {
                    // Constraints on metadata stay (see `metadata`), its type is the same for every kind.
                    node = Node::of(Shape::Any);
                }
                properties.push(Property {
                    name: name.as_str().into(),
                    node: Child::own(node),
                    patch: Patch::default(),
                });
            }
        }
        if embedded {
            embed(&mut properties);
        }
        properties.sort_by(|a, b| a.name.cmp(&b.name));
        let mut required: Vec<Box<str>> = strings(schema, "required");
        if embedded {
            required.extend(["apiVersion", "kind"].map(Into::into));
            required.sort();
            required.dedup();
        }
        let mut preserve_unknown = preserve;
        let entries = match schema.get("additionalProperties") {
            None | Some(Value::Null | Value::Bool(false)) => None,
            Some(Value::Bool(true)) => {
                preserve_unknown = true;
                None
            }
            Some(_) if !properties.is_empty() && !embedded => {
                self.findings.forbidden(
                    &path.field("additionalProperties"),
                    "additionalProperties and properties are mutual exclusive",
                );
                None
            }
            Some(value) => Some(Child::own(self.node(value, &path.field("additionalProperties")))),
        };
        let atomic = match schema.get("x-kubernetes-map-type").map(|kind| (kind, kind.as_str())) {
            None | Some((Value::Null, _)) | Some((_, Some("granular"))) => false,
            Some((_, Some("atomic"))) => true,
            Some((kind, _)) => {
                self.findings.not_supported(
                    &path.field("x-kubernetes-map-type"),
                    kind,
                    &["atomic", "granular"].map(Value::from),
                );
                false
            }
        };
        Object { properties: properties.into(), entries, required: required.into(), preserve_unknown, atomic }
    }

    fn list(&mut self, schema: &Map<String, Value>, path: &Path<'_>) -> Shape {
        let at = path.field("items");
        let items = match schema.get("items") {
            Some(value) if !value.is_null() => self.node(value, &at),
            _ => {
                self.findings.required(&at, "must be specified");
                return Shape::Any;
            }
        };
        let kind = schema.get("x-kubernetes-list-type").unwrap_or(&Value::Null);
        let keys = strings(schema, "x-kubernetes-list-map-keys");
        let relation = match kind.as_str() {
            None if kind.is_null() => Relation::Atomic,
            Some("atomic") => Relation::Atomic,
            Some("set") => {
                if matches!(&items.shape, Shape::Object(object) if !object.atomic) {
                    self.findings.invalid(
                        &path.field("x-kubernetes-list-type"),
                        kind,
                        "items of a set must be scalar or atomic",
                    );
                }
                Relation::Set
            }
            Some("map") => self.list_map(&items, keys, path),
            _ => {
                let kinds = ["atomic", "map", "set"].map(Value::from);
                self.findings.not_supported(&path.field("x-kubernetes-list-type"), kind, &kinds);
                Relation::Atomic
            }
        };
        Shape::List(List { items: Child::own(items), relation, unique: true })
    }

    fn list_map(&mut self, items: &Node, keys: Vec<Box<str>>, path: &Path<'_>) -> Relation {
        let at = path.field("x-kubernetes-list-map-keys");
        if keys.is_empty() {
            self.findings.required(&at, "must not be empty if x-kubernetes-list-type is map");
        }
        let Shape::Object(object) = &items.shape else {
            self.findings.invalid(
                &path.field("items"),
                &Value::from("map"),
                "must be an object if x-kubernetes-list-type is map",
            );
            return Relation::Atomic;
        };
        let mut known = Vec::with_capacity(keys.len());
        for (index, name) in keys.into_iter().enumerate() {
            let Some(property) = object.property(&name) else {
                self.findings.invalid(&at.index(index), &Value::from(&*name), "must be a property of the items");
                continue;
            };
            let default = property.node.get().default.as_deref().cloned();
            if default.is_none() && !object.required.contains(&name) {
                let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                self.findings.required(&path.field("items").field("properties").entry(&name).field("default"), detail);
            }
            known.push(Key { name: Cow::Owned(name.into()), default });
        }
        Relation::Map(known.into())
    }

    /// Constraints on the metadata of the custom resource, which Kubernetes allows on `name` and `generateName`.
    fn metadata(&mut self, schema: &Value, root: &mut Node) {
        let Some(metadata) = schema.pointer("/properties/metadata").and_then(Value::as_object) else { return };
        let at = Path::ROOT.field("properties");
        let at = at.entry("metadata");
        if let Some(checks) = self.checks(metadata, &at, Position::Value) {
            let nested = Nested { fields: vec![("metadata".into(), checks)], ..Nested::default() };
            root.checks.get_or_insert_default().nested.get_or_insert_with(|| Box::new(nested));
        }
    }

    fn checks(&mut self, schema: &Map<String, Value>, path: &Path<'_>, position: Position) -> Option<Checks> {
        let mut checks = Checks {
            minimum: bound(schema, "minimum", "exclusiveMinimum"),
            maximum: bound(schema, "maximum", "exclusiveMaximum"),
            multiple_of: schema.get("multipleOf").and_then(Value::as_f64),
            length: range(schema, "minLength", "maxLength"),
            items: range(schema, "minItems", "maxItems"),
            properties: range(schema, "minProperties", "maxProperties"),
            ..Checks::default()
        };
        if schema.get("uniqueItems").and_then(Value::as_bool) == Some(true) {
            self.findings.forbidden(
                &path.field("uniqueItems"),
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            );
        }
        if position == Position::Value {
            // Kubernetes allows a type here only where `x-kubernetes-int-or-string` spells out its two types.
            checks.kind = schema.get("type").and_then(Value::as_str).map(Into::into);
        }
        let mut any = checks.kind.is_some()
            || checks.minimum.is_some()
            || checks.maximum.is_some()
            || checks.multiple_of.is_some()
            || checks.length.is_set()
            || checks.items.is_set()
            || checks.properties.is_set();
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
            checks.allowed.clone_from(allowed);
            any |= !allowed.is_empty();
        }
        if let Some(source) = schema.get("pattern").and_then(Value::as_str).filter(|source| !source.is_empty()) {
            match Pattern::new(source) {
                Ok(pattern) => checks.pattern = Some(pattern),
                Err(error) => {
                    let detail = format!("must be a valid regular expression, but isn't: {error}");
                    self.findings.invalid(&path.field("pattern"), &Value::from(source), detail);
                }
            }
            any = true;
        }
        for (name, into) in
            [("allOf", &mut checks.all_of), ("anyOf", &mut checks.any_of), ("oneOf", &mut checks.one_of)]
        {
            let at = path.field(name);
            for (index, value) in schema.get(name).and_then(Value::as_array).into_iter().flatten().enumerate() {
                into.push(self.value_checks(value, &at.index(index)));
                any = true;
            }
        }
        if let Some(value) = schema.get("not").filter(|value| !value.is_null()) {
            checks.not = Some(Box::new(self.value_checks(value, &path.field("not"))));
            any = true;
        }
        if position == Position::Value
            && let Some(nested) = self.nested(schema, path)
        {
            checks.nested = Some(Box::new(nested));
            any = true;
        }
        any.then_some(checks)
    }

    fn value_checks(&mut self, value: &Value, path: &Path<'_>) -> Checks {
        let Some(schema) = self.enter(value, path) else { return Checks::default() };
        if schema.get("x-kubernetes-validations").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty()) {
            self.validation_rules = true;
        }
        for forbidden in ["additionalProperties", "default", "nullable"] {
            if schema.contains_key(forbidden) {
                self.findings.forbidden(&path.field(forbidden), "must be empty to be structural");
            }
        }
        self.checks(schema, path, Position::Value).unwrap_or_default()
    }

    fn nested(&mut self, schema: &Map<String, Value>, path: &Path<'_>) -> Option<Nested> {
        let mut nested = Nested { required: strings(schema, "required"), ..Nested::default() };
        if let Some(named) = self.map(schema, "properties", path) {
            let at = path.field("properties");
            for (name, value) in named {
                let at = at.entry(name);
                let Some(schema) = self.enter(value, &at) else { continue };
                if let Some(checks) = self.checks(schema, &at, Position::Value) {
                    nested.fields.push((name.as_str().into(), checks));
                }
            }
        }
        let at = path.field("items");
        if let Some(schema) =
            schema.get("items").filter(|items| !items.is_null()).and_then(|items| self.enter(items, &at))
        {
            nested.items = self.checks(schema, &at, Position::Value);
        }
        let any = !nested.required.is_empty() || !nested.fields.is_empty() || nested.items.is_some();
        any.then_some(nested)
    }

    fn map<'v>(
        &mut self,
        schema: &'v Map<String, Value>,
        name: &str,
        path: &Path<'_>,
    ) -> Option<&'v Map<String, Value>> {
        match schema.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::Object(map)) => Some(map),
            Some(other) => {
                self.findings.wrong_type(&path.field(name), "object", other);
                None
            }
        }
    }
}

/// Where value validations stand: on a node of the structure, or below a combination.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Structural,
    Value,
}

/// What an object has that is a whole API object itself.
fn embed(properties: &mut Vec<Property>) {
    let string = || Child::own(Node::of(Shape::String(Format::Plain)));
    properties.retain(|property| !matches!(&*property.name, "apiVersion" | "kind" | "metadata"));
    for (name, node) in [("apiVersion", string()), ("kind", string()), ("metadata", builtin::object_meta())] {
        properties.push(Property { name: name.into(), node, patch: Patch::default() });
    }
}

fn format(schema: &Map<String, Value>) -> Format {
    match schema.get("format").and_then(Value::as_str) {
        None | Some("") => Format::Plain,
        Some("date-time" | "datetime") => Format::DateTime,
        Some("byte") => Format::Byte,
        Some(name) => Format::Named(name.into()),
    }
}

fn strings(schema: &Map<String, Value>, name: &str) -> Vec<Box<str>> {
    schema.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
}

fn bound(schema: &Map<String, Value>, limit: &str, exclusive: &str) -> Option<Bound> {
    let limit = schema.get(limit)?.as_f64()?;
    Some(Bound { limit, exclusive: schema.get(exclusive).and_then(Value::as_bool) == Some(true) })
}

fn range(schema: &Map<String, Value>, min: &str, max: &str) -> Range {
    let count = |name| schema.get(name).and_then(Value::as_u64);
    Range { min: count(min), max: count(max) }
}
