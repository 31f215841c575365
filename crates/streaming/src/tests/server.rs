//! As much of an API server as clients need to reach [`crate::Streaming`]; containers are processes of this machine.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    response::Response,
    routing::{any, get},
};
use lotse_node::streaming::{BoxFuture, Connect, Handlers, OpenSession, Streams};
use lotse_runtime::Session;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
};

use crate::Streaming;

/// A running server, stopped when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

/// What the sessions have been told.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) sizes: Mutex<Vec<(u16, u16)>>,
    pub(super) pids: Mutex<Vec<u32>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start() -> Self {
        let seen = Arc::new(Seen::default());
        let pods = "/api/v1/namespaces/{namespace}/pods/{pod}";
        let router = Router::new()
            .route("/api", get(|| async { Json(json!({"kind": "APIVersions", "versions": ["v1"]})) }))
            .route("/apis", get(|| async { Json(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})) }))
            .route("/api/v1", get(async || Json(resources())))
            .route(pods, get(async |Path((namespace, pod))| Json(pod_object(namespace, pod))))
            .route(&format!("{pods}/exec"), any(exec))
            .route(&format!("{pods}/attach"), any(attach))
            .route(&format!("{pods}/portforward"), any(port_forward))
            .with_state(seen.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, seen, task }
    }

    pub(super) fn client(&self) -> kube::Client {
        let config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        kube::Client::try_from(config).unwrap()
    }

    /// Whether the last process that was started still runs.
    pub(super) fn process_runs(&self) -> bool {
        self.seen.pids.lock().unwrap().last().is_some_and(|pid| runs(*pid))
    }

    /// How many of the processes that were started still run.
    pub(super) fn running(&self) -> usize {
        self.seen.pids.lock().unwrap().iter().filter(|pid| runs(**pid)).count()
    }
}

fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn resources() -> Value {
    let names = ["pods", "pods/exec", "pods/attach", "pods/portforward"];
    let resources: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["get", "create", "list"]}))
        .collect();
    json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": resources})
}

fn pod_object(namespace: String, pod: String) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": pod, "namespace": namespace},
        "spec": {"containers": [{"name": "main", "stdin": true, "tty": false}]},
        "status": {"phase": "Running"},
    })
}

type Pairs = Query<Vec<(String, String)>>;

fn streams(pairs: &[(String, String)]) -> Streams {
    let flag = |name: &str| pairs.iter().any(|(key, value)| key == name && value == "true");
    Streams { stdin: flag("stdin"), stdout: flag("stdout"), stderr: flag("stderr") && !flag("tty"), tty: flag("tty") }
}

async fn exec(State(seen): State<Arc<Seen>>, Query(pairs): Pairs, request: Request<Body>) -> Response {
    let command = pairs.iter().filter(|(key, _)| key == "command").map(|(_, value)| value.clone()).collect();
    let streams = streams(&pairs);
    Streaming.exec(request, streams, session(seen, command, streams)).await
}

async fn attach(State(seen): State<Arc<Seen>>, Query(pairs): Pairs, request: Request<Body>) -> Response {
    let script = "echo attached; cat; exit 7";
    let streams = streams(&pairs);
    Streaming.attach(request, streams, session(seen, vec!["sh".into(), "-c".into(), script.into()], streams)).await
}

fn session(seen: Arc<Seen>, command: Vec<String>, streams: Streams) -> OpenSession {
    Box::new(move || Box::pin(async move { run(&seen, &command, streams) }))
}

fn run(seen: &Arc<Seen>, command: &[String], streams: Streams) -> Result<Session, String> {
    let (program, arguments) = command.split_first().unwrap();
    let mut process = Command::new(program);
    process.args(arguments).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    process.stdin(if streams.stdin { Stdio::piped() } else { Stdio::null() });
    let mut child = process.spawn().map_err(|error| format!("cannot start {program:?}: {error}"))?;
    seen.pids.lock().unwrap().push(child.id().unwrap());
    let seen = seen.clone();
    Ok(Session {
        stdin: child.stdin.take().map(|pipe| Box::new(pipe) as _),
        stdout: child.stdout.take().map(|pipe| Box::new(pipe) as _),
        stderr: child.stderr.take().map(|pipe| Box::new(pipe) as _),
        resize: streams.tty.then(|| {
            Box::new(move |columns, rows| seen.sizes.lock().unwrap().push((columns, rows)))
                as Box<dyn Fn(u16, u16) + Send + Sync>
        }),
        exit: Box::pin(async move { Ok(child.wait().await.unwrap().code().unwrap_or(137)) }),
    })
}

async fn port_forward(request: Request<Body>) -> Response {
    let connect: Connect = Arc::new(|port| -> BoxFuture<'static, Result<TcpStream, String>> {
        Box::pin(
            async move { TcpStream::connect(("127.0.0.1", port)).await.map_err(|_| "connection refused".to_owned()) },
        )
    });
    Streaming.port_forward(request, connect).await
}

/// Waits up to ten seconds for something to become true.
pub(super) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}
