//! Patches.
use serde_json::Value;

use crate::Schema;

/// Why a patch was refused.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The patch is malformed.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not apply to this object.
    #[error("{0}")]
    Unprocessable(String),
}

/// RFC 6902.
pub fn json_patch(_target: &mut Value, _patch: &Value) -> Result<(), PatchError> {
    Ok(())
}
/// RFC 7386.
pub fn merge_patch(_target: &mut Value, _patch: &Value) {}
/// Strategic merge.
pub fn strategic_merge(_target: &mut Value, _patch: &Value, _schema: &Schema) -> Result<(), PatchError> {
    Ok(())
}
