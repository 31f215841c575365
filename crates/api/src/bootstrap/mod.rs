//! What every cluster has from the start: namespaces, roles and bindings, priority classes, the `kubernetes` Service, and the
//! definitions that Lotse brings along. Runs at every start and writes only what is missing or ours and outdated.

mod roles;

use std::sync::Arc;

use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::{
    crd,
    handlers::{Change, Write},
    object::{meta, set_meta},
    registry::Resource,
    server::{ApiError, Server},
    status::Error,
};

const MANAGER: &str = "lotse-apiserver";

/// Roles and bindings that carry this are kept as the program has them, unless it is set to `"false"`.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// What to do with an object that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    /// Leave it.
    Keep,
    /// Bring the given fields to what the program has, unless its annotation forbids it.
    Update,
}

/// Stores what is missing.
pub(crate) async fn run(server: &Arc<Server>) -> Result<(), ApiError> {
    // Namespaces first, since other objects stand in them; the rest in parallel, so that one commit covers many.
    ensure_all(server, namespaces(), Existing::Keep).await?;
    ensure_all(server, lotse_kinds::bundled_crds(), Existing::Update).await?;
    crd::refresh(server);
    ensure_all(server, roles::objects(), Existing::Update).await?;
    ensure_all(server, priority_classes(), Existing::Keep).await?;
    ensure_all(server, kubernetes(server), Existing::Update).await
}

async fn ensure_all(server: &Arc<Server>, objects: Vec<Value>, existing: Existing) -> Result<(), ApiError> {
    try_join_all(objects.into_iter().map(|object| async move {
        let what =
            format!("{} {:?}", object.get("kind").and_then(Value::as_str).unwrap_or_default(), meta(&object, "name"));
        ensure(server, object, existing).await.map_err(|source| ApiError::Bootstrap { what, source: Box::new(source) })
    }))
    .await
    .map(|_| ())
}

async fn ensure(server: &Arc<Server>, object: Value, existing: Existing) -> Result<(), Error> {
    let registry = server.registry.get();
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("apiVersion").rsplit_once('/').unwrap_or(("", text("apiVersion")));
    let resource: Arc<Resource> = registry.find_kind(group, version, text("kind")).ok_or(Error::NoSuchPath)?.clone();
    let (namespace, name) = (meta(&object, "namespace").to_owned(), meta(&object, "name").to_owned());
    let mut write = Write::internal(resource.clone(), &namespace, MANAGER);
    if server.store.get(&resource.key(&namespace, &name)).is_none() {
        return match write.create(server, object, false).await {
            Ok(_) | Err(Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error),
        };
    }
    if existing == Existing::Keep {
        return Ok(());
    }
    write
        .modify(server, &name, |_, old| {
            let mut new = old.clone();
            set_meta(&mut new, "resourceVersion", None)?;
            let annotation =
                old.pointer("/metadata/annotations").and_then(|a| a.get(AUTOUPDATE)).and_then(Value::as_str);
            if annotation != Some("false") {
                overlay(&mut new, &object);
            }
            Ok(Change::Update(new))
        })
        .await
        .map(|_| ())
}

/// Everything but metadata as the program has it; labels and annotations added.
fn overlay(new: &mut Value, wanted: &Value) {
    let (Some(new), Some(wanted)) = (new.as_object_mut(), wanted.as_object()) else { return };
    for (field, value) in wanted.iter().filter(|(field, _)| !matches!(field.as_str(), "metadata" | "status")) {
        match (new.get_mut(field), value) {
            // Fields of spec that the server filled in stay.
            (Some(Value::Object(old)), Value::Object(more)) if field == "spec" => {
                old.extend(more.iter().map(|(k, v)| (k.clone(), v.clone())));
            }
            _ => {
                new.insert(field.clone(), value.clone());
            }
        }
    }
    for field in ["labels", "annotations"] {
        let more = wanted.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_object);
        let Some(more) = more else { continue };
        let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) else { continue };
        let map = metadata.entry(field).or_insert_with(|| json!({}));
        if let Some(map) = map.as_object_mut() {
            map.extend(more.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
    }
}

fn namespaces() -> Vec<Value> {
    ["default", "kube-system", "kube-public", "kube-node-lease"]
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .to_vec()
}

fn priority_classes() -> Vec<Value> {
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)]
        .map(|(name, value)| {
            json!({
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
                "preemptionPolicy": "PreemptLowerPriority",
                "description": "For what the cluster or its node cannot be without.",
            })
        })
        .to_vec()
}

/// How pods reach the API: a Service without selector, and its endpoint.
fn kubernetes(server: &Server) -> Vec<Value> {
    let config = &server.config;
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let mut objects = vec![json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
            "spec": {
                "type": "ClusterIP", "clusterIP": config.kubernetes_ip().to_string(), "sessionAffinity": "None",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": config.advertise_port}],
            },
    })];
    // Pods cannot reach the loopback of the host: such an endpoint would only mislead.
    if !config.advertise_address.is_loopback() {
        objects.push(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "kubernetes", "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes", "endpointslice.kubernetes.io/managed-by": MANAGER}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [config.advertise_address.to_string()], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": config.advertise_port, "protocol": "TCP"}],
        }));
    }
    objects
}
