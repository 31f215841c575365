//! The row.

use std::{borrow::Cow, fmt, sync::Arc};

use lotse_schema::{Cause, Schema};
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
    /// `kubectl get` columns after the name and before the age; all columns where the kind replaces the defaults.
    pub columns: Vec<Column>,
    /// Field selectors beyond `metadata.name` and `metadata.namespace`: JSON pointers such as `/spec/nodeName`, keyed by
    /// `spec.nodeName`.
    pub selectable_fields: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The schema, made on first use (there are many kinds and few are used).
    pub schema: Arc<dyn Fn() -> Arc<Schema> + Send + Sync>,
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
    pub cell: Arc<dyn Fn(&Value, jiff::Timestamp) -> Value + Send + Sync>,
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

/// Pure functions where a kind differs from the generic path; each may be absent.
///
/// Order on a write: decode → `default` → (update: generic rules for metadata, `status` kept or replaced) → `prepare` →
/// schema validation → `validate` → store.
#[derive(Clone, Copy, Default)]
pub struct Hooks {
    /// Sets defaults as the Kubernetes API has them (`protocol: TCP`, `imagePullPolicy`, …). Idempotent.
    pub default: Option<fn(&mut Value)>,
    /// Fills or resets what the server owns (e.g. `generation`-neutral fields, Secret `stringData` → `data`); `old` is absent on create.
    pub prepare: Option<fn(strategy: Strategy, new: &mut Value, old: Option<&Value>) -> Result<(), Vec<Cause>>>,
    /// Rules beyond the schema: names, ranges, cross-field rules, immutable fields. `old` is absent on create.
    pub validate: Option<fn(strategy: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause>>,
}

// === impl Kind ===

impl Kind {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.api_version(), self.kind)
    }
}
