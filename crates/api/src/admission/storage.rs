//! The default StorageClass.

use serde_json::Value;

use super::Admission;
use crate::{object::meta, projection::objects, registry::prefix, status::Result};

const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// A claim that names no class gets the default one; the newest wins where several are marked.
pub(super) fn default_class(admission: &Admission<'_>, claim: &mut Value) -> Result<()> {
    let named = claim.pointer("/spec/storageClassName").is_some_and(|name| !name.is_null());
    let beta = claim.pointer("/metadata/annotations/volume.beta.kubernetes.io~1storage-class").is_some();
    if !admission.creates() || named || beta {
        return Ok(());
    }
    let classes = objects(&*admission.server.store, &prefix("storage.k8s.io", "storageclasses"));
    let marked = |class: &&Value| {
        let annotations = class.get("metadata").and_then(|m| m.get("annotations"));
        annotations.and_then(|a| a.get(DEFAULT)).and_then(Value::as_str) == Some("true")
    };
    let default = classes
        .iter()
        .filter(marked)
        .max_by_key(|class| (meta(class, "creationTimestamp"), std::cmp::Reverse(meta(class, "name"))));
    if let (Some(default), Some(spec)) = (default, claim.get_mut("spec").and_then(Value::as_object_mut)) {
        spec.insert("storageClassName".to_owned(), meta(default, "name").into());
    }
    Ok(())
}
