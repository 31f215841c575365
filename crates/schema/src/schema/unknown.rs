//! Fields that a schema does not know: found for `fieldValidation`, removed before an object is stored.

use serde_json::{Map, Value};

use super::{
    Schema,
    node::{Node, Object, Shape},
};
use crate::path::Path;

/// How many paths are reported.
const MAX_PATHS: usize = 64;

pub(super) fn find(schema: &Schema, object: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    find_in(schema, schema.root(), object, &Path::ROOT, &mut paths);
    paths
}

pub(super) fn remove(schema: &Schema, object: &mut Value) -> Vec<String> {
    let mut paths = Vec::new();
    remove_in(schema, schema.root(), object, &Path::ROOT, &mut paths);
    paths
}

/// What a field of an object is, for both walks.
enum Known<'a> {
    Declared(&'a Node),
    /// An entry of a map.
    Entry(&'a Node),
    Kept,
    Unknown,
}

fn classify<'a>(schema: &'a Schema, object: &'a Object, name: &str, path: &Path<'_>) -> Known<'a> {
    if path.is_root()
        && matches!(name, "apiVersion" | "kind" | "metadata")
        && let Some(node) = schema.root_field(name)
    {
        return Known::Declared(node);
    }
    if let Some(property) = object.property(name) {
        return Known::Declared(property.node.get());
    }
    match &object.entries {
        Some(entries) => Known::Entry(entries.get()),
        None if object.preserve_unknown => Known::Kept,
        None => Known::Unknown,
    }
}

fn find_in(schema: &Schema, node: &Node, value: &Value, path: &Path<'_>, paths: &mut Vec<String>) {
    if path.too_deep() || paths.len() >= MAX_PATHS {
        return;
    }
    match (&node.shape, value) {
        (Shape::Any, Value::Object(fields)) if path.is_root() => {
            if let (Some(node), Some(value)) = (schema.root_field("metadata"), fields.get("metadata")) {
                find_in(schema, node, value, &path.field("metadata"), paths);
            }
        }
        (Shape::Object(object), Value::Object(fields)) => {
            for (name, value) in fields {
                match classify(schema, object, name, path) {
                    Known::Declared(node) => find_in(schema, node, value, &path.field(name), paths),
                    Known::Entry(node) => find_in(schema, node, value, &path.field(name), paths),
                    Known::Kept => {}
                    Known::Unknown => report(paths, &path.field(name)),
                }
            }
        }
        (Shape::List(list), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                find_in(schema, list.items.get(), item, &path.index(index), paths);
            }
        }
        _ => {}
    }
}

fn remove_in(schema: &Schema, node: &Node, value: &mut Value, path: &Path<'_>, paths: &mut Vec<String>) {
    if path.too_deep() {
        return;
    }
    match (&node.shape, value) {
        (Shape::Any, Value::Object(fields)) if path.is_root() => {
            if let (Some(node), Some(value)) = (schema.root_field("metadata"), fields.get_mut("metadata")) {
                remove_in(schema, node, value, &path.field("metadata"), paths);
            }
        }
        (Shape::Object(object), Value::Object(fields)) => {
            drop_unknown(schema, object, fields, path, paths);
            for (name, value) in fields {
                if let Known::Declared(node) | Known::Entry(node) = classify(schema, object, name, path) {
                    remove_in(schema, node, value, &path.field(name), paths);
                }
            }
        }
        (Shape::List(list), Value::Array(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                remove_in(schema, list.items.get(), item, &path.index(index), paths);
            }
        }
        _ => {}
    }
}

fn drop_unknown(
    schema: &Schema,
    object: &Object,
    fields: &mut Map<String, Value>,
    path: &Path<'_>,
    paths: &mut Vec<String>,
) {
    fields.retain(|name, _| {
        let unknown = matches!(classify(schema, object, name, path), Known::Unknown);
        if unknown {
            report(paths, &path.field(name));
        }
        !unknown
    });
}

fn report(paths: &mut Vec<String>, path: &Path<'_>) {
    if paths.len() < MAX_PATHS {
        paths.push(path.to_string());
    }
}
