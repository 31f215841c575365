//! A small API server in memory: create, get, list, watch, merge patch and delete for every path, enough for a
//! `kube::Client` and its watchers.

#![allow(clippy::result_large_err)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_stream::{StreamExt, wrappers::BroadcastStream};

#[derive(Clone)]
pub(crate) struct FakeApi(Arc<Inner>);

struct Inner {
    state: Mutex<Stored>,
    events: broadcast::Sender<(u64, String, Value)>,
}

#[derive(Default)]
struct Stored {
    revision: u64,
    /// By collection (e.g. `/api/v1/pods`), namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    history: Vec<(u64, String, Value)>,
    writes: Vec<String>,
}

struct Target {
    collection: String,
    namespace: String,
    name: String,
    sub: String,
}

fn parse(path: &str) -> Target {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (prefix, rest) = parts.split_at(if parts[0] == "api" { 2 } else { 3 });
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => ((*namespace).to_owned(), rest),
        rest => (String::new(), rest),
    };
    let at = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
    Target { collection: format!("/{}/{}", prefix.join("/"), at(0)), namespace, name: at(1), sub: at(2) }
}

fn merge(target: &mut Value, patch: &Value) {
    match patch.as_object() {
        None => *target = patch.clone(),
        Some(patch) => {
            if !target.is_object() {
                *target = json!({});
            }
            let own = target.as_object_mut().unwrap();
            for (key, value) in patch {
                if value.is_null() {
                    own.remove(key);
                } else {
                    merge(own.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
    }
}

fn fail(code: u16, reason: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason});
    (StatusCode::from_u16(code).unwrap(), axum::Json(status)).into_response()
}

impl FakeApi {
    pub(crate) fn new() -> Self {
        let api = Self(Arc::new(Inner { state: Mutex::default(), events: broadcast::channel(4096).0 }));
        api.create(
            "/api/v1/namespaces/default",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}),
        );
        api
    }

    pub(crate) fn client(&self) -> Client {
        let router = Router::new().fallback(handle).with_state(self.clone());
        Client::new(router, "default")
    }

    /// Adds an object; the path names collection and object.
    pub(crate) fn create(&self, path: &str, object: Value) -> Value {
        let target = parse(path);
        self.insert(&target, object).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        let target = parse(path);
        self.0.state.lock().unwrap().objects.get(&(target.collection, target.namespace, target.name)).cloned()
    }

    pub(crate) fn patch(&self, path: &str, patch: &Value) {
        let _ = self.update(&parse(path), patch);
    }

    /// Deletes at once (grace 0), or marks a pod for deletion.
    pub(crate) fn delete(&self, path: &str, grace: i64) {
        let _ = self.remove(&parse(path), grace, None);
    }

    /// Method and path of every write so far.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.0.state.lock().unwrap().writes.clone()
    }

    pub(crate) fn list(&self, collection: &str) -> Vec<Value> {
        let state = self.0.state.lock().unwrap();
        state.objects.iter().filter(|((own, ..), _)| own == collection).map(|(_, object)| object.clone()).collect()
    }

    fn emit(&self, state: &mut Stored, collection: &str, kind: &str, object: &Value) {
        let event = (state.revision, collection.to_owned(), json!({"type": kind, "object": object}));
        state.history.push(event.clone());
        let _ = self.0.events.send(event);
    }

    fn insert(&self, target: &Target, mut object: Value) -> Option<Value> {
        let mut state = self.0.state.lock().unwrap();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = (target.collection.clone(), target.namespace.clone(), name);
        if state.objects.contains_key(&key) {
            return None;
        }
        state.revision += 1;
        let revision = state.revision;
        let meta = object["metadata"].as_object_mut().unwrap();
        meta.insert("resourceVersion".into(), json!(revision.to_string()));
        meta.entry("uid").or_insert_with(|| json!(format!("uid-{revision}")));
        meta.entry("creationTimestamp").or_insert_with(|| json!("2026-01-01T00:00:00Z"));
        if !target.namespace.is_empty() {
            meta.insert("namespace".into(), json!(target.namespace));
        }
        state.objects.insert(key, object.clone());
        self.emit(&mut state, &target.collection, "ADDED", &object);
        Some(object)
    }

    fn update(&self, target: &Target, patch: &Value) -> Result<Value, Response> {
        let mut state = self.0.state.lock().unwrap();
        let key = (target.collection.clone(), target.namespace.clone(), target.name.clone());
        let Some(old) = state.objects.get(&key).cloned() else { return Err(fail(404, "NotFound")) };
        let uid = &patch["metadata"]["uid"];
        if !uid.is_null() && *uid != old["metadata"]["uid"] {
            return Err(fail(409, "Conflict"));
        }
        let mut object = old.clone();
        merge(&mut object, patch);
        if object == old {
            return Ok(object);
        }
        state.revision += 1;
        object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        state.objects.insert(key, object.clone());
        self.emit(&mut state, &target.collection, "MODIFIED", &object);
        Ok(object)
    }

    fn remove(&self, target: &Target, grace: i64, uid: Option<&str>) -> Result<Value, Response> {
        let mut state = self.0.state.lock().unwrap();
        let key = (target.collection.clone(), target.namespace.clone(), target.name.clone());
        let Some(mut object) = state.objects.get(&key).cloned() else { return Err(fail(404, "NotFound")) };
        if uid.is_some_and(|uid| object["metadata"]["uid"] != uid) {
            return Err(fail(409, "Conflict"));
        }
        state.revision += 1;
        object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        if grace > 0 {
            let at = Timestamp::now() + std::time::Duration::from_secs(grace as u64);
            object["metadata"]["deletionTimestamp"] = json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            state.objects.insert(key, object.clone());
            self.emit(&mut state, &target.collection, "MODIFIED", &object);
        } else {
            state.objects.remove(&key);
            self.emit(&mut state, &target.collection, "DELETED", &object);
        }
        Ok(object)
    }

    fn watch(&self, collection: String, since: u64) -> Response {
        let state = self.0.state.lock().unwrap();
        let live = BroadcastStream::new(self.0.events.subscribe());
        let past: Vec<_> = state.history.iter().filter(|(revision, ..)| *revision > since).cloned().map(Ok).collect();
        let all = tokio_stream::iter(past).chain(live);
        let lines = all.filter_map(move |event| {
            let (_, own, event) = event.ok()?;
            (own == collection).then(|| Ok::<_, std::io::Error>(Bytes::from(format!("{event}\n"))))
        });
        Body::from_stream(lines).into_response()
    }
}

async fn handle(State(api): State<FakeApi>, request: Request) -> Response {
    let target = parse(request.uri().path());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if method != Method::GET {
        api.0.state.lock().unwrap().writes.push(format!("{method} {path}"));
    }
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let answer = |outcome: Result<Value, Response>| match outcome {
        Ok(object) => axum::Json(object).into_response(),
        Err(response) => response,
    };
    if method == Method::POST && target.sub == "token" {
        let at = Timestamp::now() + std::time::Duration::from_secs(3600);
        let status = json!({"token": "t", "expirationTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
        return axum::Json(json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {}, "spec": body["spec"], "status": status}))
        .into_response();
    }
    match method {
        Method::GET if target.name.is_empty() && query.contains("watch=true") => {
            let since = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
            api.watch(target.collection, since.and_then(|text| text.parse().ok()).unwrap_or(0))
        }
        Method::GET if target.name.is_empty() => {
            let revision = api.0.state.lock().unwrap().revision.to_string();
            axum::Json(json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": revision},
                "items": api.list(&target.collection)}))
            .into_response()
        }
        Method::GET => answer(api.get(&path).ok_or_else(|| fail(404, "NotFound"))),
        Method::POST => answer(api.insert(&target, body).ok_or_else(|| fail(409, "AlreadyExists"))),
        Method::PATCH => answer(api.update(&target, &body)),
        Method::DELETE => {
            let grace = body["gracePeriodSeconds"].as_i64().unwrap_or(0);
            answer(api.remove(&target, grace, body["preconditions"]["uid"].as_str()))
        }
        _ => fail(405, "MethodNotAllowed"),
    }
}
