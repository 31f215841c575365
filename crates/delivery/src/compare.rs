//! Desired against live, object by object.
//!
//! An object is in sync when applying it would change nothing: the API server itself answers that, by a dry run of the very
//! server-side apply that a sync would do. Defaults, admission and ownership are then right by construction.

use std::collections::HashMap;

use kube::api::{DynamicObject, GroupVersionKind, Patch, PatchParams};
use lotse_client::Key;
use lotse_render::Manifest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    Error,
    application::{ApplicationSpec, TRACKING_ID},
    health::{self, Verdict},
    live::{Live, ObjectId, ServedKind, tracking_id},
};

/// The field manager of everything that delivery applies.
pub(crate) const FIELD_MANAGER: &str = "argocd-controller";

/// A desired object, ready to be applied.
#[derive(Clone, Debug)]
pub(crate) struct Desired {
    /// Identity.
    pub(crate) id: ObjectId,
    /// API version and kind.
    pub(crate) gvk: GroupVersionKind,
    /// How the cluster serves the kind; `None` when it does not (yet).
    pub(crate) served: Option<ServedKind>,
    /// The kind is not served yet, and its definition is part of the same repository.
    pub(crate) defined_here: bool,
    /// With namespace and tracking annotation.
    pub(crate) object: Value,
    /// File and position, for messages; empty where there is no one file.
    pub(crate) origin: String,
    hash: [u8; 32],
}

// === impl Desired ===

impl Desired {
    /// A message with the file that the object is from, where one is known: Kustomize makes objects of many.
    pub(crate) fn told(&self, message: &str) -> String {
        if self.origin.is_empty() { message.to_owned() } else { format!("{message} ({})", self.origin) }
    }
}

/// The outcome for one desired object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Compared {
    /// Applying would change nothing.
    pub(crate) in_sync: bool,
    /// It exists.
    pub(crate) exists: bool,
    /// Health, for kinds that have one; missing objects are `Missing`.
    pub(crate) health: Option<Verdict>,
    /// Another Application's mark is on it.
    pub(crate) other_owner: Option<Key>,
}

/// Results that stay valid while neither side changes.
#[derive(Default)]
pub(crate) struct Cache {
    entries: HashMap<(Key, ObjectId), (String, [u8; 32], Compared)>,
}

// === impl Cache ===

impl Cache {
    /// Forgets an Application.
    pub(crate) fn forget(&mut self, application: &Key) {
        self.entries.retain(|(of, _), _| of != application);
    }

    fn get(&self, application: &Key, desired: &Desired, resource_version: &str) -> Option<Compared> {
        let (version, hash, compared) = self.entries.get(&(application.clone(), desired.id.clone()))?;
        (version == resource_version && *hash == desired.hash).then(|| compared.clone())
    }

    /// Remembers a result for the live revision that it was made from.
    pub(crate) fn put(&mut self, application: &Key, desired: &Desired, resource_version: String, compared: Compared) {
        self.entries.insert((application.clone(), desired.id.clone()), (resource_version, desired.hash, compared));
    }

    /// The remembered result, if the object has not changed since.
    pub(crate) fn current(&self, application: &Key, desired: &Desired, live: &Live) -> Option<Compared> {
        let tracked = live.tracked(&desired.id).filter(|tracked| tracked.application == *application)?;
        self.get(application, desired, &tracked.resource_version)
    }
}

/// Completes rendered manifests: scope, namespace, tracking annotation. Two manifests for one object are an error.
pub(crate) async fn desired(
    live: &Live,
    application: &Key,
    spec: &ApplicationSpec,
    manifests: &[Manifest],
) -> Result<Vec<Desired>, Error> {
    let mut found: Vec<Desired> = Vec::with_capacity(manifests.len());
    let mut seen: HashMap<ObjectId, String> = HashMap::new();
    for manifest in manifests {
        let gvk = gvk(&manifest.object);
        let served = live.kind(&gvk).await.map_err(|error| Error::api(format!("discovery of {}", gvk.kind), error))?;
        let from_definitions = match served {
            Some(_) => None,
            None => scope_from_definitions(manifests, &gvk),
        };
        // Whoever knows neither takes the object for what its manifest looks like; the sync will refuse it by name.
        let looks_namespaced = || {
            let own = manifest.object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
            !own.is_empty() || !spec.destination.namespace.is_empty()
        };
        let namespaced =
            served.as_ref().map(|served| served.namespaced).or(from_definitions).unwrap_or_else(looks_namespaced);
        let mut object = manifest.object.clone();
        let namespace = complete(&mut object, namespaced, &spec.destination.namespace)?;
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let id = ObjectId { group: gvk.group.clone(), kind: gvk.kind.clone(), namespace, name };
        set_annotation(&mut object, TRACKING_ID, &tracking_id(application, &id));
        let origin = manifest.path.clone();
        if let Some(first) = seen.insert(id.clone(), origin.clone()) {
            let message = format!("{} {} stands in {first} and again in {origin}", id.kind, id.name);
            return Err(Error::InvalidSpec { field: "repository", message });
        }
        let hash = Sha256::digest(object.to_string().as_bytes()).into();
        found.push(Desired { id, gvk, served, defined_here: from_definitions.is_some(), object, origin, hash });
    }
    Ok(found)
}

/// Group, version and kind of an object.
pub(crate) fn gvk(object: &Value) -> GroupVersionKind {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap_or_default())
}

/// Whether a kind that the cluster does not know yet is namespaced, from a definition among the manifests.
fn scope_from_definitions(manifests: &[Manifest], gvk: &GroupVersionKind) -> Option<bool> {
    manifests.iter().map(|manifest| &manifest.object).find_map(|object| {
        let matches = object["kind"] == "CustomResourceDefinition"
            && object.pointer("/spec/group").and_then(Value::as_str) == Some(&gvk.group)
            && object.pointer("/spec/names/kind").and_then(Value::as_str) == Some(&gvk.kind);
        matches.then(|| object.pointer("/spec/scope").and_then(Value::as_str) != Some("Cluster"))
    })
}

/// Sets or removes the namespace and returns it.
fn complete(object: &mut Value, namespaced: bool, default: &str) -> Result<String, Error> {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return Ok(String::new()) };
    // Fields that the server owns have no place in a repository, but exported manifests carry them.
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"] {
        metadata.remove(field);
    }
    if !namespaced {
        metadata.remove("namespace");
        return Ok(String::new());
    }
    let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    let namespace = if given.is_empty() { default } else { given }.to_owned();
    if namespace.is_empty() {
        let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
        return Err(Error::InvalidSpec {
            field: "spec.destination.namespace",
            message: format!("is empty, and {name} names no namespace of its own: set one of them"),
        });
    }
    metadata.insert("namespace".to_owned(), Value::String(namespace.clone()));
    Ok(namespace)
}

fn set_annotation(object: &mut Value, name: &str, value: &str) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[name] = Value::String(value.to_owned());
}

/// Compares one object, asking the API server.
pub(crate) async fn compare(
    live: &Live,
    application: &Key,
    spec: &ApplicationSpec,
    desired: &Desired,
) -> Result<(String, Compared), Error> {
    let missing = || {
        let health = Verdict { status: health::HealthStatus::Missing, message: String::new() };
        (String::new(), Compared { in_sync: false, exists: false, health: Some(health), other_owner: None })
    };
    let Some(served) = &desired.served else { return Ok(missing()) };
    let api = live.api(served, &desired.id.namespace);
    let action = || format!("{} {}", desired.id.kind, desired.id.name);
    let current = match api.get_opt(&desired.id.name).await {
        Ok(Some(current)) => current,
        Ok(None) => return Ok(missing()),
        Err(error) => return Err(Error::api(action(), error)),
    };
    let resource_version = current.metadata.resource_version.clone().unwrap_or_default();
    let current = to_value(current);
    let health = health::health(&current);
    let other_owner = live.tracked(&desired.id).map(|tracked| tracked.application).filter(|owner| owner != application);
    let parameters = PatchParams::apply(FIELD_MANAGER).force().dry_run();
    let in_sync = match api.patch(&desired.id.name, &parameters, &Patch::Apply(&desired.object)).await {
        Ok(applied) => same(&current, &to_value(applied), spec, &desired.id),
        // What cannot be applied is certainly not in sync; the sync itself will show why.
        Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => false,
        Err(error) => return Err(Error::api(action(), error)),
    };
    Ok((resource_version, Compared { in_sync, exists: true, health, other_owner }))
}

pub(crate) fn to_value(object: DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// Whether two states of an object are the same as far as the Application cares.
fn same(current: &Value, applied: &Value, spec: &ApplicationSpec, id: &ObjectId) -> bool {
    reduced(current, spec, id) == reduced(applied, spec, id)
}

/// An object without what the server keeps about writes and without what the Application ignores.
pub(crate) fn reduced(object: &Value, spec: &ApplicationSpec, id: &ObjectId) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["managedFields", "resourceVersion", "generation"] {
            metadata.remove(field);
        }
    }
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    for ignored in &spec.ignore_differences {
        let applies = matches_or_any(&ignored.group, &id.group)
            && matches_or_any(&ignored.kind, &id.kind)
            && (ignored.name.is_empty() || ignored.name == id.name)
            && (ignored.namespace.is_empty() || ignored.namespace == id.namespace);
        if applies {
            ignored.json_pointers.iter().for_each(|pointer| remove(&mut object, pointer));
        }
    }
    object
}

fn matches_or_any(pattern: &str, value: &str) -> bool {
    pattern == "*" || pattern == value
}

/// Removes what a JSON pointer points at; nothing when it points nowhere.
fn remove(object: &mut Value, pointer: &str) {
    let Some((parent, last)) = pointer.rsplit_once('/') else { return };
    let last = last.replace("~1", "/").replace("~0", "~");
    match object.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.remove(&last);
        }
        Some(Value::Array(items)) => {
            if let Ok(index) = last.parse::<usize>()
                && index < items.len()
            {
                items.remove(index);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::application::IgnoreDifference;

    #[test]
    fn bookkeeping_and_ignored_fields_are_no_difference() {
        let id = ObjectId { group: "apps".into(), kind: "Deployment".into(), namespace: "n".into(), name: "d".into() };
        let current = json!({"metadata": {"name": "d", "resourceVersion": "1", "generation": 1}, "spec": {"replicas": 5, "a": [1, 2]}, "status": {"x": 1}});
        let mut applied = current.clone();
        applied["metadata"]["resourceVersion"] = json!("2");
        applied["metadata"]["managedFields"] = json!([]);
        applied["status"] = json!({});
        let mut spec = ApplicationSpec::default();
        assert!(same(&current, &applied, &spec, &id));
        applied["spec"]["replicas"] = json!(2);
        assert!(!same(&current, &applied, &spec, &id));
        spec.ignore_differences.push(IgnoreDifference {
            group: "apps".into(),
            kind: "Deployment".into(),
            json_pointers: vec!["/spec/replicas".into(), "/no/such".into()],
            ..IgnoreDifference::default()
        });
        assert!(same(&current, &applied, &spec, &id));
    }

    #[test]
    fn namespaces_are_completed_by_scope() {
        let mut object = json!({"metadata": {"name": "x", "uid": "1"}});
        assert_eq!(complete(&mut object, true, "team").unwrap(), "team");
        assert_eq!(object, json!({"metadata": {"name": "x", "namespace": "team"}}));
        assert_eq!(complete(&mut object, true, "other").unwrap(), "team");
        assert_eq!(complete(&mut object, false, "team").unwrap(), "");
        assert_eq!(object, json!({"metadata": {"name": "x"}}));
        assert!(complete(&mut object, true, "").is_err());
    }
}
