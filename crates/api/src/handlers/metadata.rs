//! What the server does to `metadata` on a write, the same for every kind.

use jiff::Timestamp;
use lotse_kinds::Kind;
use lotse_schema::{Cause, Reason, names};
use serde_json::{Map, Value};

use super::Write;
use crate::{
    object::{self, deleting, finalizers, meta, metadata_mut, set_meta},
    status::{Error, Result},
};

/// Total size of keys and values of annotations.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Fields that only the server sets.
const SERVER_OWNED: [&str; 6] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"];

/// Whether the kind counts generations: the ones that separate wish from state do.
fn counts_generations(kind: &Kind) -> bool {
    kind.status || kind.custom
}

/// Fills the metadata of a new object.
pub(super) fn prepare_create(write: &Write, new: &mut Value, now: Timestamp) -> Result<()> {
    let kind = &write.resource.kind;
    if !matches!(meta(new, "resourceVersion"), "" | "0") {
        return Err(Error::bad_request("resourceVersion should not be set on objects to be created"));
    }
    check_namespace(write, new)?;
    if kind.status
        && !kind.custom
        && let Some(object) = new.as_object_mut()
    {
        // What clients send as status of a new object is not theirs to say; hooks set the initial one. An empty one is there from
        // the beginning, as from Kubernetes: clients with typed objects read `status.replicas` without asking for `status`.
        object.insert("status".to_owned(), Value::Object(Map::new()));
    }
    let generated = meta(new, "name").is_empty().then(|| object::generate_name(meta(new, "generateName")));
    if meta(new, "name").is_empty() && meta(new, "generateName").is_empty() {
        return Err(write.resource.invalid(
            "",
            vec![Cause {
                reason: Reason::FieldValueRequired,
                message: "Required value: name or generateName is required".to_owned(),
                field: "metadata.name".to_owned(),
            }],
        ));
    }
    let metadata = metadata_mut(new)?;
    for field in SERVER_OWNED {
        metadata.remove(field);
    }
    metadata.remove("resourceVersion");
    metadata.insert("uid".to_owned(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".to_owned(), object::timestamp(now).into());
    if let Some(name) = generated {
        metadata.insert("name".to_owned(), name.into());
    }
    if counts_generations(kind) {
        metadata.insert("generation".to_owned(), 1.into());
    }
    drop_empty(metadata);
    Ok(())
}

/// Clients send empty collections as null; stored objects do not carry them.
fn drop_empty(metadata: &mut Map<String, Value>) {
    metadata.retain(|_, value| !value.is_null());
}

/// The namespace in the body must be the one in the path; absent, it is filled in.
fn check_namespace(write: &Write, new: &mut Value) -> Result<()> {
    if !write.resource.kind.namespaced {
        return set_meta(new, "namespace", None);
    }
    match meta(new, "namespace") {
        "" => set_meta(new, "namespace", Some(write.namespace.as_str().into())),
        namespace if namespace == write.namespace => Ok(()),
        _ => Err(Error::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

/// Carries over what an update may not change, and keeps to its part of the object: `status` through the subresource
/// only, everything else through the object only.
pub(super) fn prepare_update(write: &Write, new: &mut Value, old: &Value) -> Result<()> {
    if new.get("metadata").is_none_or(|m| !m.is_object()) {
        metadata_mut(new)?;
    }
    match meta(new, "name") {
        "" => set_meta(new, "name", Some(meta(old, "name").into()))?,
        name if name == meta(old, "name") => {}
        name => {
            return Err(Error::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                meta(old, "name")
            )));
        }
    }
    check_namespace(write, new)?;
    match write.subresource.as_str() {
        "" if write.resource.kind.status => replace(new, old, "status")?,
        "status" => {
            let status = new.get_mut("status").map(Value::take);
            let managed = new.get_mut("metadata").and_then(|m| m.get_mut("managedFields")).map(Value::take);
            *new = old.clone();
            if let Some(object) = new.as_object_mut() {
                match status {
                    Some(status) if !status.is_null() => object.insert("status".to_owned(), status),
                    _ => object.remove("status"),
                };
            }
            if let Some(managed) = managed {
                set_meta(new, "managedFields", Some(managed))?;
            }
        }
        _ => {}
    }
    let before = old.get("metadata");
    let new_finalizer =
        deleting(old).then(|| finalizers(new).find(|f| !finalizers(old).any(|o| o == *f)).map(str::to_owned)).flatten();
    if let Some(finalizer) = new_finalizer {
        return Err(write.resource.invalid(
            meta(old, "name"),
            vec![Cause {
                reason: Reason::FieldValueForbidden,
                message: format!(
                    "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{finalizer:?}}}"
                ),
                field: "metadata.finalizers".to_owned(),
            }],
        ));
    }
    let metadata = metadata_mut(new)?;
    drop_empty(metadata);
    for field in SERVER_OWNED {
        match before.and_then(|m| m.get(field)) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
    // A client that does not know of ownership sends none; that does not give it up.
    if !metadata.contains_key("managedFields")
        && let Some(managed) = before.and_then(|m| m.get("managedFields"))
    {
        metadata.insert("managedFields".to_owned(), managed.clone());
    }
    metadata.remove("resourceVersion");
    Ok(())
}

fn replace(new: &mut Value, old: &Value, field: &str) -> Result<()> {
    let object = new.as_object_mut().ok_or_else(|| Error::bad_request("the object is not a JSON object"))?;
    match old.get(field) {
        Some(value) => object.insert(field.to_owned(), value.clone()),
        None => object.remove(field),
    };
    Ok(())
}

/// The next generation, if anything but metadata and status changed.
pub(super) fn count_generation(kind: &Kind, new: &mut Value, old: &Value) -> Result<()> {
    if !counts_generations(kind) {
        return Ok(());
    }
    let (Some(after), Some(before)) = (new.as_object(), old.as_object()) else { return Ok(()) };
    let relevant = |key: &&String| !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind");
    let changed = after.keys().chain(before.keys()).filter(relevant).any(|key| after.get(key) != before.get(key));
    if changed {
        bump_generation(new, old)?;
    }
    Ok(())
}

/// Raises `metadata.generation` by one.
pub(super) fn bump_generation(new: &mut Value, old: &Value) -> Result<()> {
    if let Some(generation) = old.pointer("/metadata/generation").and_then(Value::as_i64) {
        set_meta(new, "generation", Some(generation.saturating_add(1).into()))?;
    }
    Ok(())
}

/// Whether a write would change nothing: revision and the times of ownership records do not count.
pub(super) fn same(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return false };
    let rest = |object: &Map<String, Value>| object.len() - usize::from(object.contains_key("metadata"));
    if rest(new) != rest(old) || new.iter().any(|(key, value)| key != "metadata" && old.get(key) != Some(value)) {
        return false;
    }
    let metadata = |object: &Map<String, Value>| object.get("metadata").and_then(Value::as_object).cloned();
    // Ownership is compared apart from times, everything else as it stands.
    let (Some(mut new), Some(mut old)) = (metadata(new), metadata(old)) else { return false };
    for metadata in [&mut new, &mut old] {
        metadata.remove("resourceVersion");
        if let Some(Value::Array(managers)) = metadata.get_mut("managedFields") {
            for manager in managers.iter_mut().filter_map(Value::as_object_mut) {
                manager.remove("time");
            }
        }
    }
    new == old
}

/// Rules on metadata. Allocates only where there is something to report.
pub(super) fn validate(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let Some(metadata) = new.get("metadata").and_then(Value::as_object) else { return causes };
    let mut report = |reason, field: String, message: String| causes.push(Cause { reason, field, message });
    let invalid = |value: &str, why: &str| format!("Invalid value: {value:?}: {why}");

    if old.is_none() {
        let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
        if name == "." || name == ".." || name.contains(['/', '%']) || name.chars().any(char::is_control) {
            let why = "may not be '.', '..', or contain '/', '%' or control characters";
            report(Reason::FieldValueInvalid, "metadata.name".into(), invalid(name, why));
        } else if name.len() > 253 {
            let why = "must be no more than 253 bytes";
            report(Reason::FieldValueInvalid, "metadata.name".into(), invalid(name, why));
        }
    }
    let changed = |field: &str| old.and_then(|o| o.get("metadata")).and_then(|m| m.get(field)) != metadata.get(field);
    if changed("labels")
        && let Some(labels) = strings(metadata, "labels", &mut report)
    {
        for (key, value) in labels {
            if let Err(why) = names::qualified_name(key) {
                report(Reason::FieldValueInvalid, "metadata.labels".into(), invalid(key, &why));
            }
            if let Err(why) = value.as_str().map_or(Ok(()), names::label_value) {
                report(
                    Reason::FieldValueInvalid,
                    "metadata.labels".into(),
                    invalid(value.as_str().unwrap_or_default(), &why),
                );
            }
        }
    }
    if changed("annotations")
        && let Some(annotations) = strings(metadata, "annotations", &mut report)
    {
        let mut total = 0;
        for (key, value) in annotations {
            total += key.len() + value.as_str().map_or(0, str::len);
            // Keys of annotations may be written in capitals.
            if names::qualified_name(key).is_err()
                && let Err(why) = names::qualified_name(&key.to_lowercase())
            {
                report(Reason::FieldValueInvalid, "metadata.annotations".into(), invalid(key, &why));
            }
        }
        if total > MAX_ANNOTATIONS {
            report(
                Reason::FieldValueInvalid,
                "metadata.annotations".into(),
                format!("Too long: may not be more than {MAX_ANNOTATIONS} bytes"),
            );
        }
    }
    if changed("finalizers") {
        for (index, finalizer) in metadata.get("finalizers").and_then(Value::as_array).into_iter().flatten().enumerate()
        {
            let finalizer = finalizer.as_str().unwrap_or_default();
            if let Err(why) = names::qualified_name(finalizer) {
                report(Reason::FieldValueInvalid, format!("metadata.finalizers[{index}]"), invalid(finalizer, &why));
            }
        }
    }
    if changed("ownerReferences") {
        owners(metadata, &mut report);
    }
    causes
}

/// A map of strings; values of other types are reported.
fn strings<'a>(
    metadata: &'a Map<String, Value>,
    field: &str,
    report: &mut impl FnMut(Reason, String, String),
) -> Option<&'a Map<String, Value>> {
    match metadata.get(field)? {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(_, value)| !value.is_string()) {
                let message = format!("Invalid value: {value}: must be of type string");
                report(Reason::FieldValueTypeInvalid, format!("metadata.{field}.{key}"), message);
            }
            Some(map)
        }
        other => {
            report(
                Reason::FieldValueTypeInvalid,
                format!("metadata.{field}"),
                format!("Invalid value: {other}: must be of type object"),
            );
            None
        }
    }
}

fn owners(metadata: &Map<String, Value>, report: &mut impl FnMut(Reason, String, String)) {
    let mut controllers = 0;
    for (index, owner) in metadata.get("ownerReferences").and_then(Value::as_array).into_iter().flatten().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
                report(
                    Reason::FieldValueInvalid,
                    format!("metadata.ownerReferences[{index}].{field}"),
                    format!("Invalid value: \"\": {field} must not be empty"),
                );
            }
        }
        if owner.get("controller").and_then(Value::as_bool) == Some(true) {
            controllers += 1;
        }
    }
    if controllers > 1 {
        report(
            Reason::FieldValueInvalid,
            "metadata.ownerReferences".to_owned(),
            "Invalid value: Only one reference can have Controller set to true".to_owned(),
        );
    }
}
