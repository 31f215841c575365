//! The daemon: wires the parts together and lives as long as the cluster does.
//!
//! Nothing is decided here. Everything above the API gets a [`kube::Client`] and its caches, nothing else.

mod background;
mod objects;
mod preflight;
mod readiness;

use std::{
    fs::File,
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    sync::Arc,
    time::{Duration, Instant},
};

use lotse_api::ApiServer;
use lotse_client::Informers;
use lotse_delivery::Delivery;
use lotse_edge::Edge;
use lotse_network::{Cidr, Network};
use lotse_node::Node;
use lotse_runtime::Runtime;
use lotse_store::{SqliteOptions, SqliteStore};
use nix::fcntl::{Flock, FlockArg};
use tokio::{net::TcpListener, signal::unix::SignalKind, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) use background::{Report, spawn_background};

use crate::{
    exit::{Failure, Kind, chain},
    profile::{Profile, write_atomically},
    settings::Settings,
};

/// `metadata.name` of the one node.
pub(crate) const NODE_NAME: &str = "lotse";
const CLUSTER_DOMAIN: &str = "cluster.local";

/// How the user's own identity is called inside the API server.
const COMPONENT_GROUPS: [&str; 1] = ["system:masters"];

/// What the API server calls itself.
pub(crate) fn kubernetes_version() -> String {
    concat!("v1.37.0+lotse-", env!("CARGO_PKG_VERSION")).to_owned()
}

/// How the daemon is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Stop the workloads, then the daemon (`lotse down`, Ctrl-C).
    Everything,
    /// Stop only the daemon; containers go on and are adopted by the next one (upgrade).
    DaemonOnly,
}

/// Runs the cluster until it is told to stop. `report` hears when it is ready.
pub(crate) fn run(profile: &Profile, settings: &Settings, started: Instant, report: Report) -> Result<(), Failure> {
    profile.create_dirs()?;
    let _lock = take_lock(profile)?;
    preflight::check()?;
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(32)
        .thread_keep_alive(Duration::from_secs(5))
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Kind::Environment, format!("cannot start threads: {error}")))?;
    let outcome = runtime.block_on(serve(profile, settings, started, report));
    runtime.shutdown_timeout(Duration::from_secs(2));
    outcome
}

/// Only one daemon for each data directory; the lock goes with the process, however it ends.
fn take_lock(profile: &Profile) -> Result<Flock<File>, Failure> {
    let path = profile.lock_file();
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| Failure::from_error(path.display(), &error))?;
    let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        let message = format!("profile {} is running already: {} is in use", profile.name, profile.data_dir.display());
        Failure::new(Kind::Environment, message)
            .with_hint("`lotse status` shows it; `lotse up --profile NAME` starts another one")
    })?;
    file.set_len(0)
        .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()))
        .map_err(|error| Failure::from_error(path.display(), &error))?;
    Ok(file)
}

async fn serve(profile: &Profile, settings: &Settings, started: Instant, report: Report) -> Result<(), Failure> {
    let data = &profile.data_dir;
    // Signals first: one that arrives during the start must not kill us half-way.
    let mut stop = StopSignals::new()?;
    // Ports before anything is changed, so that a taken port leaves no trace.
    let api_listener = listen("the Kubernetes API", "--api-port", settings.api_port).await?;
    let mut edge_config = lotse_edge::Config::new(
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, settings.http_port)),
        Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, settings.https_port))),
    );
    edge_config.publish_address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let edge = Edge::bind(edge_config).map_err(|error| {
        Failure::new(Kind::Environment, format!("the edge cannot listen: {}", chain(&error)))
            .with_hint("choose other ports with --http-port and --https-port")
    })?;
    settings.remember(profile)?;

    let network_config = lotse_network::Config {
        profile: profile.name.clone(),
        pod_cidr: cidr(profile.pod_network())?,
        service_cidr: cidr(profile.service_network())?,
        dns_ip: profile.dns_address(),
        state_dir: data.join("network"),
        namespace_dir: profile.run_dir.join("netns"),
        reserved_ports: vec![22, settings.api_port, settings.http_port, settings.https_port],
        external_ips: false,
    };
    let environment = |part: &'static str| {
        move |error: &dyn std::error::Error| Failure::new(Kind::Environment, format!("{part}: {}", chain(error)))
    };
    // Opening runtime and network blocks (netlink, files) and does not depend on the store: side by side.
    let network = tokio::task::spawn_blocking(move || Network::open(network_config));
    let runtime_config = lotse_runtime::Config::new(
        data.join("runtime"),
        profile.run_dir.join("shims"),
        format!("/lotse-{}", profile.name),
    );
    let runtime = tokio::task::spawn_blocking(move || Runtime::open(runtime_config));
    let store_path = data.join("store").join("state.db");
    let store = tokio::task::spawn_blocking(move || {
        if let Some(directory) = store_path.parent() {
            std::fs::create_dir_all(directory).map_err(|error| Failure::from_error(directory.display(), &error))?;
        }
        SqliteStore::open(&store_path, SqliteOptions::default())
            .map_err(|error| Failure::new(Kind::Environment, format!("{}: {}", store_path.display(), chain(&error))))
    });
    let store = Arc::new(join(store.await)??);

    let mut api_config = lotse_api::Config::new(data.join("pki"));
    api_config.service_cidr = (profile.service_network(), 16);
    api_config.advertise_port = settings.api_port;
    api_config.cluster_domain = CLUSTER_DOMAIN.to_owned();
    api_config.git_version = kubernetes_version();
    let network = Arc::new(join(network.await)?.map_err(|error| environment("network")(&error))?);
    api_config.advertise_address = lotse_network::PodNetwork::host_ip(network.as_ref());
    let api = ApiServer::new(store.clone(), api_config).await.map_err(|error| environment("API server")(&error))?;
    let url = format!("https://127.0.0.1:{}", settings.api_port);
    let kubeconfig = api.kubeconfig(&cluster_name(profile), &url);
    write_atomically(&profile.kubeconfig(), kubeconfig.as_bytes())?;

    let client = api.client("system:lotse", &COMPONENT_GROUPS);
    let informers = Informers::new(client.clone());
    let delivery = Delivery::new(
        informers.clone(),
        lotse_delivery::Config { mirrors: data.join("delivery"), poll: Duration::from_secs(settings.poll_seconds) },
    );
    let mut parts: JoinSet<(&'static str, String)> = JoinSet::new();
    {
        let (api, webhook) = (api.clone(), delivery.webhook());
        parts.spawn(async move { ("API server", outcome(api.serve_with(api_listener, webhook).await)) });
    }
    let api_ready = started.elapsed();

    tokio::try_join!(objects::publish_dns(&client, profile.dns_address()), objects::make_control_namespace(&client),)?;
    let runtime = Arc::new(join(runtime.await)?.map_err(|error| environment("container runtime")(&error))?);
    let mut node_config = lotse_node::Config::new(NODE_NAME, data.join("node"), data.join("logs"));
    node_config.cluster_domain = CLUSTER_DOMAIN.to_owned();
    node_config.version = kubernetes_version();
    node_config.runtime_version = format!("lotse://{}", env!("CARGO_PKG_VERSION"));
    let node = Node::new(&informers, runtime.clone(), network.clone(), node_config)
        .streaming(Arc::new(lotse_streaming::Streaming));
    api.set_kubelet(node.router());
    let node = Arc::new(node);

    let controllers = lotse_controllers::Config {
        node_name: NODE_NAME.to_owned(),
        volumes_dir: data.join("volumes"),
        ca_pem: api.pki().ca_certificate().to_owned(),
        cluster_domain: CLUSTER_DOMAIN.to_owned(),
        terminated_pods_limit: 1000,
    };
    let dns = lotse_network::DnsConfig {
        address: profile.dns_address(),
        port: 53,
        domain: CLUSTER_DOMAIN.to_owned(),
        ranges: vec![cidr(profile.pod_network())?, cidr(profile.service_network())?],
        upstream: None,
    };
    let drain = CancellationToken::new();
    let draining = drain.clone();
    let mut running = JoinSet::new();
    {
        let (node, informers) = (node.clone(), informers.clone());
        running.spawn(async move { node.run().await });
        parts.spawn(part("controllers", lotse_controllers::run(informers.clone(), controllers)));
        parts.spawn(part("services", lotse_network::run_services(network.clone(), informers.clone())));
        parts.spawn(part("delivery", delivery.run()));
        let for_dns = informers.clone();
        parts.spawn(async move { ("DNS", outcome(lotse_network::run_dns(dns, for_dns).await)) });
    }
    let mut edge = tokio::spawn(edge.run(informers.clone(), draining));
    let node_ready = readiness::wait_for_node(&informers, NODE_NAME, Duration::from_secs(30), started);
    let stop = tokio::select! {
        ready = node_ready => {
            report.ready(api_ready, ready?, &url, profile, settings);
            tokio::select! {
                stop = stop.next() => stop,
                ended = parts.join_next() => return Err(ended_early(ended)),
                ended = &mut edge => return Err(ended_early(Some(Ok(("edge", outcome(join(ended)?)))))),
            }
        }
        stop = stop.next() => stop,
        ended = parts.join_next() => return Err(ended_early(ended)),
        ended = &mut edge => return Err(ended_early(Some(Ok(("edge", outcome(join(ended)?)))))),
    };
    // The edge finishes what it has begun while the rest still works; it gives up by itself after its drain timeout.
    drain.cancel();
    let _ = edge.await;
    if stop == Stop::Everything {
        tracing::info!("stopping the workloads");
        // The node stops acting on its own before its pods are stopped, or it would start them again.
        running.shutdown().await;
        node.stop_pods().await;
    }
    running.shutdown().await;
    api.shutdown();
    parts.shutdown().await;
    let closing = store.clone();
    join(tokio::task::spawn_blocking(move || closing.close()).await)?;
    tracing::info!("stopped");
    Ok(())
}

/// Removes what the profile has left in the kernel: containers, network, mounts.
pub(crate) fn remove_traces(profile: &Profile) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Kind::Environment, format!("cannot start threads: {error}")))?;
    runtime.block_on(async {
        let runtime_root = profile.data_dir.join("runtime");
        if runtime_root.exists() {
            let config = lotse_runtime::Config::new(
                runtime_root,
                profile.run_dir.join("shims"),
                format!("/lotse-{}", profile.name),
            );
            let containers = Runtime::open(config).map_err(|error| Failure::from_error("container runtime", &error))?;
            for pod in lotse_runtime::ContainerRuntime::pods(&containers) {
                lotse_runtime::ContainerRuntime::remove_pod(&containers, &pod.spec.uid)
                    .await
                    .map_err(|error| Failure::from_error(format!("pod {}", pod.spec.name), &error))?;
            }
        }
        lotse_node::unmount_below(&profile.data_dir.join("node"))
            .map_err(|error| Failure::from_error("volumes", &error))?;
        if profile.data_dir.join("network").exists() {
            let config = lotse_network::Config {
                profile: profile.name.clone(),
                pod_cidr: cidr(profile.pod_network())?,
                service_cidr: cidr(profile.service_network())?,
                dns_ip: profile.dns_address(),
                state_dir: profile.data_dir.join("network"),
                namespace_dir: profile.run_dir.join("netns"),
                reserved_ports: Vec::new(),
                external_ips: false,
            };
            Network::open(config)
                .and_then(|network| network.teardown())
                .map_err(|error| Failure::from_error("network", &error))?;
        }
        Ok(())
    })
}

fn cluster_name(profile: &Profile) -> String {
    if profile.name == crate::profile::DEFAULT { "lotse".to_owned() } else { format!("lotse-{}", profile.name) }
}

fn cidr(network: Ipv4Addr) -> Result<Cidr, Failure> {
    Cidr::new(network, 16).ok_or_else(|| Failure::new(Kind::Failed, format!("{network}/16 is not a network")))
}

/// The API listens on loopback and every other address; nothing is answered there without authentication.
async fn listen(what: &str, flag: &str, port: u16) -> Result<TcpListener, Failure> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    TcpListener::bind(address).await.map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!("port {port} for {what} is taken by another program"),
            _ => format!("cannot listen on port {port} for {what}: {error}"),
        };
        Failure::new(Kind::Environment, message)
            .with_hint(format!("choose another port with {flag}, or stop the other program"))
    })
}

/// A part that is never supposed to end.
async fn part(name: &'static str, future: impl Future<Output = ()>) -> (&'static str, String) {
    future.await;
    (name, "it ended".to_owned())
}

fn outcome<E: std::error::Error>(result: Result<(), E>) -> String {
    match result {
        Ok(()) => "it ended".to_owned(),
        Err(error) => chain(&error),
    }
}

fn ended_early(ended: Option<Result<(&'static str, String), tokio::task::JoinError>>) -> Failure {
    let message = match ended {
        Some(Ok((name, reason))) => format!("{name}: {reason}"),
        Some(Err(panic)) => format!("a part failed unexpectedly: {panic}"),
        None => "everything ended".to_owned(),
    };
    Failure::new(Kind::Failed, message).with_hint("containers keep running; `lotse up` adopts them")
}

fn join<T>(joined: Result<T, tokio::task::JoinError>) -> Result<T, Failure> {
    joined.map_err(|error| Failure::new(Kind::Failed, format!("a part failed unexpectedly: {error}")))
}

/// SIGINT and SIGTERM, from the first moment on.
struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn new() -> Result<Self, Failure> {
        let signal = |kind| tokio::signal::unix::signal(kind).map_err(|error| Failure::from_error("signals", &error));
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Everything,
            _ = self.terminate.recv() => Stop::DaemonOnly,
        }
    }
}
