//! Everything that is not an API resource: which resources there are, versions, health, metrics, OpenAPI, OIDC discovery.

mod aggregated;
mod health;

use std::sync::Arc;

use axum::{body::Body, response::Response};
use http::{Request, StatusCode};
use lotse_kinds::Storage;
use serde_json::{Value, json};

use crate::{
    endpoints,
    negotiate::Accept,
    registry::{Registry, Resource},
    request::Query,
    server::Server,
    status::{Error, Result, bytes_response, json_response},
};

/// The verbs of a stored kind.
pub(crate) const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Serves an authorised request for a path.
pub(crate) fn serve(server: &Arc<Server>, path: &str, query: &Query, request: &Request<Body>) -> Result<Response> {
    if !matches!(*request.method(), http::Method::GET | http::Method::HEAD) {
        return Err(Error::MethodNotAllowed);
    }
    let registry = server.registry.get();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let accept = || Accept::of(request.headers(), query.flag("pretty").unwrap_or(false));
    let ok = |value: Value| accept()?.value(StatusCode::OK, &value);
    match parts.as_slice() {
        [""] => ok(json!({"paths": paths(&registry)})),
        ["api"] => match aggregated::wanted(request.headers()) {
            Some(version) => Ok(aggregated::answer(&registry, version, true)),
            None => ok(json!({
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress":
                    format!("{}:{}", server.config.advertise_address, server.config.advertise_port)}],
            })),
        },
        ["apis"] => match aggregated::wanted(request.headers()) {
            Some(version) => Ok(aggregated::answer(&registry, version, false)),
            None => {
                let groups: Vec<Value> =
                    registry.groups().filter(|g| !g.is_empty()).map(|g| group(&registry, g)).collect();
                ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
            }
        },
        ["api", version] => ok(resources(&registry, "", version)?),
        ["apis", name] => {
            if registry.versions(name).is_empty() || name.is_empty() {
                return Err(Error::NoSuchPath);
            }
            let mut group = group(&registry, name);
            if let Some(object) = group.as_object_mut() {
                object.insert("kind".to_owned(), "APIGroup".into());
                object.insert("apiVersion".to_owned(), "v1".into());
            }
            ok(group)
        }
        ["apis", group, version] => ok(resources(&registry, group, version)?),
        ["version"] => Ok(json_response(StatusCode::OK, &version(&server.config.git_version))),
        ["healthz" | "livez" | "readyz", ..] => health::serve(server, &parts, query),
        ["metrics"] => {
            let text = server.metrics.render(server.store.revision());
            Ok(bytes_response(StatusCode::OK, "text/plain; version=0.0.4", text.into()))
        }
        ["openapi", "v2"] => server.openapi.v2(&registry, &*server.store, request.headers()),
        ["openapi", "v3"] => server.openapi.v3_index(&registry, &*server.store),
        ["openapi", "v3", rest @ ..] => server.openapi.v3(&registry, &*server.store, rest, request.headers()),
        [".well-known", "openid-configuration"] => {
            let issuer = &server.tokens.issuer;
            ok(json!({
                "issuer": issuer, "jwks_uri": format!("{issuer}/openid/v1/jwks"), "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
            }))
        }
        ["openid", "v1", "jwks"] => {
            let bytes = server.tokens.jwks().to_string();
            Ok(bytes_response(StatusCode::OK, "application/jwk-set+json", bytes.into()))
        }
        _ => Err(Error::NoSuchPath),
    }
}

fn paths(registry: &Registry) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    for group in registry.groups() {
        if !group.is_empty() {
            paths.push(format!("/apis/{group}"));
        }
        paths.extend(registry.versions(group).iter().map(|version| root(group, version)));
    }
    paths.sort();
    paths
}

/// `/api/v1` or `/apis/apps/v1`.
pub(crate) fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// `v1` or `apps/v1`.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn group(registry: &Registry, name: &str) -> Value {
    let versions: Vec<Value> = registry
        .versions(name)
        .iter()
        .map(|version| json!({"groupVersion": group_version(name, version), "version": version}))
        .collect();
    json!({"name": name, "preferredVersion": versions.first(), "versions": versions})
}

/// One subresource as discovery describes it.
pub(crate) struct Subresource {
    pub(crate) name: String,
    /// Group, version, kind of what is sent and answered.
    pub(crate) kind: (String, String, String),
    pub(crate) verbs: Vec<&'static str>,
}

/// The subresources of a kind: status, scale and the endpoints.
pub(crate) fn subresources(resource: &Resource) -> Vec<Subresource> {
    let kind = &resource.kind;
    let own = || (kind.group.to_string(), kind.version.to_string(), kind.kind.to_string());
    let write = || vec!["get", "patch", "update"];
    let mut list = Vec::new();
    if kind.status {
        list.push(Subresource { name: "status".to_owned(), kind: own(), verbs: write() });
    }
    if kind.scale.is_some() {
        let scale = ("autoscaling".to_owned(), "v1".to_owned(), "Scale".to_owned());
        list.push(Subresource { name: "scale".to_owned(), kind: scale, verbs: write() });
    }
    for name in &kind.endpoints {
        let Some(endpoint) = endpoints::find(&kind.group, &kind.plural, name) else { continue };
        let (group, version, speaks) = endpoint.speaks;
        let speaks = if speaks.is_empty() { own() } else { (group.into(), version.into(), speaks.into()) };
        list.push(Subresource { name: name.to_string(), kind: speaks, verbs: endpoint.verbs.to_vec() });
    }
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list
}

/// The verbs of a kind.
pub(crate) fn verbs(resource: &Resource) -> &'static [&'static str] {
    match resource.kind.storage {
        Storage::Stored => &VERBS,
        Storage::Review => &VERBS[..1],
    }
}

fn resources(registry: &Registry, group: &str, version: &str) -> Result<Value> {
    let list = registry.group_version(group, version);
    if list.is_empty() {
        return Err(Error::NoSuchPath);
    }
    let mut resources = Vec::new();
    for resource in list {
        let kind = &resource.kind;
        let mut entry = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": verbs(resource),
        });
        if let Some(entry) = entry.as_object_mut() {
            if !kind.short_names.is_empty() {
                entry.insert("shortNames".to_owned(), json!(kind.short_names));
            }
            if !kind.categories.is_empty() {
                entry.insert("categories".to_owned(), json!(kind.categories));
            }
            if kind.storage == Storage::Stored {
                // Clients only ask whether versions differ.
                entry.insert("storageVersionHash".to_owned(), hash(resource).into());
            }
        }
        resources.push(entry);
        for sub in subresources(resource) {
            let mut entry = json!({
                "name": format!("{}/{}", kind.plural, sub.name), "singularName": "", "namespaced": kind.namespaced,
                "kind": sub.kind.2, "verbs": sub.verbs,
            });
            if (sub.kind.0.as_str(), sub.kind.1.as_str()) != (group, version)
                && let Some(entry) = entry.as_object_mut()
            {
                entry.insert("group".to_owned(), sub.kind.0.into());
                entry.insert("version".to_owned(), sub.kind.1.into());
            }
            resources.push(entry);
        }
    }
    Ok(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version(group, version), "resources": resources,
    }))
}

fn hash(resource: &Resource) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let (group, version, kind) = resource.kind.storage_kind();
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{group}/{version}/{kind}").as_bytes());
    STANDARD.encode(&digest.as_ref()[..8])
}

fn version(git_version: &str) -> Value {
    let numbers = git_version.trim_start_matches('v');
    let mut parts = numbers.split('.');
    json!({
        "major": parts.next().unwrap_or_default(), "minor": parts.next().unwrap_or_default(), "gitVersion": git_version,
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}
