//! The tree that every reader of a schema walks: validation, pruning, defaults, strategic merge and server-side apply.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use serde_json::Value;

use super::checks::Checks;

/// What one value may be.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) shape: Shape,
    /// An explicit `null` is a value of its own, not an absent field.
    pub(crate) nullable: bool,
    pub(crate) default: Option<Box<Value>>,
    /// What a CustomResourceDefinition demands beyond the type.
    pub(crate) checks: Option<Box<Checks>>,
}

/// The JSON type, with what Kubernetes adds to it.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Anything: maps merge by field, lists are replaced.
    Any,
    Boolean,
    Integer(Option<Width>),
    Number,
    String(Format),
    IntOrString,
    Quantity,
    Object(Object),
    List(List),
}

/// The range of an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    Int32,
    Int64,
}

/// What a string contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Plain,
    DateTime,
    Byte,
    /// A format of a CustomResourceDefinition; unknown names are ignored, as Kubernetes does.
    Named(Box<str>),
}

/// A JSON object.
#[derive(Debug, Default)]
pub(crate) struct Object {
    /// Sorted by name.
    pub(crate) properties: Box<[Property]>,
    /// What fields may hold that `properties` does not name; `None`: there are no such fields.
    pub(crate) entries: Option<Child>,
    pub(crate) required: Box<[Box<str>]>,
    /// Fields that nobody named are kept (`x-kubernetes-preserve-unknown-fields`).
    pub(crate) preserve_unknown: bool,
    /// Replaced and owned as a whole (`x-kubernetes-map-type: atomic`).
    pub(crate) atomic: bool,
}

/// A named field.
#[derive(Debug)]
pub(crate) struct Property {
    pub(crate) name: Box<str>,
    pub(crate) node: Child,
    pub(crate) patch: Patch,
}

/// How a strategic merge patch treats a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patch {
    /// `x-kubernetes-patch-merge-key`.
    pub(crate) merge_key: Option<Cow<'static, str>>,
    /// Lists merge instead of being replaced.
    pub(crate) merge: bool,
    /// The object is replaced even though objects merge by default.
    pub(crate) replace: bool,
    /// `$retainKeys` is honoured.
    pub(crate) retain_keys: bool,
}

/// A JSON array.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) items: Child,
    pub(crate) relation: Relation,
    /// Duplicates are findings. Built-in kinds have their own rules (`env` may repeat a name).
    pub(crate) unique: bool,
}

/// `x-kubernetes-list-type`.
#[derive(Debug)]
pub(crate) enum Relation {
    Atomic,
    Set,
    Map(Box<[Key]>),
}

/// One of the fields that tell the items of a list apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) name: Cow<'static, str>,
    /// What an item has that does not set the field.
    pub(crate) default: Option<Value>,
}

/// A subtree: its own, or a named definition that others use too.
#[derive(Clone, Debug)]
pub(crate) enum Child {
    Own(Arc<Node>),
    Shared(Arc<Slot>),
}

/// A named definition. Definitions refer to each other in cycles, therefore they are filled in later.
#[derive(Debug, Default)]
pub(crate) struct Slot(pub(crate) OnceLock<Node>);

pub(crate) static ANY: Node = Node { shape: Shape::Any, nullable: true, default: None, checks: None };

// === impl Node ===

impl Node {
    pub(crate) fn of(shape: Shape) -> Self {
        Self { shape, nullable: false, default: None, checks: None }
    }

    /// The named field, or what any other field may hold.
    pub(crate) fn field(&self, name: &str) -> Option<&Node> {
        match &self.shape {
            Shape::Any => Some(&ANY),
            Shape::Object(object) => match object.property(name) {
                Some(property) => Some(property.node.get()),
                None => object.entries.as_ref().map(Child::get),
            },
            _ => None,
        }
    }

    /// Whether the schema names the field itself, rather than allowing it among others.
    pub(crate) fn declares(&self, name: &str) -> bool {
        matches!(&self.shape, Shape::Object(object) if object.property(name).is_some())
    }

    /// An object with declared fields.
    pub(crate) fn is_struct(&self) -> bool {
        matches!(&self.shape, Shape::Object(object) if !object.properties.is_empty())
    }
}

// === impl Object ===

impl Object {
    pub(crate) fn property(&self, name: &str) -> Option<&Property> {
        self.properties.binary_search_by(|property| (*property.name).cmp(name)).ok().map(|at| &self.properties[at])
    }
}

// === impl Child ===

impl Child {
    pub(crate) fn own(node: Node) -> Self {
        Self::Own(Arc::new(node))
    }

    pub(crate) fn get(&self) -> &Node {
        match self {
            Self::Own(node) => node,
            Self::Shared(slot) => slot.0.get().unwrap_or(&ANY),
        }
    }
}
