//! Server-side apply (KEP-555).
use serde_json::Value;

use crate::{Cause, Schema};

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    /// `kubectl`, `kube-controller-manager`.
    pub name: &'a str,
    /// Version that the request speaks: `apps/v1`.
    pub api_version: &'a str,
    /// `status`, `scale`; absent for the main resource.
    pub subresource: Option<&'a str>,
    /// The time of the request.
    pub now: jiff::Timestamp,
}

/// A field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The owner.
    pub manager: String,
    /// `.spec.replicas`.
    pub field: String,
    /// `conflict with "kubectl" using apps/v1: .spec.replicas`.
    pub message: String,
}

/// Why an apply was refused.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Other managers own fields with other values.
    #[error("Apply failed with {} conflict(s)", .0.len())]
    Conflicts(Vec<Conflict>),
    /// The configuration is malformed.
    #[error("the applied configuration is invalid")]
    Invalid(Vec<Cause>),
}

/// Applies `config` to `live`.
pub fn apply(
    _live: Option<&Value>,
    config: &Value,
    _manager: &Manager<'_>,
    _force: bool,
    _schema: &Schema,
) -> Result<Value, ApplyError> {
    Ok(config.clone())
}

/// Ownership after create, update or patch.
pub fn track_update(_old: Option<&Value>, _new: &mut Value, _manager: &Manager<'_>, _schema: &Schema) {}
