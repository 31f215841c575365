//! `patch`: JSON patch, merge patch, strategic merge patch, and server-side apply.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use lotse_schema::{
    Cause, Reason,
    apply::{ApplyError, apply},
    patch::{PatchError, json_patch, merge_patch, strategic_merge},
};
use serde_json::Value;

use super::{Call, Change, Write, object_response, with_warnings};
use crate::{
    body::{self, Format},
    object::{meta, set_meta},
    server::Server,
    status::{Error, Result},
};

const MEDIA_TYPES: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
                           application/apply-patch+yaml";

/// How the body changes the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Lists are merged by key.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchType {
    /// Reads the `Content-Type`.
    pub(crate) fn of(content_type: &str) -> Result<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/apply-patch+yaml" | "application/apply-patch+json" => Ok(Self::Apply),
            _ => Err(Error::UnsupportedMediaType(MEDIA_TYPES)),
        }
    }

    /// Decodes the patch.
    pub(crate) fn decode(self, bytes: &[u8]) -> Result<Value> {
        let format = if self == Self::Apply { Format::Yaml } else { Format::Json };
        Ok(body::decode(bytes, format)?.value)
    }

    /// Applies a patch other than an apply to a copy of the object.
    pub(crate) fn patched(self, old: &Value, patch: &Value, write: &Write) -> Result<Value> {
        let mut new = old.clone();
        let refused = |error: PatchError| match error {
            PatchError::Malformed(message) => Error::bad_request(message),
            other => Error::Invalid {
                group: write.resource.kind.group.to_string(),
                kind: write.resource.kind.kind.to_string(),
                name: meta(old, "name").to_owned(),
                causes: vec![Cause {
                    reason: Reason::FieldValueInvalid,
                    message: other.to_string(),
                    field: "patch".to_owned(),
                }],
            },
        };
        match self {
            Self::Json => json_patch(&mut new, patch).map_err(refused)?,
            Self::Merge => merge_patch(&mut new, patch),
            Self::Strategic => strategic_merge(&mut new, patch, &(write.resource.kind.schema)()).map_err(refused)?,
            Self::Apply => return Err(Error::bad_request("an apply is not a patch")),
        }
        // The revision stands in the object for patches that test or replace it. One that is as it was pins nothing: after a
        // write in between, the patch is done again with the newer object, and then one that names a revision is refused.
        if meta(&new, "resourceVersion") == meta(old, "resourceVersion") {
            set_meta(&mut new, "resourceVersion", None)?;
        }
        Ok(new)
    }
}

/// `PATCH` of an object or its status.
pub(crate) async fn patch(server: &Arc<Server>, call: &mut Call) -> Result<Response> {
    let kind = PatchType::of(call.content_type())?;
    if kind == PatchType::Strategic && call.resource.kind.custom {
        return Err(Error::UnsupportedMediaType(
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        ));
    }
    let mut write = Write::new(call)?;
    let force = call.query.flag("force")?;
    let name = call.target.name.clone();
    let bytes = call.body(server).await?;
    if kind == PatchType::Apply {
        if call.query.get("fieldManager").is_none() {
            return Err(options_error(
                "fieldManager",
                Reason::FieldValueRequired,
                "Required value: is required for apply patch",
            ));
        }
        return apply_patch(server, call, &mut write, &name, &bytes, force).await;
    }
    if call.query.has("force") {
        return Err(options_error(
            "force",
            Reason::FieldValueForbidden,
            "Forbidden: may not be specified for non-apply patch",
        ));
    }
    let patch = kind.decode(&bytes)?;
    let written =
        write.modify(server, &name, |write, old| Ok(Change::Update(kind.patched(old, &patch, write)?))).await?;
    Ok(with_warnings(object_response(call, StatusCode::OK, written.bytes)?, &write.warnings))
}

fn options_error(field: &str, reason: Reason, message: &str) -> Error {
    Error::Invalid {
        group: "meta.k8s.io".to_owned(),
        kind: "PatchOptions".to_owned(),
        name: String::new(),
        causes: vec![Cause { reason, message: message.to_owned(), field: field.to_owned() }],
    }
}

async fn apply_patch(
    server: &Arc<Server>,
    call: &Call,
    write: &mut Write,
    name: &str,
    bytes: &[u8],
    force: bool,
) -> Result<Response> {
    let mut config = write.decode(bytes, Format::Yaml)?;
    let warnings = std::mem::take(&mut write.warnings);
    if config.get("metadata").and_then(|m| m.get("managedFields")).is_some_and(|m| !m.is_null()) {
        return Err(Error::bad_request("metadata.managedFields must be nil"));
    }
    match meta(&config, "name") {
        "" => set_meta(&mut config, "name", Some(name.into()))?,
        other if other != name => {
            return Err(Error::bad_request(format!(
                "the name of the object ({other}) does not match the name on the URL ({name})"
            )));
        }
        _ => {}
    }
    let schema = (call.resource.kind.schema)();
    let written = loop {
        let key = call.resource.key(&call.target.namespace, name);
        if server.store.get(&key).is_none() {
            if !call.target.subresource.is_empty() {
                return Err(call.resource.not_found(name));
            }
            if !meta(&config, "uid").is_empty() {
                return Err(call.resource.conflict(name, "uid mismatch: the object does not exist"));
            }
            let new = apply(None, &config, &write.manager(), force, &schema).map_err(|e| apply_error(call, name, e))?;
            match write.create(server, new, true).await {
                // Somebody was faster: then this is an apply to the existing object.
                Err(Error::AlreadyExists { .. }) => continue,
                written => break written?,
            }
        }
        let outcome = write
            .modify(server, name, |write, old| {
                let mut new = apply(Some(old), &config, &write.manager(), force, &schema)
                    .map_err(|e| apply_error(call, name, e))?;
                if meta(&config, "resourceVersion").is_empty() {
                    set_meta(&mut new, "resourceVersion", None)?;
                }
                Ok(Change::Applied(new))
            })
            .await;
        match outcome {
            // Deleted between the look and the write.
            Err(Error::NotFound { .. }) if call.target.subresource.is_empty() => continue,
            written => break written?,
        }
    };
    write.warnings.extend(warnings);
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(with_warnings(object_response(call, code, written.bytes)?, &write.warnings))
}

fn apply_error(call: &Call, name: &str, error: ApplyError) -> Error {
    let message = error.to_string();
    match error {
        ApplyError::Conflicts(conflicts) => {
            let causes: Vec<Cause> = conflicts
                .into_iter()
                .map(|conflict| Cause {
                    reason: Reason::FieldManagerConflict,
                    message: conflict.message.split(": ").next().unwrap_or_default().to_owned(),
                    field: conflict.field,
                })
                .collect();
            let plural = if causes.len() == 1 { "conflict" } else { "conflicts" };
            let list = match causes.as_slice() {
                [one] => format!("{}: {}", one.message, one.field),
                many => many.iter().map(|c| format!("\n- {}: {}", c.message, c.field)).collect(),
            };
            Error::ApplyConflict {
                message: format!("Apply failed with {} {plural}: {}", causes.len(), list.trim_start_matches('\n')),
                causes,
            }
        }
        ApplyError::Invalid(causes) => call.resource.invalid(name, causes),
        #[allow(unreachable_patterns, reason = "further reasons are for the schema crate to add")]
        _ => Error::bad_request(message),
    }
}
