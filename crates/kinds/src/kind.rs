//! The row.

use std::{borrow::Cow, fmt, sync::Arc};

use lotse_schema::{Cause, Schema, openapi::Definitions};
use serde_json::Value;

/// Everything that the generic path needs to know about one kind in one version.
#[derive(Clone)]
pub struct Kind {
    /// API group, empty for core.
    pub group: Cow<'static, str>,
    /// API version, e.g. `v1`.
    pub version: Cow<'static, str>,
    /// `Deployment`.
    pub kind: Cow<'static, str>,
    /// `deployments`.
    pub plural: Cow<'static, str>,
    /// `deployment`.
    pub singular: Cow<'static, str>,
    /// `DeploymentList`.
    pub list_kind: Cow<'static, str>,
    /// `deploy`.
    pub short_names: Vec<Cow<'static, str>>,
    /// `all`, `api-extensions`.
    pub categories: Vec<Cow<'static, str>>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Has a `status` subresource: writes to the main resource keep `status`, writes to `…/status` keep the rest.
    pub status: bool,
    /// Has a `scale` subresource.
    pub scale: Option<ScalePaths>,
    /// Further subresources that are not plain object writes (`log`, `exec`, `binding`, `eviction`, `token`, …), served by
    /// hand-written endpoints of the API server; here for discovery and authorisation.
    pub endpoints: Vec<Cow<'static, str>>,
    /// Stored, or answered on the spot (reviews).
    pub storage: Storage,
    /// In which shape objects of this version are kept, where that may be another one: of another group, or of another version of a
    /// custom kind. Custom kinds of several versions have it for the stored version, too: objects that were written while another
    /// one was stored are still kept in that. Use [`Kind::to_stored`] and [`Kind::from_stored`].
    pub stored_as: Option<StoredAs>,
    /// All columns of `kubectl get` in order, name and age included; nothing is added to them.
    pub columns: Vec<Column>,
    /// Field selectors beyond `metadata.name` and `metadata.namespace`: JSON pointers such as `/spec/nodeName`, keyed by
    /// `spec.nodeName`.
    pub selectable_fields: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The schema, made on first use (there are many kinds and few are used).
    pub schema: Arc<dyn Fn() -> Arc<Schema> + Send + Sync>,
    /// Adds the kind's OpenAPI definitions; absent for custom kinds, whose definition is the stored CustomResourceDefinition.
    pub definitions: Option<fn(&mut Definitions)>,
    /// What is special about this kind.
    pub hooks: Hooks,
    /// True for kinds made by a CustomResourceDefinition: unknown fields are pruned by the schema, and strategic merge is refused.
    pub custom: bool,
}

/// Where the replicas stand, as JSON pointers (`/spec/replicas`).
#[derive(Clone, Debug)]
pub struct ScalePaths {
    /// Desired replicas.
    pub spec_replicas: Cow<'static, str>,
    /// Observed replicas.
    pub status_replicas: Cow<'static, str>,
    /// A label selector object, or a selector string for custom resources.
    pub selector: Option<Cow<'static, str>>,
}

/// Whether objects of the kind are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In the store, with all verbs.
    Stored,
    /// Created and answered, never kept: TokenReview, SubjectAccessReview, …
    Review,
}

/// The kind under which objects are kept, and the way there and back.
#[derive(Clone, Debug)]
pub struct StoredAs {
    /// API group of the stored kind.
    pub group: Cow<'static, str>,
    /// API version of the stored kind.
    pub version: Cow<'static, str>,
    /// The stored kind.
    pub kind: Cow<'static, str>,
    /// Makes the stored shape of an object of this version; absent where only `apiVersion` differs. Lossless together with
    /// `from_stored`; `apiVersion` and `kind` are not its business.
    pub to_stored: Option<fn(&mut Value)>,
    /// Makes this version's shape of a stored object.
    pub from_stored: Option<fn(&mut Value)>,
    /// Only a webhook knows how versions become each other (`spec.conversion` of a CustomResourceDefinition); it is not called.
    pub webhook: bool,
}

/// An object cannot be had in another version than its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoConversion {
    /// `example.com/v1, Kind=Gadget`, which was asked for or sent.
    pub wanted: String,
    /// `example.com/v1beta1`, in which it can be had.
    pub instead: String,
}

impl fmt::Display for NoConversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "conversion webhook for {} failed: conversion webhooks are not called here, ask for {} instead",
            self.wanted, self.instead
        )
    }
}

impl std::error::Error for NoConversion {}

/// A table column (`kubectl get`).
#[derive(Clone)]
pub struct Column {
    /// Heading.
    pub name: Cow<'static, str>,
    /// OpenAPI type.
    pub kind: ColumnType,
    /// OpenAPI format, e.g. `name`.
    pub format: Cow<'static, str>,
    /// For `kubectl describe`-like clients.
    pub description: Cow<'static, str>,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
    /// The cell for one object; pure. The timestamp is now, for ages.
    pub cell: Arc<Cell>,
}

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Text.
    String,
    /// Whole number.
    Integer,
    /// Number.
    Number,
    /// true or false.
    Boolean,
    /// A time stamp, shown as age.
    Date,
}

/// Makes the cell of a column from an object and the present time.
pub type Cell = dyn Fn(&Value, jiff::Timestamp) -> Value + Send + Sync;

/// See [`Hooks::default`].
pub type DefaultHook = fn(&mut Value);
/// See [`Hooks::prepare`].
pub type PrepareHook = fn(Strategy, &mut Value, Option<&Value>) -> Result<(), Vec<Cause>>;
/// See [`Hooks::validate`].
pub type ValidateHook = fn(Strategy, &Value, Option<&Value>) -> Vec<Cause>;

/// Which write is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// A new object.
    Create,
    /// A change of the main resource.
    Update,
    /// A change through a subresource such as `status`.
    Subresource,
}

/// Pure functions where a kind differs from the generic path; each may be absent. Arguments of the latter two: the kind of write,
/// the object as it would be stored, and the stored one, absent on create. `metadata` (name, uid, creation time) is complete
/// before `prepare`, and a status that the generic path empties is emptied before it too: hooks fill the first one in.
///
/// Order on a write: decode → `default` → (update: generic rules for metadata, `status` kept or replaced) → `prepare` →
/// schema validation → `validate` → store.
#[derive(Clone, Copy, Default)]
pub struct Hooks {
    /// Sets defaults as the Kubernetes API has them (`protocol: TCP`, `imagePullPolicy`, …). Idempotent.
    pub default: Option<DefaultHook>,
    /// Fills or resets what the server owns (e.g. `generation`-neutral fields, Secret `stringData` → `data`); `old` is absent on create.
    pub prepare: Option<PrepareHook>,
    /// Rules beyond the schema: names, ranges, cross-field rules, immutable fields. `old` is absent on create.
    pub validate: Option<ValidateHook>,
}

// === impl Kind ===

impl Kind {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// Group, version and kind under which objects of this kind are kept.
    pub fn storage_kind(&self) -> (&str, &str, &str) {
        match &self.stored_as {
            Some(stored) => (&stored.group, &stored.version, &stored.kind),
            None => (&self.group, &self.version, &self.kind),
        }
    }

    /// Converts an object of this version to the shape in which it is stored.
    ///
    /// # Errors
    /// Only a webhook could do it.
    pub fn to_stored(&self, object: &mut Value) -> Result<(), NoConversion> {
        if let Some(stored) = &self.stored_as {
            let kept = api_version(&stored.group, &stored.version);
            if stored.webhook && kept != self.api_version() {
                return Err(self.no_conversion(kept));
            }
            stored.to_stored.iter().for_each(|convert| convert(object));
            set_type(object, kept, &stored.kind);
        }
        Ok(())
    }

    /// Converts a stored object to the shape of this version.
    ///
    /// # Errors
    /// Only a webhook could do it.
    pub fn from_stored(&self, object: &mut Value) -> Result<(), NoConversion> {
        if let Some(stored) = &self.stored_as {
            let kept = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
            if stored.webhook && kept != self.api_version() {
                return Err(self.no_conversion(kept.to_owned()));
            }
            stored.from_stored.iter().for_each(|convert| convert(object));
            set_type(object, self.api_version(), &self.kind);
        }
        Ok(())
    }

    /// Whether an object that is kept under this `apiVersion` is in the shape of this version already.
    pub fn is_kept_as(&self, kept: &str) -> bool {
        self.stored_as.as_ref().is_none_or(|stored| stored.from_stored.is_none() && kept == self.api_version())
    }

    fn no_conversion(&self, instead: String) -> NoConversion {
        NoConversion { wanted: format!("{}, Kind={}", self.api_version(), self.kind), instead }
    }
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn set_type(object: &mut Value, api_version: String, kind: &str) {
    if let Some(object) = object.as_object_mut() {
        object.insert("apiVersion".to_owned(), api_version.into());
        object.insert("kind".to_owned(), kind.into());
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.api_version(), self.kind)
    }
}
