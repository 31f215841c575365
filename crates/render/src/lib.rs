//! From a repository to objects: plain YAML, Kustomize, Helm.
//!
//! Pure: bytes in, objects or one clear error out; no network, no clock, no environment, no file outside the [`Tree`] that
//! was given.

mod directory;
mod error;
pub mod goyaml;
pub mod helm;
pub mod kustomize;
mod strconv;
mod tree;
pub mod yaml;

pub use directory::{DirectoryOptions, render_directory};
pub use error::Error;
use error::line_of;
pub use tree::{MemoryTree, Tree, normalize};

use serde_json::Value;

/// An object and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Path of the file within the tree.
    pub path: String,
    /// Which document of the file, from 0.
    pub document: usize,
    /// The object: a JSON object with `apiVersion`, `kind` and `metadata.name`.
    pub object: Value,
}

/// Which tool a directory is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceType {
    /// Plain YAML and JSON files.
    Directory,
    /// There is a kustomization file.
    Kustomize,
    /// There is a `Chart.yaml`.
    Helm,
}

/// The names of a kustomization file, in the order in which Kustomize looks for them.
pub const KUSTOMIZATION_FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Decides as Argo CD does: a chart first, then a kustomization, else a directory.
pub fn detect(tree: &dyn Tree, directory: &str) -> Result<SourceType, Error> {
    let directory = normalize(directory)?;
    let has = |name: &str| tree.exists(&join(&directory, name));
    if has("Chart.yaml") {
        Ok(SourceType::Helm)
    } else if KUSTOMIZATION_FILES.iter().any(|name| has(name)) {
        Ok(SourceType::Kustomize)
    } else {
        Ok(SourceType::Directory)
    }
}

/// `directory/name` within a tree, where the root is the empty string.
pub(crate) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}
