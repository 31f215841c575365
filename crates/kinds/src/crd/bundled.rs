//! The CustomResourceDefinitions that every cluster has from the start.

use std::sync::LazyLock;

use serde_json::Value;

const SOURCES: [&str; 3] = [
    include_str!("../../assets/application.json"),
    include_str!("../../assets/appproject.json"),
    include_str!("../../assets/applicationset.json"),
];

/// `Application`, `AppProject` and `ApplicationSet` of `argoproj.io/v1alpha1`, with Argo CD's names, columns and fields, so that
/// repositories and clients made for Argo CD work unchanged. An `Application` has no status subresource, as with Argo CD: its
/// clients write `status` and `operation` with plain updates.
pub fn bundled_crds() -> Vec<Value> {
    static PARSED: LazyLock<Vec<Value>> =
        LazyLock::new(|| SOURCES.iter().filter_map(|source| serde_json::from_str(source).ok()).collect());
    PARSED.clone()
}
