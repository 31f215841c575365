//! The patches of the Kubernetes API: JSON patch, JSON merge patch and strategic merge patch.

mod json_patch;
mod merge_patch;
mod strategic;

pub use json_patch::json_patch;
pub use merge_patch::merge_patch;
pub use strategic::strategic_merge;

/// Why a patch was refused. The target is as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is malformed: `400 Bad Request`.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit this object: `422 Unprocessable Entity`.
    #[error("{0}")]
    Unprocessable(String),
}
