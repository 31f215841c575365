//! `delete` and `deletecollection`: preconditions, grace, finalizers and propagation.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use lotse_store::{Error as StoreError, Expect};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Call, collection, metadata, view_metadata,
    write::{put, remove, store_error},
};
use crate::{
    body::{self, Format},
    deletion::{held, lifecycle},
    object::{self, deleting, finalizers, meta, set_meta},
    registry::Resource,
    request::Query,
    server::Server,
    status::{self, Error, Result},
};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What happens to the objects that a deleted object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Propagation {
    /// They stay.
    Orphan,
    /// They go afterwards.
    Background,
    /// They go first.
    Foreground,
}

/// `DeleteOptions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeleteOptions {
    /// Seconds; 0 means at once.
    pub(crate) grace_period_seconds: Option<i64>,
    /// What happens to dependents.
    pub(crate) propagation_policy: Option<Propagation>,
    /// The older form of `propagationPolicy`.
    pub(crate) orphan_dependents: Option<bool>,
    /// What must hold.
    pub(crate) preconditions: Option<Preconditions>,
    /// `All` to do everything but delete.
    pub(crate) dry_run: Option<Vec<String>>,
}

/// What must hold for a delete.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Preconditions {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

/// The outcome.
pub(crate) enum Deleted {
    /// It is gone; its final state.
    Gone(Value),
    /// It is marked and goes once its agent or its finalizers let it.
    Going(Value),
}

impl DeleteOptions {
    /// Reads the body, then the query, which wins nothing over the body.
    pub(crate) fn parse(bytes: &[u8], content_type: &str, query: &Query) -> Result<Self> {
        let mut options = if bytes.is_empty() {
            Self::default()
        } else {
            let value = body::decode(bytes, Format::of(Some(content_type))?)?.value;
            serde_json::from_value(value)
                .map_err(|error| Error::bad_request(format!("DeleteOptions cannot be read: {error}")))?
        };
        if options.grace_period_seconds.is_none() {
            options.grace_period_seconds = query.number("gracePeriodSeconds")?;
        }
        if options.propagation_policy.is_none()
            && let Some(policy) = query.get("propagationPolicy")
        {
            options.propagation_policy = Some(match policy {
                "Orphan" => Propagation::Orphan,
                "Background" => Propagation::Background,
                "Foreground" => Propagation::Foreground,
                other => return Err(Error::bad_request(format!("propagationPolicy: Unsupported value: {other:?}"))),
            });
        }
        if options.orphan_dependents.is_none() && query.has("orphanDependents") {
            options.orphan_dependents = Some(query.flag("orphanDependents")?);
        }
        if query.dry_run()? {
            options.dry_run = Some(vec!["All".to_owned()]);
        }
        if options.grace_period_seconds.is_some_and(|grace| grace < 0) {
            return Err(Error::bad_request("gracePeriodSeconds: Invalid value: must be greater than or equal to 0"));
        }
        Ok(options)
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run.as_ref().is_some_and(|list| !list.is_empty())
    }

    /// The finalizers that the policy asks for.
    fn finalizers(&self, object: &Value) -> Vec<String> {
        let policy = self.propagation_policy.or(match self.orphan_dependents {
            Some(true) => Some(Propagation::Orphan),
            Some(false) => Some(Propagation::Background),
            None => None,
        });
        let mut list: Vec<String> = finalizers(object).map(str::to_owned).collect();
        if let Some(policy) = policy {
            list.retain(|f| f != ORPHAN && f != FOREGROUND);
            match policy {
                Propagation::Orphan => list.push(ORPHAN.to_owned()),
                Propagation::Foreground => list.push(FOREGROUND.to_owned()),
                Propagation::Background => {}
            }
        }
        list
    }
}

/// Deletes one object, as far as it can be deleted now.
pub(crate) async fn delete_one(
    server: &Server,
    resource: &Resource,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted> {
    let key = resource.key(namespace, name);
    let lifecycle = lifecycle(resource);
    loop {
        let entry = server.store.get(&key).ok_or_else(|| resource.not_found(name))?;
        let old = object::parse(&entry.value)?;
        if let Some(preconditions) = &options.preconditions {
            let check = |what: &str, wanted: &Option<String>, actual: &str| match wanted {
                Some(wanted) if wanted != actual => Err(resource.conflict(
                    name,
                    format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {actual}"),
                )),
                _ => Ok(()),
            };
            check("UID", &preconditions.uid, meta(&old, "uid"))?;
            check("ResourceVersion", &preconditions.resource_version, meta(&old, "resourceVersion"))?;
        }
        let mut new = old.clone();
        let wanted = options.finalizers(&old);
        set_meta(&mut new, "finalizers", (!wanted.is_empty()).then(|| wanted.into()))?;
        let grace = lifecycle.grace.map_or(0, |grace| grace(&old, options.grace_period_seconds));
        let now = Timestamp::now();
        let outcome = if grace == 0 && !held(resource, &new) {
            if options.is_dry_run() {
                return Ok(Deleted::Gone(new));
            }
            remove(server, key.clone(), Expect::Revision(entry.revision), &new).await.map(|_| Deleted::Gone(new))
        } else {
            // A second delete may shorten the grace, never lengthen it.
            let previous = old.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
            let shorter = previous.is_none_or(|previous| grace < previous);
            if !deleting(&old) || shorter {
                let grace = if deleting(&old) { grace.min(previous.unwrap_or(grace)) } else { grace };
                let when = now.saturating_add(SignedDuration::from_secs(grace)).unwrap_or(now);
                set_meta(&mut new, "deletionTimestamp", Some(object::timestamp(when).into()))?;
                set_meta(&mut new, "deletionGracePeriodSeconds", Some(grace.into()))?;
                metadata::bump_generation(&mut new, &old)?;
                (lifecycle.mark)(&mut new);
            }
            if new == old || options.is_dry_run() {
                return Ok(Deleted::Going(new));
            }
            match put(server, key.clone(), Expect::Revision(entry.revision), &new).await {
                Ok(entry) => Ok(Deleted::Going(object::parse(&entry.value)?)),
                Err(error) => Err(error),
            }
        };
        match outcome {
            Ok(deleted) => return Ok(deleted),
            // Preconditions are checked again against the newer state.
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(store_error(error)),
        }
    }
}

/// `DELETE` of an object.
pub(super) async fn delete(server: &Arc<Server>, call: &mut Call) -> Result<Response> {
    let bytes = call.body(server).await?;
    let options = DeleteOptions::parse(&bytes, call.content_type(), &call.query)?;
    let resource = call.resource.clone();
    let target = &call.target;
    crate::admission::admit_delete(&resource, &target.name)?;
    let accept = call.accept()?;
    match delete_one(server, &resource, &target.namespace, &target.name, &options).await? {
        Deleted::Gone(object) => {
            let kind = &resource.kind;
            let status = status::success(&kind.group, &kind.plural, &target.name, meta(&object, "uid"));
            accept.value(StatusCode::OK, &status)
        }
        Deleted::Going(mut object) => {
            let _ = resource.kind.from_stored(&mut object);
            accept.value(StatusCode::OK, &object)
        }
    }
}

/// `DELETE` of a collection: every selected object, as one by one.
pub(super) async fn delete_collection(server: &Arc<Server>, call: &mut Call) -> Result<Response> {
    let bytes = call.body(server).await?;
    let options = DeleteOptions::parse(&bytes, call.content_type(), &call.query)?;
    let selection = collection::selection(call)?;
    let page = collection::page(server, call, &selection)?;
    let resource = call.resource.clone();
    let mut items = Vec::with_capacity(page.entries.len());
    for entry in &page.entries {
        let object = view_metadata(&resource, &entry.value)?;
        let name = meta(&object, "name");
        crate::admission::admit_delete(&resource, name)?;
        match delete_one(server, &resource, meta(&object, "namespace"), name, &options).await {
            Ok(Deleted::Gone(object) | Deleted::Going(object)) => items.push(object),
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    for item in &mut items {
        let _ = resource.kind.from_stored(item);
    }
    let list = json!({
        "kind": resource.kind.list_kind, "apiVersion": resource.api_version,
        "metadata": {"resourceVersion": server.store.revision().to_string()}, "items": items,
    });
    call.accept()?.value(StatusCode::OK, &list)
}
