//! A machine of its own for a test (network and mount namespace of one thread and all threads that it starts), pods
//! on it, and an API server that serves just enough for the caches.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::Query,
    response::{IntoResponse, Response},
    routing::get,
};
use lotse_client::Informers;
use lotse_network::{Config, Network};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Runs `test` on a machine of its own; says so and returns if this process may not make one.
pub(crate) fn on_own_machine<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    if !lotse_network::check().is_empty() {
        eprintln!("skipped: needs root, nf_tables, bridge and veth: {:?}", lotse_network::check());
        return;
    }
    let machine = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        run("ip", &["link", "set", "lo", "up"]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = machine.join() {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn config(directory: &Path) -> Config {
    Config {
        profile: "nettest".into(),
        pod_cidr: "10.242.0.0/16".parse().unwrap(),
        service_cidr: "10.243.0.0/16".parse().unwrap(),
        dns_ip: Ipv4Addr::new(10, 243, 0, 10),
        state_dir: directory.join("state"),
        namespace_dir: directory.join("netns"),
        reserved_ports: vec![],
        external_ips: false,
    }
}

pub(crate) fn open(directory: &Path) -> Arc<Network> {
    Arc::new(Network::open(config(directory)).unwrap())
}

/// Runs `work` inside a pod's namespace.
pub(crate) fn in_pod<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(File::open(namespace).unwrap().as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

/// A server in a pod that answers every connection with `name` and the client's address. Ends with the process.
pub(crate) fn serve(namespace: &Path, port: u16, name: &'static str) {
    let listener = in_pod(namespace, || TcpListener::bind(("0.0.0.0", port)).unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let peer = stream.peer_addr().unwrap().ip();
            let _ = stream.write_all(format!("{name} {peer}").as_bytes());
        }
    });
}

/// What the server at `address` says, or how connecting failed.
pub(crate) fn ask(address: impl Into<SocketAddr>) -> Result<String, std::io::ErrorKind> {
    let mut stream =
        TcpStream::connect_timeout(&address.into(), Duration::from_secs(3)).map_err(|error| error.kind())?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| error.kind())?;
    Ok(text)
}

/// Waits until `condition` holds and returns how long that took.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(5), "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    began.elapsed()
}

/// Every change ever made, in order: number, plural, event type, object.
type Log = Vec<(u64, &'static str, &'static str, Value)>;

/// Lists and watches of Services and EndpointSlices.
#[derive(Clone)]
pub(crate) struct Api {
    log: Arc<Mutex<Log>>,
    last: Arc<watch::Sender<u64>>,
}

impl Api {
    pub(crate) fn new() -> Self {
        Self { log: Arc::default(), last: Arc::new(watch::channel(1).0) }
    }

    pub(crate) fn informers(&self) -> Informers {
        let router = Router::new().route("/api/v1/services", self.route("services", "v1", "ServiceList")).route(
            "/apis/discovery.k8s.io/v1/endpointslices",
            self.route("endpointslices", "discovery.k8s.io/v1", "EndpointSliceList"),
        );
        Informers::new(kube::Client::new(router, "default"))
    }

    pub(crate) fn service(&self, name: &str, spec: Value) {
        let metadata = json!({"name": name, "namespace": "default"});
        self.change(
            "services",
            "MODIFIED",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}),
        );
    }

    pub(crate) fn slice(&self, service: &str, port: u16, protocol: &str, addresses: &[Ipv4Addr]) {
        let metadata = json!({"name": format!("{service}-1"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": service}});
        let endpoints: Vec<Value> = addresses.iter().map(|ip| json!({"addresses": [ip.to_string()]})).collect();
        self.change(
            "endpointslices",
            "MODIFIED",
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "addressType": "IPv4", "metadata": metadata, "endpoints": endpoints,
            "ports": [{"port": port, "protocol": protocol}]}),
        );
    }

    fn change(&self, plural: &'static str, kind: &'static str, mut object: Value) {
        let number = *self.last.borrow() + 1;
        object["metadata"]["resourceVersion"] = json!(number.to_string());
        self.log.lock().unwrap().push((number, plural, kind, object));
        self.last.send_replace(number);
    }

    fn route(&self, plural: &'static str, version: &'static str, list: &'static str) -> axum::routing::MethodRouter {
        let api = self.clone();
        get(move |Query(query): Query<BTreeMap<String, String>>| async move {
            if query.contains_key("watch") {
                let from = query.get("resourceVersion").and_then(|from| from.parse().ok()).unwrap_or(0);
                return api.watch(plural, from);
            }
            let mut items: BTreeMap<String, Value> = BTreeMap::new();
            for (_, found, _, object) in api.log.lock().unwrap().iter() {
                if *found == plural {
                    items.insert(object["metadata"]["name"].to_string(), object.clone());
                }
            }
            let items: Vec<Value> = items.into_values().collect();
            let metadata = json!({"resourceVersion": api.last.borrow().to_string()});
            Json(json!({"apiVersion": version, "kind": list, "metadata": metadata, "items": items})).into_response()
        })
    }

    fn watch(&self, plural: &'static str, from: u64) -> Response {
        let start = (self.log.clone(), self.last.subscribe(), from);
        let events = futures::stream::unfold(start, move |(log, mut last, seen)| async move {
            loop {
                let now = *last.borrow_and_update();
                let lines: String = log
                    .lock()
                    .unwrap()
                    .iter()
                    .filter(|(number, found, _, _)| *number > seen && *number <= now && *found == plural)
                    .map(|(_, _, kind, object)| format!("{}\n", json!({"type": kind, "object": object})))
                    .collect();
                if !lines.is_empty() {
                    return Some((Ok::<_, Infallible>(lines), (log, last, now)));
                }
                last.changed().await.ok()?;
            }
        });
        Body::from_stream(events).into_response()
    }
}
