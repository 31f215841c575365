//! `serviceaccounts/token`: bound tokens on request.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    authn::token::{Reference, Subject},
    body::{self, Format},
    handlers::Call,
    object::{self, meta},
    registry::prefix,
    request::Verb,
    server::Server,
    status::{Error, Result},
};

const DEFAULT_LIFETIME: i64 = 3600;
const MINIMUM_LIFETIME: i64 = 600;
const MAXIMUM_LIFETIME: i64 = 24 * 3600;

/// Makes a token.
pub(super) async fn request(server: Arc<Server>, mut call: Call) -> Result<Response> {
    if call.target.verb != Verb::Create {
        return Err(Error::MethodNotAllowed);
    }
    let format = Format::of(Some(call.content_type()))?;
    let bytes = call.body(&server).await?;
    let mut request = if bytes.is_empty() { json!({}) } else { body::decode(&bytes, format)?.value };
    let (namespace, name) = (call.target.namespace.clone(), call.target.name.clone());
    let entry =
        server.store.get(&call.resource.key(&namespace, &name)).ok_or_else(|| call.resource.not_found(&name))?;
    let account = object::parse(&entry.value)?;

    let audiences: Vec<String> = request
        .pointer("/spec/audiences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let audiences =
        if audiences.is_empty() { server.tokens.own_audiences().map(str::to_owned).to_vec() } else { audiences };
    let lifetime = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64).unwrap_or(DEFAULT_LIFETIME);
    if lifetime < MINIMUM_LIFETIME {
        return Err(Error::Invalid {
            group: "authentication.k8s.io".to_owned(),
            kind: "TokenRequest".to_owned(),
            name,
            causes: vec![lotse_schema::Cause {
                reason: lotse_schema::Reason::FieldValueInvalid,
                message: format!("Invalid value: {lifetime}: may not specify a duration less than 10 minutes"),
                field: "spec.expirationSeconds".to_owned(),
            }],
        });
    }
    let lifetime = lifetime.min(MAXIMUM_LIFETIME);
    let bound = match request.pointer("/spec/boundObjectRef").filter(|r| r.is_object()) {
        None => None,
        Some(reference) => Some(bound(&server, &namespace, reference)?),
    };
    let subject = Subject {
        namespace: namespace.clone(),
        account: Reference { name: name.clone(), uid: meta(&account, "uid").to_owned() },
        bound,
        audiences: audiences.clone(),
        lifetime,
    };
    let (token, end) = server.tokens.issue(&subject)?;
    if let Some(object) = request.as_object_mut() {
        object.insert("kind".to_owned(), "TokenRequest".into());
        object.insert("apiVersion".to_owned(), "authentication.k8s.io/v1".into());
        object.insert("metadata".to_owned(), json!({"name": name, "namespace": namespace, "creationTimestamp": object::timestamp(jiff::Timestamp::now())}));
        let spec = object.entry("spec").or_insert_with(|| json!({}));
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("audiences".to_owned(), audiences.into());
            spec.insert("expirationSeconds".to_owned(), lifetime.into());
        }
        object.insert("status".to_owned(), json!({"token": token, "expirationTimestamp": object::timestamp(end)}));
    }
    call.accept()?.value(StatusCode::CREATED, &request)
}

/// What the token is to be bound to: it must exist and be what the caller means.
fn bound(server: &Server, namespace: &str, reference: &Value) -> Result<(String, Reference)> {
    let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = text("kind");
    let (resource, scope) = match kind.as_str() {
        "Pod" => ("pods", format!("{namespace}/")),
        "Secret" => ("secrets", format!("{namespace}/")),
        "Node" => ("nodes", String::new()),
        other => return Err(Error::bad_request(format!("cannot bind token for object of type {other:?}"))),
    };
    let name = text("name");
    let not_found = || Error::NotFound { group: String::new(), resource: resource.to_owned(), name: name.clone() };
    let entry = server.store.get(&format!("{}{scope}{name}", prefix("", resource))).ok_or_else(not_found)?;
    let object = object::parse(&entry.value)?;
    let uid = meta(&object, "uid").to_owned();
    let wanted = text("uid");
    if !wanted.is_empty() && wanted != uid {
        return Err(Error::Conflict {
            group: String::new(),
            resource: resource.to_owned(),
            name,
            message: format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record ({uid})"
            ),
        });
    }
    Ok((kind, Reference { name, uid }))
}
