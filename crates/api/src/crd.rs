//! CustomResourceDefinitions become kinds: a level-triggered loop over the stored definitions.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use lotse_kinds::Kind;
use lotse_store::{Error as StoreError, Expect, ListOptions};
use serde_json::{Value, json};

use crate::{
    handlers::{self, DeleteOptions},
    object::{self, deleting, finalizers, meta, set_meta},
    projection::objects,
    registry::{Registry, prefix},
    server::Server,
    status::Error,
};

const GROUP: &str = "apiextensions.k8s.io";
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

fn definitions() -> String {
    prefix(GROUP, "customresourcedefinitions")
}

/// Makes the registry anew from the built-in rows and the stored definitions.
pub(crate) fn refresh(server: &Server) {
    let builtin = lotse_kinds::builtin();
    let mut kinds: Vec<Arc<Kind>> = builtin.to_vec();
    for definition in objects(&*server.store, &definitions()) {
        match lotse_kinds::from_crd(&definition) {
            Ok(custom) => {
                // A definition cannot take the place of what is there.
                let free = custom
                    .iter()
                    .all(|new| !kinds.iter().any(|old| old.group == new.group && old.plural == new.plural));
                if free {
                    kinds.extend(custom.into_iter().map(Arc::new));
                }
            }
            Err(causes) => {
                tracing::warn!(name = meta(&definition, "name"), ?causes, "a stored definition is not served")
            }
        }
    }
    server.registry.set(Registry::new(kinds));
    server.openapi.forget();
}

/// Brings status, finalizer and clean-up of every definition in step, as often as definitions change.
pub(crate) fn start(server: &Arc<Server>) {
    let server = server.clone();
    tokio::spawn(async move {
        let prefix = definitions();
        loop {
            let seen = server.store.revision();
            refresh(&server);
            let mut again = false;
            for definition in objects(&*server.store, &prefix) {
                if let Err(error) = reconcile(&server, &definition).await {
                    tracing::warn!(name = meta(&definition, "name"), %error, "a definition is not settled yet");
                    again = true;
                }
            }
            let Ok(mut watch) = server.store.watch(&prefix, seen) else { continue };
            let change = async {
                if watch.next().await.is_err() {
                    // The history window moved on; the next round reads everything anyway.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            };
            tokio::select! {
                () = server.shutdown.cancelled() => return,
                () = change => {}
                () = tokio::time::sleep(Duration::from_secs(2)), if again => {}
            }
        }
    });
}

/// One step towards the wished state of a definition.
async fn reconcile(server: &Arc<Server>, definition: &Value) -> Result<(), Error> {
    if deleting(definition) {
        if finalizers(definition).any(|f| f == FINALIZER) {
            remove_instances(server, definition).await?;
            return change(server, definition, |new| {
                let rest: Vec<Value> = finalizers(new).filter(|f| *f != FINALIZER).map(Value::from).collect();
                set_meta(new, "finalizers", (!rest.is_empty()).then(|| rest.into()))
            })
            .await;
        }
        return Ok(());
    }
    let accepted = lotse_kinds::from_crd(definition);
    let registry = server.registry.get();
    let served = accepted.as_ref().is_ok_and(|kinds| {
        kinds.iter().all(|k| {
            registry.find(&k.group, &k.version, &k.plural).is_ok_and(|r| r.kind.custom && r.kind.kind == k.kind)
        })
    });
    let (names_reason, names_message) = if served {
        ("NoConflicts", "no conflicts found".to_owned())
    } else {
        match &accepted {
            Ok(_) => ("NamesConflict", "the names are in use by another kind".to_owned()),
            Err(causes) => {
                let text = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect::<Vec<_>>().join("; ");
                ("Invalid", text)
            }
        }
    };
    let ready = if served { "True" } else { "False" };
    let (reason, message) = if served {
        ("InitialNamesAccepted", "the initial names have been accepted")
    } else {
        ("NotAccepted", "not all names are accepted")
    };
    change(server, definition, |new| {
        let mut names = new.pointer("/spec/names").cloned().unwrap_or_default();
        if let Some(names) = names.as_object_mut() {
            let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
            names.entry("singular").or_insert_with(|| kind.to_lowercase().into());
            names.entry("listKind").or_insert_with(|| format!("{kind}List").into());
        }
        let stored: Vec<Value> = new
            .pointer("/spec/versions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter(|v| v.get("storage").and_then(Value::as_bool) == Some(true))
            .filter_map(|v| v.get("name").cloned())
            .collect();
        let mut conditions = new.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        set_condition(&mut conditions, "NamesAccepted", ready, names_reason, &names_message);
        set_condition(&mut conditions, "Established", ready, reason, message);
        let mut versions = new.pointer("/status/storedVersions").and_then(Value::as_array).cloned().unwrap_or_default();
        versions.extend(stored.into_iter().filter(|v| !versions.contains(v)).collect::<Vec<_>>());
        let status = json!({"acceptedNames": names, "conditions": conditions, "storedVersions": versions});
        if let Some(object) = new.as_object_mut() {
            object.insert("status".to_owned(), status);
        }
        if !finalizers(new).any(|f| f == FINALIZER) {
            let all: Vec<Value> = finalizers(new).chain([FINALIZER]).map(Value::from).collect();
            set_meta(new, "finalizers", Some(all.into()))?;
        }
        Ok(())
    })
    .await
}

fn set_condition(conditions: &mut Vec<Value>, kind: &str, status: &str, reason: &str, message: &str) {
    let same = |c: &Value, field: &str, value: &str| c.get(field).and_then(Value::as_str) == Some(value);
    let old = conditions.iter().position(|c| same(c, "type", kind));
    let unchanged = old.and_then(|i| conditions.get(i)).filter(|c| same(c, "status", status));
    let since = unchanged.and_then(|c| c.get("lastTransitionTime").cloned());
    let since = since.unwrap_or_else(|| object::timestamp(Timestamp::now()).into());
    let condition =
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since});
    match old.and_then(|i| conditions.get_mut(i)) {
        Some(slot) => *slot = condition,
        None => conditions.push(condition),
    }
}

/// Stores a change of a definition, if it is one; somebody else's write in between is met by the next round.
async fn change(
    server: &Server,
    definition: &Value,
    edit: impl FnOnce(&mut Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut new = definition.clone();
    edit(&mut new)?;
    if new == *definition {
        return Ok(());
    }
    let key = format!("{}{}", definitions(), meta(definition, "name"));
    let Ok(revision) = meta(definition, "resourceVersion").parse() else { return Ok(()) };
    let expect = Expect::Revision(revision);
    let gone = deleting(&new) && finalizers(&new).next().is_none();
    let outcome = if gone {
        handlers::remove(server, key, expect, &new).await
    } else {
        handlers::put(server, key, expect, &new).await
    };
    match outcome {
        Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(handlers::store_error(error)),
    }
}

/// Deletes every object of a definition that goes; an error as long as some are left.
async fn remove_instances(server: &Arc<Server>, definition: &Value) -> Result<(), Error> {
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let registry = server.registry.get();
    let Some(resource) = registry.preferred(text("/spec/group"), text("/spec/names/plural")).filter(|r| r.kind.custom)
    else {
        return Ok(());
    };
    let prefix = resource.scope("");
    let list = server.store.list(&prefix, ListOptions::default()).map_err(handlers::store_error)?;
    for entry in list.entries {
        let object = object::parse(&entry.value)?;
        let outcome = handlers::delete_one(
            server,
            resource,
            meta(&object, "namespace"),
            meta(&object, "name"),
            &DeleteOptions::default(),
        )
        .await;
        match outcome {
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    match server.store.count(&prefix) {
        0 => Ok(()),
        left => {
            Err(Error::Unavailable(format!("{left} objects of {} wait for their finalizers", meta(definition, "name"))))
        }
    }
}
