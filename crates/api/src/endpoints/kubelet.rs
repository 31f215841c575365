//! Requests that end at the kubelet: authorised here, rewritten to the kubelet's paths, and handed on with their upgrade.

use std::sync::{Arc, PoisonError};

use axum::response::Response;
use http::{HeaderMap, HeaderName, Uri, header};
use serde_json::Value;
use tower::ServiceExt;

use crate::{
    handlers::Call,
    object::{self, meta},
    registry::prefix,
    request::Query,
    server::Server,
    status::{Error, Result},
};

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Headers that say who asks; they end here.
const CREDENTIALS: [&str; 3] = ["impersonate-user", "impersonate-group", "impersonate-uid"];

/// Hands a request to the kubelet under another path.
async fn forward(server: &Server, call: Call, path: &str, query: &str) -> Result<Response> {
    let router = server.kubelet.read().unwrap_or_else(PoisonError::into_inner).clone();
    let router = router.ok_or_else(|| Error::Unavailable("the node is not running yet".to_owned()))?;
    let (head, ()) = call.request.into_parts();
    let body = call.body.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut request = http::Request::from_parts(head, body);
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    *request.uri_mut() = target.parse::<Uri>().map_err(|_| Error::bad_request("the path cannot be handed on"))?;
    strip_credentials(request.headers_mut());
    let response = router.oneshot(request).await.map_err(|never| match never {})?;
    // An answer that sends the client elsewhere would let a pod borrow its authority.
    if response.status().is_redirection() && response.status() != http::StatusCode::NOT_MODIFIED {
        let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok()).unwrap_or_default();
        if location.contains("//") || location.contains('\\') {
            return Err(Error::Unavailable("the backend answered with a redirect to another host".to_owned()));
        }
    }
    Ok(response)
}

fn strip_credentials(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| CREDENTIALS.contains(&name.as_str()) || name.as_str().starts_with("impersonate-extra-"))
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
}

fn pod(server: &Server, call: &Call) -> Result<Value> {
    let target = &call.target;
    let key = call.resource.key(&target.namespace, &target.name);
    let entry = server.store.get(&key).ok_or_else(|| call.resource.not_found(&target.name))?;
    object::parse(&entry.value)
}

/// The container that the request names, the only one, or the one that the pod says is meant.
fn container(pod: &Value, query: &Query) -> Result<String> {
    let names: Vec<&str> = ["containers", "initContainers", "ephemeralContainers"]
        .iter()
        .filter_map(|list| pod.pointer(&format!("/spec/{list}")).and_then(Value::as_array))
        .flatten()
        .filter_map(|c| c.get("name").and_then(Value::as_str))
        .collect();
    let name = meta(pod, "name");
    if let Some(wanted) = query.get("container") {
        return if names.contains(&wanted) {
            Ok(wanted.to_owned())
        } else {
            Err(Error::bad_request(format!("container {wanted} is not valid for pod {name}")))
        };
    }
    let annotated = pod.get("metadata").and_then(|m| m.get("annotations")?.get(DEFAULT_CONTAINER)?.as_str());
    if let Some(annotated) = annotated.filter(|a| names.contains(a)) {
        return Ok(annotated.to_owned());
    }
    let main: Vec<&str> = pod
        .pointer("/spec/containers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|c| c.get("name").and_then(Value::as_str))
        .collect();
    match main.as_slice() {
        [only] => Ok((*only).to_owned()),
        many => Err(Error::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            many.join(" ")
        ))),
    }
}

fn scheduled(pod: &Value) -> Result<()> {
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    if node.is_empty() {
        return Err(Error::bad_request(format!("pod {} does not have a host assigned", meta(pod, "name"))));
    }
    Ok(())
}

fn raw_query(call: &Call) -> String {
    call.request.uri().query().unwrap_or_default().to_owned()
}

/// `pods/log`.
pub(super) async fn log(server: Arc<Server>, call: Call) -> Result<Response> {
    let pod = pod(&server, &call)?;
    let container = container(&pod, &call.query)?;
    if pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default().is_empty() {
        // As long as nothing ran there is nothing to read.
        return Ok(crate::status::bytes_response(http::StatusCode::OK, "text/plain", bytes::Bytes::new()));
    }
    let path = format!("/containerLogs/{}/{}/{container}", call.target.namespace, call.target.name);
    let query = raw_query(&call);
    forward(&server, call, &path, &query).await
}

/// `pods/exec`.
pub(super) async fn exec(server: Arc<Server>, call: Call) -> Result<Response> {
    to_container(&server, call, "exec").await
}

/// `pods/attach`.
pub(super) async fn attach(server: Arc<Server>, call: Call) -> Result<Response> {
    to_container(&server, call, "attach").await
}

async fn to_container(server: &Server, call: Call, what: &str) -> Result<Response> {
    let pod = pod(server, &call)?;
    let container = container(&pod, &call.query)?;
    scheduled(&pod)?;
    let path = format!("/{what}/{}/{}/{container}", call.target.namespace, call.target.name);
    // The kubelet's names for the same things.
    let renamed: Vec<String> = raw_query(&call)
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("container="))
        .map(|pair| match pair.split_once('=') {
            Some(("stdin", v)) => format!("input={v}&stdin={v}"),
            Some(("stdout", v)) => format!("output={v}&stdout={v}"),
            Some(("stderr", v)) => format!("error={v}&stderr={v}"),
            _ => pair.to_owned(),
        })
        .collect();
    forward(server, call, &path, &renamed.join("&")).await
}

/// `pods/portforward`.
pub(super) async fn port_forward(server: Arc<Server>, call: Call) -> Result<Response> {
    let pod = pod(&server, &call)?;
    scheduled(&pod)?;
    let path = format!("/portForward/{}/{}", call.target.namespace, call.target.name);
    let query = raw_query(&call);
    forward(&server, call, &path, &query).await
}

/// `pods/proxy`: handed on as `/podProxy/{namespace}/{pod}/{port}/{path}`.
pub(super) async fn pod_proxy(server: Arc<Server>, call: Call) -> Result<Response> {
    let (name, port) = split_port(&call.target.name);
    let key = call.resource.key(&call.target.namespace, &name);
    let entry = server.store.get(&key).ok_or_else(|| call.resource.not_found(&name))?;
    let pod = object::parse(&entry.value)?;
    let port = match port {
        Some(port) => port,
        None => pod
            .pointer("/spec/containers/0/ports/0/containerPort")
            .map(Value::to_string)
            .ok_or_else(|| Error::bad_request(format!("pod {name} has no port; name one: {name}:8080")))?,
    };
    scheduled(&pod)?;
    let namespace = call.target.namespace.clone();
    proxied(&server, call, &format!("/podProxy/{namespace}/{name}/{port}")).await
}

/// `services/proxy`: to a ready endpoint of the Service.
pub(super) async fn service_proxy(server: Arc<Server>, call: Call) -> Result<Response> {
    let (name, port) = split_port(&call.target.name);
    let namespace = call.target.namespace.clone();
    let key = call.resource.key(&namespace, &name);
    let entry = server.store.get(&key).ok_or_else(|| call.resource.not_found(&name))?;
    let service = object::parse(&entry.value)?;
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default();
    let wanted = ports.iter().find(|p| match &port {
        None => true,
        Some(port) => {
            p.get("name").and_then(Value::as_str) == Some(port)
                || port.parse::<i64>().is_ok_and(|n| p.get("port").and_then(Value::as_i64) == Some(n))
        }
    });
    let wanted = wanted.ok_or_else(|| Error::bad_request(format!("service {name} has no such port")))?;
    let port_name = wanted.get("name").and_then(Value::as_str).unwrap_or_default();
    let slices = crate::projection::objects(
        &*server.store,
        &format!("{}{namespace}/", prefix("discovery.k8s.io", "endpointslices")),
    );
    let found = slices.iter().filter(|s| labelled(s, &name)).find_map(|slice| {
        let list = slice.get("ports").and_then(Value::as_array)?;
        let port = list.iter().find(|p| p.get("name").and_then(Value::as_str).unwrap_or_default() == port_name)?;
        let ready = |e: &&Value| e.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false);
        let endpoint = slice.get("endpoints").and_then(Value::as_array)?.iter().find(ready)?;
        let pod = endpoint.pointer("/targetRef/name").and_then(Value::as_str)?;
        Some(format!("/podProxy/{namespace}/{pod}/{}", port.get("port")?))
    });
    let path = found.ok_or_else(|| Error::Unavailable(format!("no endpoints available for service {name:?}")))?;
    proxied(&server, call, &path).await
}

fn labelled(slice: &Value, service: &str) -> bool {
    let label = slice.get("metadata").and_then(|m| m.get("labels")?.get("kubernetes.io/service-name")?.as_str());
    label == Some(service)
}

/// `nodes/proxy`: the kubelet's own interface.
pub(super) async fn node_proxy(server: Arc<Server>, call: Call) -> Result<Response> {
    let (name, _) = split_port(&call.target.name);
    if server.store.get(&call.resource.key("", &name)).is_none() {
        return Err(call.resource.not_found(&name));
    }
    proxied(&server, call, "").await
}

async fn proxied(server: &Server, call: Call, base: &str) -> Result<Response> {
    let rest = call.target.rest.clone().unwrap_or_default();
    // A path that climbs would leave the object that was authorised.
    let climbs = |part: &str| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if rest.split('/').any(climbs) || rest.to_ascii_lowercase().contains("%2f") {
        return Err(Error::bad_request("the proxied path may not contain '.' or '..' segments or encoded slashes"));
    }
    let path = format!("{base}/{rest}");
    let query = raw_query(&call);
    forward(server, call, &path, &query).await
}

/// `name`, `name:port` or `scheme:name:port`.
fn split_port(name: &str) -> (String, Option<String>) {
    let parts: Vec<&str> = name.split(':').collect();
    match parts.as_slice() {
        [name, port] | [_, name, port] => ((*name).to_owned(), Some((*port).to_owned()).filter(|p| !p.is_empty())),
        _ => (name.to_owned(), None),
    }
}
