//! The kubelet's HTTP routes, as the API server uses them.
#![allow(clippy::result_large_err, reason = "an error is the response that is sent")]

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ListMeta};
use lotse_client::Key;
use lotse_runtime::{ContainerState, ExecSpec};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    containers,
    error::chain,
    images_api, logs, pod_proxy,
    pods::{Shared, safe_name},
    stats,
    streaming::{Handlers, OpenSession, Streams},
};

/// Pieces of a log that may wait for a slow client.
const LOG_QUEUE: usize = 16;

#[derive(Clone)]
struct Kubelet {
    shared: Arc<Shared>,
    handlers: Option<Arc<dyn Handlers>>,
}

pub(crate) fn router(shared: Arc<Shared>, handlers: Option<Arc<dyn Handlers>>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/pods", get(pods))
        .route("/stats/summary", get(summary))
        .route("/metrics/resource", get(metrics))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .route("/exec/{namespace}/{pod}/{container}", get(exec).post(exec))
        .route("/attach/{namespace}/{pod}/{container}", get(attach).post(attach))
        .route("/portForward/{namespace}/{pod}", get(port_forward).post(port_forward))
        .route("/podProxy/{namespace}/{pod}/{port}/", any(pod_proxy))
        .route("/podProxy/{namespace}/{pod}/{port}/{*path}", any(pod_proxy))
        .with_state(Kubelet { shared: shared.clone(), handlers })
        .merge(images_api::router(shared))
}

/// A refusal as a `Status`, which clients print as one sentence.
fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    let reason = match status {
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::BAD_REQUEST => "BadRequest",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY => "ServiceUnavailable",
        StatusCode::GATEWAY_TIMEOUT => "Timeout",
        _ => "InternalError",
    };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message.into(), "reason": reason, "code": status.as_u16(),
    });
    (status, Json(body)).into_response()
}

// === impl Kubelet ===

impl Kubelet {
    fn pod(&self, namespace: &str, name: &str) -> Result<Arc<Pod>, Response> {
        let pod = self.shared.pods.get(&Key::namespaced(namespace, name)).filter(|pod| self.shared.is_ours(pod));
        pod.ok_or_else(|| {
            refuse(StatusCode::NOT_FOUND, format!("pod \"{name}\" not found in namespace \"{namespace}\""))
        })
    }

    /// The id of the container's running instance.
    fn running(&self, pod: &Pod, container: &str) -> Result<(String, String), Response> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let instances = self.shared.runtime.pod(&uid).map(|pod| pod.containers).unwrap_or_default();
        let mut running = instances
            .into_iter()
            .filter(|one| one.name == container && matches!(one.state, ContainerState::Running { .. }));
        match running.next_back() {
            Some(instance) => Ok((uid, instance.id)),
            None => Err(refuse(StatusCode::BAD_REQUEST, format!("container \"{container}\" is not running"))),
        }
    }
}

async fn pods(State(kubelet): State<Kubelet>) -> Json<serde_json::Value> {
    let items = kubelet.shared.pods.filter(|pod| kubelet.shared.is_ours(pod));
    let items: Vec<&Pod> = items.iter().map(AsRef::as_ref).collect();
    let metadata = ListMeta::default();
    Json(serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items}))
}

async fn summary(State(kubelet): State<Kubelet>) -> Json<serde_json::Value> {
    Json(stats::summary(&kubelet.shared).await)
}

async fn metrics(State(kubelet): State<Kubelet>) -> Response {
    let text = stats::metrics(&kubelet.shared).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogQuery {
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    previous: bool,
    #[serde(default)]
    timestamps: bool,
    tail_lines: Option<u64>,
    since_seconds: Option<u64>,
    since_time: Option<String>,
    limit_bytes: Option<u64>,
    stream: Option<String>,
}

async fn container_logs(
    State(kubelet): State<Kubelet>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    Query(query): Query<LogQuery>,
) -> Response {
    match open_logs(&kubelet, &namespace, &name, &container, query) {
        Ok(response) | Err(response) => response,
    }
}

fn open_logs(
    kubelet: &Kubelet,
    namespace: &str,
    name: &str,
    container: &str,
    query: LogQuery,
) -> Result<Response, Response> {
    let pod = kubelet.pod(namespace, name)?;
    let known = pod.spec.as_ref().is_some_and(|spec| containers::find(spec, container).is_some());
    if !known || !safe_name(container) {
        let message = format!("container \"{container}\" in pod \"{name}\" is not available");
        return Err(refuse(StatusCode::NOT_FOUND, message));
    }
    let since = match (query.since_time, query.since_seconds) {
        (Some(time), _) => match time.parse::<Timestamp>() {
            Ok(time) => Some(time),
            Err(_) => return Err(refuse(StatusCode::BAD_REQUEST, format!("sinceTime: {time:?} is not RFC 3339"))),
        },
        (None, Some(seconds)) => Timestamp::now().checked_sub(Duration::from_secs(seconds)).ok(),
        (None, None) => None,
    };
    let stream = match query.stream.as_deref() {
        None | Some("" | "All") => None,
        Some("Stdout" | "stdout") => Some("stdout".to_owned()),
        Some("Stderr" | "stderr") => Some("stderr".to_owned()),
        Some(other) => {
            return Err(refuse(StatusCode::BAD_REQUEST, format!("stream: {other:?} is not All, Stdout or Stderr")));
        }
    };
    let dir = kubelet.shared.log_dir(&pod).join(container);
    let files = std::fs::read_dir(&dir).into_iter().flatten().flatten();
    let mut attempts: Vec<u32> =
        files.filter_map(|file| file.file_name().to_str()?.strip_suffix(".log")?.parse().ok()).collect();
    attempts.sort_unstable();
    let attempt = if query.previous { attempts.iter().rev().nth(1) } else { attempts.last() };
    let Some(attempt) = attempt else {
        let message = if query.previous {
            format!("previous terminated container \"{container}\" in pod \"{name}\" not found")
        } else {
            format!("container \"{container}\" in pod \"{name}\" is waiting to start")
        };
        return Err(refuse(StatusCode::BAD_REQUEST, message));
    };
    let path = dir.join(format!("{attempt}.log"));
    let options = logs::Options {
        follow: query.follow && !query.previous,
        tail_lines: query.tail_lines,
        since,
        timestamps: query.timestamps,
        limit_bytes: query.limit_bytes,
        stream,
    };
    let (sender, receiver) = mpsc::channel::<io::Result<bytes::Bytes>>(LOG_QUEUE);
    let (shared, uid, log) = (kubelet.shared.clone(), pod.metadata.uid.clone().unwrap_or_default(), path.clone());
    let alive = move || {
        shared.runtime.pod(&uid).is_some_and(|pod| {
            let mut all = pod.containers.iter();
            all.any(|one| one.log_path == log && matches!(one.state, ContainerState::Running { .. }))
        })
    };
    tokio::spawn(logs::stream(path, options, alive, sender));
    let body = Body::from_stream(ReceiverStream::new(receiver));
    Ok(([(header::CONTENT_TYPE, "text/plain")], body).into_response())
}

fn query_pairs(request: &Request) -> Vec<(String, String)> {
    Query::<Vec<(String, String)>>::try_from_uri(request.uri()).map(|query| query.0).unwrap_or_default()
}

fn streams(pairs: &[(String, String)]) -> Streams {
    let flag = |names: &[&str]| {
        pairs.iter().any(|(key, value)| names.contains(&key.as_str()) && matches!(value.as_str(), "true" | "1"))
    };
    let tty = flag(&["tty"]);
    // The API server's names, and the kubelet's own.
    Streams {
        stdin: flag(&["stdin", "input"]),
        stdout: flag(&["stdout", "output"]),
        stderr: flag(&["stderr", "error"]) && !tty,
        tty,
    }
}

fn not_wired() -> Response {
    refuse(
        StatusCode::NOT_IMPLEMENTED,
        "exec, attach and port-forward are not available: this node was started without streaming protocols",
    )
}

async fn exec(
    State(kubelet): State<Kubelet>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    let Some(handlers) = kubelet.handlers.clone() else { return not_wired() };
    let found = kubelet.pod(&namespace, &name).and_then(|pod| kubelet.running(&pod, &container));
    let (uid, id) = match found {
        Ok(found) => found,
        Err(response) => return response,
    };
    let pairs = query_pairs(&request);
    let command: Vec<String> =
        pairs.iter().filter(|(key, _)| key == "command").map(|(_, value)| value.clone()).collect();
    if command.is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "command: at least one is required");
    }
    let streams = streams(&pairs);
    let spec = ExecSpec { command, stdin: streams.stdin, tty: streams.tty };
    let runtime = kubelet.shared.runtime.clone();
    let open: OpenSession =
        Box::new(move || Box::pin(async move { runtime.exec(&uid, &id, &spec).await.map_err(|error| chain(&error)) }));
    handlers.exec(request, streams, open).await
}

async fn attach(
    State(kubelet): State<Kubelet>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    let Some(handlers) = kubelet.handlers.clone() else { return not_wired() };
    let found = kubelet.pod(&namespace, &name).and_then(|pod| kubelet.running(&pod, &container));
    let (uid, id) = match found {
        Ok(found) => found,
        Err(response) => return response,
    };
    let streams = streams(&query_pairs(&request));
    let stdin = streams.stdin;
    let runtime = kubelet.shared.runtime.clone();
    let open: OpenSession = Box::new(move || {
        Box::pin(async move { runtime.attach(&uid, &id, stdin).await.map_err(|error| chain(&error)) })
    });
    handlers.attach(request, streams, open).await
}

/// `/podProxy/{namespace}/{pod}/{port}/{path}`; the port is a number or the name of a container's port.
async fn pod_proxy(
    State(kubelet): State<Kubelet>,
    Path(parts): Path<Vec<(String, String)>>,
    request: Request,
) -> Response {
    let part = |wanted: &str| {
        let found = parts.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let pod = match kubelet.pod(part("namespace"), part("pod")) {
        Ok(pod) => pod,
        Err(response) => return response,
    };
    let Some(port) = port_of(&pod, part("port")) else {
        return refuse(StatusCode::BAD_REQUEST, format!("pod {} has no port {:?}", part("pod"), part("port")));
    };
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).and_then(|ip| ip.parse().ok());
    let Some(address) = address.filter(|address| pod_proxy::is_proxyable(*address)) else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, format!("pod {} has no address", part("pod")));
    };
    // The fifth piece and what follows, as the client has written it.
    let target = request.uri().path_and_query().map_or("/", |whole| whole.as_str());
    let target = format!("/{}", target.splitn(6, '/').nth(5).unwrap_or_default());
    match pod_proxy::forward(address, port, &target, request).await {
        Ok(response) => response,
        Err((status, sentence)) => refuse(status, sentence),
    }
}

fn port_of(pod: &Pod, port: &str) -> Option<u16> {
    if let Ok(number) = port.parse::<u16>() {
        return Some(number).filter(|number| *number != 0);
    }
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.find(|one| one.name.as_deref() == Some(port)).and_then(|one| u16::try_from(one.container_port).ok())
}

async fn port_forward(
    State(kubelet): State<Kubelet>,
    Path((namespace, name)): Path<(String, String)>,
    request: Request,
) -> Response {
    let Some(handlers) = kubelet.handlers.clone() else { return not_wired() };
    let pod = match kubelet.pod(&namespace, &name) {
        Ok(pod) => pod,
        Err(response) => return response,
    };
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let network = kubelet.shared.network.clone();
    let connect = move |port: u16| -> crate::streaming::BoxFuture<'static, Result<tokio::net::TcpStream, String>> {
        let (network, uid) = (network.clone(), uid.clone());
        Box::pin(async move {
            if host_network {
                let connection = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
                return connection.map_err(|error| format!("cannot connect to port {port}: {error}"));
            }
            network.connect_loopback(&uid, port).await.map_err(|error| chain(&error))
        })
    };
    handlers.port_forward(request, Arc::new(connect)).await
}
