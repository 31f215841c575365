//! Writes through subresources that change a part of an object by rules of their own.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::{
    body::{self, Format},
    handlers::{self, Call, Change, DeleteOptions, Write, object_response, with_warnings},
    labels,
    object::{self, deleting, meta, set_meta},
    projection::objects,
    registry::prefix,
    request::Verb,
    server::Server,
    status::{Error, Result},
};

async fn decoded(server: &Server, call: &mut Call) -> Result<Value> {
    let format = Format::of(Some(call.content_type()))?;
    let bytes = call.body(server).await?;
    Ok(body::decode(&bytes, format)?.value)
}

fn created(call: &Call) -> Result<Response> {
    call.accept()?.value(
        StatusCode::CREATED,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    )
}

/// `pods/binding`: the scheduler's decision.
pub(super) async fn binding(server: Arc<Server>, mut call: Call) -> Result<Response> {
    if call.target.verb != Verb::Create {
        return Err(Error::MethodNotAllowed);
    }
    let binding = decoded(&server, &mut call).await?;
    bind(&server, &call, &binding).await
}

/// `bindings`: the same, with the pod named in the body.
pub(super) async fn plain_binding(server: Arc<Server>, mut call: Call) -> Result<Response> {
    let binding = decoded(&server, &mut call).await?;
    call.resource = call.registry.find("", "v1", "pods")?.clone();
    call.target.name = meta(&binding, "name").to_owned();
    if call.target.namespace.is_empty() {
        return Err(Error::MethodNotAllowed);
    }
    bind(&server, &call, &binding).await
}

async fn bind(server: &Server, call: &Call, binding: &Value) -> Result<Response> {
    let node = binding.pointer("/target/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = call.target.name.clone();
    if node.is_empty() {
        return Err(Error::bad_request("target.name: Required value"));
    }
    let uid = meta(binding, "uid");
    let mut write = Write::new(call)?;
    "binding".clone_into(&mut write.subresource);
    write
        .modify(server, &name, |write, pod| {
            let refused = |why: String| write.resource.conflict(&name, why);
            if !uid.is_empty() && uid != meta(pod, "uid") {
                return Err(refused(format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    meta(pod, "uid")
                )));
            }
            if deleting(pod) {
                return Err(refused(format!("pod {name} is being deleted, cannot be assigned to a host")));
            }
            match pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default() {
                "" => {}
                other => return Err(refused(format!("pod {name} is already assigned to node {other:?}"))),
            }
            let mut new = pod.clone();
            if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) {
                spec.insert("nodeName".to_owned(), node.as_str().into());
            }
            merge_annotations(&mut new, binding)?;
            let condition = json!({
                "type": "PodScheduled", "status": "True", "lastProbeTime": null,
                "lastTransitionTime": object::timestamp(jiff::Timestamp::now()),
            });
            set_condition(&mut new, condition);
            set_meta(&mut new, "resourceVersion", None)?;
            Ok(Change::Update(new))
        })
        .await?;
    created(call)
}

fn merge_annotations(pod: &mut Value, binding: &Value) -> Result<()> {
    let Some(more) = binding.get("metadata").and_then(|m| m.get("annotations")).and_then(Value::as_object) else {
        return Ok(());
    };
    let annotations = object::metadata_mut(pod)?.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.extend(more.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
    Ok(())
}

fn set_condition(pod: &mut Value, condition: Value) {
    let Some(object) = pod.as_object_mut() else { return };
    let status = object.entry("status").or_insert_with(|| Value::Object(Map::new()));
    let Some(status) = status.as_object_mut() else { return };
    let list = status.entry("conditions").or_insert_with(|| Value::Array(Vec::new()));
    if let Some(list) = list.as_array_mut() {
        list.retain(|c| c.get("type") != condition.get("type"));
        list.push(condition);
    }
}

/// `pods/eviction`: a delete that PodDisruptionBudgets may refuse.
pub(super) async fn eviction(server: Arc<Server>, mut call: Call) -> Result<Response> {
    if call.target.verb != Verb::Create {
        return Err(Error::MethodNotAllowed);
    }
    let eviction = decoded(&server, &mut call).await?;
    let options: DeleteOptions =
        serde_json::from_value(eviction.get("deleteOptions").cloned().unwrap_or_else(|| json!({})))
            .map_err(|error| Error::bad_request(format!("deleteOptions cannot be read: {error}")))?;
    let (namespace, name) = (call.target.namespace.clone(), call.target.name.clone());
    let entry =
        server.store.get(&call.resource.key(&namespace, &name)).ok_or_else(|| call.resource.not_found(&name))?;
    let pod = object::parse(&entry.value)?;
    // A pod that does not serve cannot disturb anybody by going.
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or("Pending");
    if matches!(phase, "Running") && !deleting(&pod) {
        for budget in objects(&*server.store, &format!("{}{namespace}/", prefix("policy", "poddisruptionbudgets"))) {
            let covers = budget.pointer("/spec/selector").is_some_and(|selector| labels::selects(selector, &pod));
            let number = |field: &str| budget.pointer(&format!("/status/{field}")).and_then(Value::as_i64).unwrap_or(0);
            if covers && number("disruptionsAllowed") <= 0 {
                return Err(Error::DisruptionBudget {
                    budget: budget.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned(),
                    desired: number("desiredHealthy"),
                    healthy: number("currentHealthy"),
                });
            }
        }
    }
    handlers::delete_one(&server, &call.resource, &namespace, &name, &options).await?;
    created(&call)
}

/// `pods/ephemeralcontainers`: only that list, and only growing.
pub(super) async fn ephemeral_containers(server: Arc<Server>, call: Call) -> Result<Response> {
    part(server, call, |old, wanted| {
        let before = old.pointer("/spec/ephemeralContainers").and_then(Value::as_array).cloned().unwrap_or_default();
        let after = wanted.pointer("/spec/ephemeralContainers").and_then(Value::as_array).cloned().unwrap_or_default();
        let name = |c: &Value| c.get("name").cloned();
        if !before.iter().all(|old| after.iter().any(|new| name(new) == name(old))) {
            return Err(Error::bad_request("existing ephemeral containers may not be removed"));
        }
        let mut new = old.clone();
        if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("ephemeralContainers".to_owned(), after.into());
        }
        Ok(new)
    })
    .await
}

/// `pods/resize`: only the containers' resources.
pub(super) async fn resize(server: Arc<Server>, call: Call) -> Result<Response> {
    part(server, call, |old, wanted| {
        let mut new = old.clone();
        let containers = new.pointer_mut("/spec/containers").and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let list = wanted.pointer("/spec/containers").and_then(Value::as_array);
            let same = list.into_iter().flatten().find(|c| c.get("name") == container.get("name"));
            if let (Some(resources), Some(container)) =
                (same.and_then(|c| c.get("resources")).cloned(), container.as_object_mut())
            {
                container.insert("resources".to_owned(), resources);
            }
        }
        Ok(new)
    })
    .await
}

/// `certificatesigningrequests/approval`: only the conditions of the status.
pub(super) async fn approval(server: Arc<Server>, call: Call) -> Result<Response> {
    part(server, call, |old, wanted| {
        let mut new = old.clone();
        let conditions = wanted.pointer("/status/conditions").cloned().unwrap_or_else(|| json!([]));
        if let Some(object) = new.as_object_mut() {
            let status = object.entry("status").or_insert_with(|| Value::Object(Map::new()));
            if let Some(status) = status.as_object_mut() {
                status.insert("conditions".to_owned(), conditions);
            }
        }
        Ok(new)
    })
    .await
}

/// `namespaces/finalize`: the list of `spec.finalizers`.
pub(super) async fn whole_object(server: Arc<Server>, call: Call) -> Result<Response> {
    part(server, call, |old, wanted| {
        let mut new = old.clone();
        if let Some(object) = new.as_object_mut() {
            match wanted.get("spec") {
                Some(spec) => object.insert("spec".to_owned(), spec.clone()),
                None => object.remove("spec"),
            };
        }
        Ok(new)
    })
    .await
}

/// `GET`, `PUT` and `PATCH` of a part of an object.
async fn part(
    server: Arc<Server>,
    mut call: Call,
    take: fn(old: &Value, wanted: &Value) -> Result<Value>,
) -> Result<Response> {
    let name = call.target.name.clone();
    if call.target.verb == Verb::Get {
        let key = call.resource.key(&call.target.namespace, &name);
        let entry = server.store.get(&key).ok_or_else(|| call.resource.not_found(&name))?;
        return object_response(&call, StatusCode::OK, entry.value);
    }
    let mut write = Write::new(&call)?;
    let content_type = call.content_type().to_owned();
    let bytes = call.body(&server).await?;
    let (patch, body) = match call.target.verb {
        Verb::Update => (None, write.decode(&bytes, Format::of(Some(&content_type))?)?),
        Verb::Patch => {
            let kind = handlers::PatchType::of(&content_type)?;
            (Some(kind), kind.decode(&bytes)?)
        }
        _ => return Err(Error::MethodNotAllowed),
    };
    let written = write
        .modify(&server, &name, |write, old| {
            let wanted = match patch {
                None => body.clone(),
                Some(kind) => kind.patched(old, &body, write)?,
            };
            let mut new = take(old, &wanted)?;
            let revision = meta(&wanted, "resourceVersion");
            set_meta(&mut new, "resourceVersion", (!revision.is_empty()).then(|| revision.into()))?;
            Ok(Change::Update(new))
        })
        .await?;
    Ok(with_warnings(object_response(&call, StatusCode::OK, written.bytes)?, &write.warnings))
}
