//! The structural schema of a kind: what its objects may contain and how their parts relate.

mod builtin;
mod checks;
mod crd;
mod defaults;
mod findings;
mod node;
mod unknown;
mod validate;

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::Cause;
pub(crate) use node::{ANY, Child, Key, Node, Patch, Relation, Shape};

/// The structural schema of a kind: compact, without descriptions, shared.
///
/// `apiVersion`, `kind` and `metadata` are known to every schema, as all kinds have them.
#[derive(Debug)]
pub struct Schema {
    root: Child,
    metadata: Child,
    origin: Origin,
    validation_rules: bool,
}

/// Where a schema comes from; the rules differ as they do in Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// A null is an absent field, and what is required below `status` is not enforced.
    BuiltIn,
    /// A null is a value, and has to be allowed.
    Custom,
}

// === impl Schema ===

impl Schema {
    /// The schema of a built-in kind, from the generated type's own. Not free (about a millisecond): keep the result.
    pub fn of<K: schemars::JsonSchema + k8s_openapi::Resource>() -> Arc<Self> {
        Arc::new(Self {
            root: builtin::tree::<K>(),
            metadata: builtin::object_meta(),
            origin: Origin::BuiltIn,
            validation_rules: false,
        })
    }

    /// The schema of one version of a CustomResourceDefinition: `value` is its `schema.openAPIV3Schema`.
    ///
    /// # Errors
    /// Where it breaks the rules of structural schemas; fields are named relative to `value`, as
    /// `properties[spec].properties[size].type`.
    pub fn from_crd(value: &Value) -> Result<Arc<Self>, Vec<Cause>> {
        let parsed = crd::parse(value)?;
        Ok(Arc::new(Self {
            root: Child::own(parsed.root),
            metadata: builtin::object_meta(),
            origin: Origin::Custom,
            validation_rules: parsed.validation_rules,
        }))
    }

    /// Keeps and accepts everything.
    pub fn anything() -> Arc<Self> {
        static ANYTHING: LazyLock<Arc<Schema>> = LazyLock::new(|| {
            let mut root = Node::of(Shape::Any);
            root.nullable = true;
            Arc::new(Schema {
                root: Child::own(root),
                metadata: builtin::object_meta(),
                origin: Origin::Custom,
                validation_rules: false,
            })
        });
        ANYTHING.clone()
    }

    /// Whether the definition has CEL rules (`x-kubernetes-validations`), which [`Self::validate`] does not evaluate.
    pub fn has_validation_rules(&self) -> bool {
        self.validation_rules
    }

    /// What is wrong with an object, in the words of Kubernetes; at most 64 findings.
    ///
    /// Metadata is checked for its types only.
    pub fn validate(&self, object: &Value) -> Vec<Cause> {
        validate::run(self, object)
    }

    /// Paths of fields that the schema does not know, as in kubectl's `unknown field "spec.replicsa"`; at most 64.
    pub fn unknown_fields(&self, object: &Value) -> Vec<String> {
        unknown::find(self, object)
    }

    /// Removes the fields that the schema does not know and returns the paths of the first 64.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        unknown::remove(self, object)
    }

    /// Fills in the defaults of a CustomResourceDefinition; a null that is not allowed counts as absent where there is a default.
    pub fn default(&self, object: &mut Value) {
        defaults::fill(self.root.get(), object, 0);
    }

    pub(crate) fn root(&self) -> &Node {
        self.root.get()
    }

    /// The field of a whole object, with what every kind has.
    pub(crate) fn root_field(&self, name: &str) -> Option<&Node> {
        match name {
            "metadata" => Some(self.metadata.get()),
            "apiVersion" | "kind" => Some(&validate::PLAIN_STRING),
            _ => self.root.get().field(name),
        }
    }

    /// A null in a field of this node is an absent field.
    pub(crate) fn null_is_absent(&self, node: &Node) -> bool {
        self.origin == Origin::BuiltIn && !matches!(node.shape, Shape::Any) || !node.nullable
    }
}

#[cfg(test)]
mod tests;
