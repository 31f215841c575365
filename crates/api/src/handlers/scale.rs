//! The `scale` subresource of every kind that says where its replicas stand.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use lotse_kinds::ScalePaths;
use lotse_schema::{Cause, Reason};
use serde_json::{Value, json};

use super::{Call, Change, Write, patch::PatchType, view_value};
use crate::{
    body::{self, Format},
    object::meta,
    request::Verb,
    server::Server,
    status::{Error, Result},
};

/// Makes the wished Scale of the present one.
type Wanted = Box<dyn Fn(&Value, &Write) -> Result<Value> + Send + Sync>;

/// `GET`, `PUT` and `PATCH` of `…/scale`.
pub(super) async fn serve(server: &Arc<Server>, call: &mut Call) -> Result<Response> {
    let Some(paths) = call.resource.kind.scale.clone() else { return Err(Error::NoSuchPath) };
    let name = call.target.name.clone();
    let accept = call.accept()?;
    if call.target.verb == Verb::Get {
        let key = call.resource.key(&call.target.namespace, &name);
        let entry = server.store.get(&key).ok_or_else(|| call.resource.not_found(&name))?;
        return accept.value(StatusCode::OK, &scale_of(&view_value(&call.resource, &entry.value)?, &paths));
    }
    let mut write = Write::new(call)?;
    let content_type = call.content_type().to_owned();
    let bytes = call.body(server).await?;
    let wanted: Wanted = match call.target.verb {
        Verb::Update => {
            let scale = body::decode(&bytes, Format::of(Some(&content_type))?)?.value;
            Box::new(move |_, _| Ok(scale.clone()))
        }
        Verb::Patch => {
            let kind = PatchType::of(&content_type)?;
            let patch = kind.decode(&bytes)?;
            Box::new(move |scale, write| match kind {
                // A Scale has one field that can be set: applying it is merging it.
                PatchType::Apply | PatchType::Strategic => PatchType::Merge.patched(scale, &patch, write),
                kind => kind.patched(scale, &patch, write),
            })
        }
        _ => return Err(Error::MethodNotAllowed),
    };
    let written = write
        .modify(server, &name, |write, old| {
            let scale = wanted(&scale_of(old, &paths), write)?;
            let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
            if !(0..=i64::from(i32::MAX)).contains(&replicas) {
                return Err(Error::Invalid {
                    group: "autoscaling".to_owned(),
                    kind: "Scale".to_owned(),
                    name: meta(old, "name").to_owned(),
                    causes: vec![Cause {
                        reason: Reason::FieldValueInvalid,
                        message: format!("Invalid value: {replicas}: must be greater than or equal to 0"),
                        field: "spec.replicas".to_owned(),
                    }],
                });
            }
            let mut new = old.clone();
            set(&mut new, &paths.spec_replicas, replicas.into())?;
            let revision = meta(&scale, "resourceVersion");
            crate::object::set_meta(&mut new, "resourceVersion", (!revision.is_empty()).then(|| revision.into()))?;
            Ok(Change::Update(new))
        })
        .await?;
    accept.value(StatusCode::OK, &scale_of(&crate::object::parse(&written.bytes)?, &paths))
}

/// Sets a value below an existing or new object.
fn set(object: &mut Value, pointer: &str, value: Value) -> Result<()> {
    let bad = || Error::bad_request("the object has another shape than its scale subresource expects");
    let mut at = object;
    for part in pointer.trim_start_matches('/').split('/') {
        let map = at.as_object_mut().ok_or_else(bad)?;
        at = map.entry(part).or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    *at = value;
    Ok(())
}

/// `autoscaling/v1` `Scale` of an object.
fn scale_of(object: &Value, paths: &ScalePaths) -> Value {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let mut metadata = serde_json::Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !meta(object, field).is_empty() {
            metadata.insert(field.to_owned(), meta(object, field).into());
        }
    }
    let selector = paths.selector.as_deref().and_then(|pointer| object.pointer(pointer)).map(selector_text);
    let mut status = json!({"replicas": number(&paths.status_replicas).unwrap_or(0)});
    if let (Some(selector), Some(status)) = (selector.filter(|s| !s.is_empty()), status.as_object_mut()) {
        status.insert("selector".to_owned(), selector.into());
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": number(&paths.spec_replicas).unwrap_or(0)},
        "status": status,
    })
}

/// A label selector as text; custom resources hold it as text already, ReplicationControllers as a plain map.
fn selector_text(selector: &Value) -> String {
    let object = match selector {
        Value::String(text) => return text.clone(),
        Value::Object(object) => object,
        _ => return String::new(),
    };
    let structured = object.contains_key("matchLabels") || object.contains_key("matchExpressions");
    let labels = if structured { object.get("matchLabels").and_then(Value::as_object) } else { Some(object) };
    let mut parts: Vec<String> =
        labels.into_iter().flatten().filter_map(|(k, v)| Some(format!("{k}={}", v.as_str()?))).collect();
    for expression in object.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
        let values: Vec<&str> = expression
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        parts.push(match text("operator") {
            "In" => format!("{} in ({})", text("key"), values.join(",")),
            "NotIn" => format!("{} notin ({})", text("key"), values.join(",")),
            "Exists" => text("key").to_owned(),
            "DoesNotExist" => format!("!{}", text("key")),
            _ => continue,
        });
    }
    parts.join(",")
}
