//! Defaults of CustomResourceDefinitions.

use serde_json::Value;

use super::node::{Node, Shape};
use crate::path::MAX_DEPTH;

/// Fills in what is absent below `value`, outside in, so that a default object gets the defaults of its fields too.
pub(super) fn fill(node: &Node, value: &mut Value, depth: usize) {
    if depth >= MAX_DEPTH {
        return;
    }
    match (&node.shape, value) {
        (Shape::Object(object), Value::Object(fields)) => {
            for property in &object.properties {
                let node = property.node.get();
                let Some(default) = &node.default else { continue };
                let absent = match fields.get(&*property.name) {
                    None => true,
                    Some(Value::Null) => !node.nullable,
                    Some(_) => false,
                };
                if absent {
                    fields.insert(property.name.to_string(), (**default).clone());
                }
            }
            for (name, value) in fields {
                if let Some(node) = node.field(name) {
                    if value.is_null()
                        && !node.nullable
                        && let Some(default) = &node.default
                    {
                        *value = (**default).clone();
                    }
                    fill(node, value, depth + 1);
                }
            }
        }
        (Shape::List(list), Value::Array(items)) => {
            for item in items {
                fill(list.items.get(), item, depth + 1);
            }
        }
        _ => {}
    }
}
