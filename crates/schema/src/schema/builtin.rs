//! Schemas of built-in kinds: the generated types' own JSON schemas, joined with [`crate::facts`].
//!
//! Definitions are kept once for the process, without descriptions: a `PodSpec` is shared by all workloads.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};

use super::node::{Child, Format, Key, List, Node, Object, Patch, Property, Relation, Shape, Slot, Width};
use crate::facts::{self, Merging, Topology};

const REFERENCE: &str = "#/components/schemas/";

static DEFINITIONS: LazyLock<Mutex<Definitions>> = LazyLock::new(Mutex::default);

type Definitions = HashMap<Box<str>, Arc<Slot>>;

/// The tree of a generated type.
pub(crate) fn tree<T: JsonSchema>() -> Child {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let root = generator.subschema_for::<T>();
    let made = generator.take_definitions(false);
    // A panic while the lock was held cannot leave a half-made definition: slots are filled in one step.
    let mut definitions = DEFINITIONS.lock().unwrap_or_else(PoisonError::into_inner);
    // Definitions that take over another one's fields come after it.
    let (late, early): (Vec<_>, Vec<_>) =
        made.iter().partition(|(name, _)| facts::GRANULAR.iter().any(|row| row.0 == name.as_str()));
    for (name, value) in early.into_iter().chain(late) {
        let slot = slot(&mut definitions, name);
        if slot.0.get().is_none() {
            let node = definition(&mut definitions, name, value);
            // Filled by this thread only, as the lock is held.
            let _ = slot.0.set(node);
        }
    }
    child(&mut definitions, root.as_value())
}

/// Metadata, which every kind has.
pub(crate) fn object_meta() -> Child {
    static TREE: LazyLock<Child> = LazyLock::new(tree::<ObjectMeta>);
    TREE.clone()
}

fn slot(definitions: &mut Definitions, name: &str) -> Arc<Slot> {
    if let Some(slot) = definitions.get(name) {
        return slot.clone();
    }
    let slot = Arc::new(Slot::default());
    definitions.insert(name.into(), slot.clone());
    slot
}

fn definition(definitions: &mut Definitions, name: &str, value: &Value) -> Node {
    match name {
        "io.k8s.apimachinery.pkg.api.resource.Quantity" => return Node::of(Shape::Quantity),
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => return Node::of(Shape::IntOrString),
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"
        | "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1"
        | "io.k8s.apimachinery.pkg.runtime.RawExtension" => return Node::of(Shape::Any),
        _ => {}
    }
    let mut node = node(definitions, Some(name), value);
    if let Shape::Object(object) = &mut node.shape {
        object.atomic = facts::ATOMIC_STRUCTS.binary_search(&name).is_ok();
    }
    node
}

fn child(definitions: &mut Definitions, value: &Value) -> Child {
    match reference(value) {
        Some(name) => Child::Shared(slot(definitions, name)),
        None => Child::own(node(definitions, None, value)),
    }
}

pub(crate) fn reference(value: &Value) -> Option<&str> {
    value.get("$ref")?.as_str()?.strip_prefix(REFERENCE)
}

fn node(definitions: &mut Definitions, name: Option<&str>, value: &Value) -> Node {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    if value.get("x-kubernetes-int-or-string").and_then(Value::as_bool) == Some(true) {
        return Node::of(Shape::IntOrString);
    }
    Node::of(match text("type") {
        Some("boolean") => Shape::Boolean,
        Some("integer") => Shape::Integer(match text("format") {
            Some("int32") => Some(Width::Int32),
            _ => Some(Width::Int64),
        }),
        Some("number") => Shape::Number,
        Some("string") => Shape::String(match text("format") {
            Some("date-time") => Format::DateTime,
            Some("byte") => Format::Byte,
            _ => Format::Plain,
        }),
        Some("array") => list(definitions, value, Topology::Unchanged),
        Some("object") => object(definitions, name.unwrap_or_default(), value),
        _ => Shape::Any,
    })
}

fn list(definitions: &mut Definitions, value: &Value, topology: Topology) -> Shape {
    let items = value.get("items").unwrap_or(&Value::Null);
    let definition = reference(items);
    let relation = match topology {
        Topology::Set => Relation::Set,
        Topology::Map(keys) => Relation::Map(
            keys.iter()
                .map(|name| Key {
                    name: Cow::Borrowed(*name),
                    default: facts::key_default(definition, name).map(Value::from),
                })
                .collect(),
        ),
        Topology::Unchanged | Topology::Atomic | Topology::AtomicMap => Relation::Atomic,
    };
    Shape::List(List { items: child(definitions, items), relation, unique: false })
}

fn object(definitions: &mut Definitions, name: &str, value: &Value) -> Shape {
    let named = value.get("properties").and_then(Value::as_object);
    let entries = value.get("additionalProperties").filter(|entries| entries.is_object());
    if named.is_none_or(Map::is_empty) && entries.is_none() {
        return Shape::Any;
    }
    let mut properties: Vec<Property> = named
        .into_iter()
        .flatten()
        .map(|(field, schema)| {
            let (topology, merging) = facts::of_field(name, field);
            Property {
                name: field.as_str().into(),
                node: property(definitions, name, field, schema, topology),
                patch: patch(merging),
            }
        })
        .collect();
    properties.sort_by(|a, b| a.name.cmp(&b.name));
    // The generated types ask for metadata because they hold it by value; the API does not (reviews have none).
    let required = value.get("required").and_then(Value::as_array);
    let required = required.into_iter().flatten().filter_map(Value::as_str).filter(|name| *name != "metadata");
    Shape::Object(Object {
        properties: properties.into(),
        entries: entries.map(|entries| child(definitions, entries)),
        required: required.map(Into::into).collect(),
        preserve_unknown: false,
        atomic: false,
    })
}

fn property(definitions: &mut Definitions, name: &str, field: &str, schema: &Value, topology: Topology) -> Child {
    if let Some(definition_name) = reference(schema)
        && facts::GRANULAR.contains(&(name, field))
    {
        // The same fields under a definition of their own, so that they merge one by one.
        let shared = slot(definitions, definition_name);
        if let Some(Node { shape: Shape::Object(object), .. }) = shared.0.get() {
            return Child::own(Node::of(Shape::Object(granular(object))));
        }
        return Child::Shared(shared);
    }
    match topology {
        Topology::Unchanged => child(definitions, schema),
        Topology::AtomicMap => {
            let mut node = node(definitions, None, schema);
            if let Shape::Object(object) = &mut node.shape {
                object.atomic = true;
            }
            Child::own(node)
        }
        Topology::Atomic | Topology::Set | Topology::Map(_) => {
            Child::own(Node::of(list(definitions, schema, topology)))
        }
    }
}

fn granular(object: &Object) -> Object {
    Object {
        properties: object
            .properties
            .iter()
            .map(|property| Property {
                name: property.name.clone(),
                node: property.node.clone(),
                patch: property.patch.clone(),
            })
            .collect(),
        entries: object.entries.clone(),
        required: object.required.clone(),
        preserve_unknown: object.preserve_unknown,
        atomic: false,
    }
}

fn patch(merging: Merging) -> Patch {
    let mut patch = Patch::default();
    match merging {
        Merging::None => {}
        Merging::Merge(key) => (patch.merge, patch.merge_key) = (true, Some(Cow::Borrowed(key))),
        Merging::MergeRetainKeys(key) => {
            (patch.merge, patch.retain_keys, patch.merge_key) = (true, true, Some(Cow::Borrowed(key)));
        }
        Merging::MergePrimitives => patch.merge = true,
        Merging::RetainKeys => patch.retain_keys = true,
        Merging::Replace => patch.replace = true,
    }
    patch
}

/// Whether a definition exists in the registry; used by readers that follow names.
#[cfg(test)]
pub(crate) fn lookup(name: &str) -> Option<Arc<Slot>> {
    let definitions = DEFINITIONS.lock().unwrap_or_else(PoisonError::into_inner);
    definitions.get(name).cloned().filter(|slot| slot.0.get().is_some())
}
