//! Namespaces: where objects may be made.

use serde_json::{Map, Value, json};

use super::Admission;
use crate::{
    object::{deleting, meta, metadata_mut},
    registry::prefix,
    status::{Error, Result},
};

/// A new object needs a namespace that exists and is not going.
pub(super) fn must_take_objects(admission: &Admission<'_>, object: &mut Value) -> Result<()> {
    let namespace = &admission.write.namespace;
    if namespace.is_empty() || !admission.creates() {
        return Ok(());
    }
    let not_found =
        || Error::NotFound { group: String::new(), resource: "namespaces".to_owned(), name: namespace.clone() };
    let entry =
        admission.server.store.get(&format!("{}{namespace}", prefix("", "namespaces"))).ok_or_else(not_found)?;
    // Going namespaces are rare: look closer only where the bytes say that it could be one.
    let needle = b"deletionTimestamp";
    if entry.value.windows(needle.len()).any(|window| window == needle)
        && deleting(&crate::object::parse(&entry.value)?)
    {
        let reason = format!("unable to create new content in namespace {namespace} because it is being terminated");
        return Err(match admission.forbidden(object, &reason) {
            Error::Forbidden { group, resource, name, message } => {
                Error::NamespaceTerminating { group, resource, name, namespace: namespace.clone(), message }
            }
            other => other,
        });
    }
    Ok(())
}

/// What every namespace carries.
pub(super) fn finalizer_and_label(admission: &Admission<'_>, object: &mut Value) -> Result<()> {
    let name = meta(object, "name").to_owned();
    let labels = metadata_mut(object)?.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    if let Some(labels) = labels.as_object_mut() {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
    let Some(namespace) = object.as_object_mut() else { return Ok(()) };
    match admission.old {
        None => {
            namespace.insert("spec".to_owned(), json!({"finalizers": ["kubernetes"]}));
            namespace.insert("status".to_owned(), json!({"phase": "Active"}));
        }
        // Only `…/finalize` changes the finalizers.
        Some(old) => {
            if let Some(spec) = old.get("spec") {
                namespace.insert("spec".to_owned(), spec.clone());
            }
        }
    }
    Ok(())
}
