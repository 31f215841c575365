//! Questions about identity and rights (`authentication.k8s.io`, `authorization.k8s.io`).

use std::{collections::BTreeMap, sync::Arc};

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    authn::User,
    authz::Attributes,
    body::{self, Format},
    handlers::Call,
    server::Server,
    status::{Error, Result},
};

async fn question(server: &Server, call: &mut Call) -> Result<Value> {
    let format = Format::of(Some(call.content_type()))?;
    let bytes = call.body(server).await?;
    let value = body::decode(&bytes, format)?.value;
    if value.is_object() { Ok(value) } else { Err(Error::bad_request("the body is not a JSON object")) }
}

fn answer(call: &Call, mut review: Value, status: Value) -> Result<Response> {
    if let Some(object) = review.as_object_mut() {
        object.insert("kind".to_owned(), Value::String(call.resource.kind.kind.to_string()));
        object.insert("apiVersion".to_owned(), Value::String(call.resource.api_version.clone()));
        object.entry("metadata").or_insert_with(|| json!({}));
        object.insert("status".to_owned(), status);
    }
    call.accept()?.value(StatusCode::CREATED, &review)
}

fn info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if let Some(info) = info.as_object_mut() {
        if !user.uid.is_empty() {
            info.insert("uid".to_owned(), user.uid.as_str().into());
        }
        if !user.extra.is_empty() {
            info.insert("extra".to_owned(), json!(user.extra));
        }
    }
    info
}

/// `TokenReview`.
pub(super) async fn token(server: Arc<Server>, mut call: Call) -> Result<Response> {
    let review = question(&server, &mut call).await?;
    let token = review.pointer("/spec/token").and_then(Value::as_str).unwrap_or_default();
    let audiences = strings(review.pointer("/spec/audiences"));
    let wanted = (!audiences.is_empty()).then_some(audiences.as_slice());
    let status = match server.tokens.verify(&server, token, wanted) {
        Ok(verified) => json!({"authenticated": true, "user": info(&verified.user), "audiences": verified.audiences}),
        Err(reason) => json!({"user": {}, "error": format!("invalid bearer token: {reason}")}),
    };
    answer(&call, review, status)
}

/// `SelfSubjectReview`: who am I.
pub(super) async fn self_subject(server: Arc<Server>, mut call: Call) -> Result<Response> {
    let review = question(&server, &mut call).await?;
    let status = json!({"userInfo": info(&call.user)});
    answer(&call, review, status)
}

/// `SubjectAccessReview` and `LocalSubjectAccessReview`: may somebody.
pub(super) async fn subject_access(server: Arc<Server>, mut call: Call) -> Result<Response> {
    let review = question(&server, &mut call).await?;
    let text = |pointer: &str| review.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let groups = strings(review.pointer("/spec/groups"));
    if text("/spec/user").is_empty() && groups.is_empty() {
        return Err(Error::bad_request("spec.user: at least one of user or group must be specified"));
    }
    if call.resource.kind.namespaced && text("/spec/resourceAttributes/namespace") != call.target.namespace {
        return Err(Error::bad_request("spec.resourceAttributes.namespace must match the namespace of the request"));
    }
    // Groups are taken as said: the question is about exactly this subject.
    let user =
        User { name: text("/spec/user").to_owned(), uid: text("/spec/uid").to_owned(), groups, extra: BTreeMap::new() };
    let status = decide(&server, &user, &review)?;
    answer(&call, review, status)
}

/// `SelfSubjectAccessReview`: may I.
pub(super) async fn self_access(server: Arc<Server>, mut call: Call) -> Result<Response> {
    let review = question(&server, &mut call).await?;
    let status = decide(&server, &call.user.clone(), &review)?;
    answer(&call, review, status)
}

fn decide(server: &Server, user: &User, review: &Value) -> Result<Value> {
    let text = |pointer: &str| review.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let allowed = if review.pointer("/spec/resourceAttributes").is_some_and(Value::is_object) {
        let part = |field: &str| text(&format!("/spec/resourceAttributes/{field}"));
        let resource = match part("subresource") {
            "" => part("resource").to_owned(),
            subresource => format!("{}/{subresource}", part("resource")),
        };
        server.authorizer.allows(
            server,
            user,
            Attributes::Resource {
                verb: part("verb"),
                group: part("group"),
                resource: &resource,
                namespace: part("namespace"),
                name: part("name"),
            },
        )
    } else if review.pointer("/spec/nonResourceAttributes").is_some_and(Value::is_object) {
        let (verb, path) = (text("/spec/nonResourceAttributes/verb"), text("/spec/nonResourceAttributes/path"));
        server.authorizer.allows(server, user, Attributes::Path { verb, path })
    } else {
        return Err(Error::bad_request(
            "spec: exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ));
    };
    let mut status = json!({"allowed": allowed});
    if !allowed && let Some(status) = status.as_object_mut() {
        status.insert("reason".to_owned(), "no RBAC policy matched".into());
    }
    Ok(status)
}

/// `SelfSubjectRulesReview`: what may I do here.
pub(super) async fn self_rules(server: Arc<Server>, mut call: Call) -> Result<Response> {
    let review = question(&server, &mut call).await?;
    let namespace = review.pointer("/spec/namespace").and_then(Value::as_str).unwrap_or_default();
    if namespace.is_empty() {
        return Err(Error::bad_request("no namespace on request"));
    }
    let rules = server.authorizer.rules(&server);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    if call.user.is_in(crate::authn::MASTERS) {
        resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    for rule in rules.within(&call.user, namespace) {
        if !rule.resources.is_empty() {
            let mut entry = json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
            if let (false, Some(entry)) = (rule.resource_names.is_empty(), entry.as_object_mut()) {
                entry.insert("resourceNames".to_owned(), json!(rule.resource_names));
            }
            resources.push(entry);
        }
        if !rule.non_resource_urls.is_empty() {
            paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
        }
    }
    let status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false});
    answer(&call, review, status)
}

fn strings(list: Option<&Value>) -> Vec<String> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
