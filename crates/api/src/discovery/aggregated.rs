//! All resources in two answers (KEP-3352).

use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    discovery::{subresources, verbs},
    registry::Registry,
    status::json_response,
};

/// The version of the format that `Accept` asks for first, if it asks for it before plain discovery.
pub(super) fn wanted(headers: &HeaderMap) -> Option<&'static str> {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for alternative in accepted.flat_map(|value| value.split(',')) {
        let mut parts = alternative.split(';').map(str::trim);
        if parts.next() != Some("application/json") {
            continue;
        }
        let parameters: Vec<&str> = parts.collect();
        let has = |parameter: &str| parameters.contains(&parameter);
        if has("as=APIGroupDiscoveryList") && has("g=apidiscovery.k8s.io") {
            if has("v=v2") {
                return Some("v2");
            }
            if has("v=v2beta1") {
                return Some("v2beta1");
            }
        } else if !parameters.iter().any(|p| p.starts_with("as=")) {
            return None;
        }
    }
    None
}

/// The core group, or all others.
pub(super) fn answer(registry: &Registry, version: &str, core: bool) -> Response {
    let items: Vec<Value> = registry.groups().filter(|g| g.is_empty() == core).map(|g| group(registry, g)).collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {}, "items": items,
    });
    let mut response = json_response(StatusCode::OK, &list);
    let content = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    if let Ok(content) = HeaderValue::from_str(&content) {
        response.headers_mut().insert(header::CONTENT_TYPE, content);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn group(registry: &Registry, name: &str) -> Value {
    let versions: Vec<Value> = registry
        .versions(name)
        .iter()
        .map(|version| {
            let resources: Vec<Value> = registry
                .group_version(name, version)
                .iter()
                .map(|resource| {
                    let kind = &resource.kind;
                    let subs: Vec<Value> = subresources(resource)
                        .into_iter()
                        .map(|sub| {
                            let (group, version, kind) = sub.kind;
                            json!({
                                "subresource": sub.name, "verbs": sub.verbs,
                                "responseKind": {"group": group, "version": version, "kind": kind},
                            })
                        })
                        .collect();
                    let mut entry = json!({
                        "resource": kind.plural,
                        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
                        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
                        "singularResource": kind.singular,
                        "verbs": verbs(resource),
                    });
                    if let Some(entry) = entry.as_object_mut() {
                        if !kind.short_names.is_empty() {
                            entry.insert("shortNames".to_owned(), json!(kind.short_names));
                        }
                        if !kind.categories.is_empty() {
                            entry.insert("categories".to_owned(), json!(kind.categories));
                        }
                        if !subs.is_empty() {
                            entry.insert("subresources".to_owned(), subs.into());
                        }
                    }
                    entry
                })
                .collect();
            json!({"version": version, "freshness": "Current", "resources": resources})
        })
        .collect();
    let metadata = if name.is_empty() {
        json!({"creationTimestamp": null})
    } else {
        json!({"name": name, "creationTimestamp": null})
    };
    json!({"metadata": metadata, "versions": versions})
}
