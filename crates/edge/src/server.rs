//! Listening sockets and the life of the edge from binding to the last response.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use lotse_client::Informers;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config, Error, Metrics, connection::Server, proxy::Gateway, registry::Registry, status, table::Served, tls,
    tunnel::Tunnels, watch,
};

/// Connections that the kernel completes before the edge accepts them.
const BACKLOG: i32 = 4096;

/// How often idle backend connections are looked at.
const SWEEP: Duration = Duration::from_secs(10);

/// The edge with its ports taken, not yet serving.
#[derive(Debug)]
pub struct Edge {
    config: Config,
    http: Vec<TcpListener>,
    https: Vec<TcpListener>,
    metrics: Metrics,
}

/// Binds and serves until the process ends. [`Edge::bind`] and [`Edge::run`] are the same in two steps, with a way to
/// stop.
///
/// # Errors
/// When a port cannot be bound or TLS cannot be set up.
pub async fn run(config: Config, informers: Informers) -> Result<(), Error> {
    Edge::bind(config)?.run(informers, CancellationToken::new()).await
}

// === impl Edge ===

impl Edge {
    /// Takes the ports. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Bind`] when one is taken or needs a privilege.
    pub fn bind(config: Config) -> Result<Self, Error> {
        let http = listen(config.http, "http")?;
        let https = config.https.map(|address| listen(address, "https")).transpose()?.unwrap_or_default();
        Ok(Self { config, http, https, metrics: Metrics::default() })
    }

    /// Where plain HTTP is served; with port 0 configured, the port that was given.
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        self.http.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Where HTTPS is served.
    pub fn https_addresses(&self) -> Vec<SocketAddr> {
        self.https.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// The counters, which stay valid while the edge runs.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Serves until `shutdown`; then accepts no more and gives requests under way [`Config::drain_timeout`].
    ///
    /// # Errors
    /// When TLS cannot be set up. Problems of single Ingresses are Events on them.
    pub async fn run(self, informers: Informers, shutdown: CancellationToken) -> Result<(), Error> {
        let registry = Arc::new(Registry::new(self.metrics.clone()).map_err(Error::Tls)?);
        let served = Arc::new(Served::default());
        let mut background = JoinSet::new();
        let (ready, built) = tokio::sync::oneshot::channel();
        background.spawn(watch::run(informers.clone(), self.config.clone(), registry.clone(), served.clone(), ready));
        background.spawn(status::run(informers, self.config.clone()));
        // Serving before the first table would answer 404 for what exists; clients wait in the backlog instead.
        tokio::select! {
            _ = built => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        self.serve(served, registry, shutdown).await
    }

    /// Serves `served` until `shutdown`, whoever fills it.
    pub(crate) async fn serve(
        self,
        served: Arc<Served>,
        registry: Arc<Registry>,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let tunnels = Tunnels::default();
        let https_port = self.https_addresses().first().map(SocketAddr::port);
        let acceptor = match self.https.is_empty() {
            true => None,
            false => {
                let config = tls::server_config(served.clone(), self.config.default_certificate.as_ref())?;
                Some(TlsAcceptor::from(Arc::new(config)))
            }
        };
        let drain = self.config.drain_timeout;
        let permits = Arc::new(Semaphore::new(self.config.max_connections));
        let client_timeout = self.config.client_timeout;
        let gateway = Arc::new(Gateway {
            served,
            registry: registry.clone(),
            tunnels: tunnels.clone(),
            https_port,
            client_timeout,
        });
        let server = Arc::new(Server { gateway, config: self.config, shutdown: shutdown.clone() });
        let connections = TaskTracker::new();
        let mut tasks = JoinSet::new();
        let plain = self.http.into_iter().map(|listener| (listener, None));
        for (listener, tls) in plain.chain(self.https.into_iter().map(|listener| (listener, acceptor.clone()))) {
            tasks.spawn(accept(
                listener,
                tls,
                server.clone(),
                permits.clone(),
                connections.clone(),
                self.metrics.clone(),
            ));
        }
        tasks.spawn(async move {
            loop {
                sleep(SWEEP).await;
                registry.sweep();
            }
        });
        shutdown.cancelled().await;
        // Dropping the tasks closes the listening sockets.
        tasks.shutdown().await;
        connections.close();
        let _ = timeout(drain, connections.wait()).await;
        tunnels.close().await;
        Ok(())
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    server: Arc<Server>,
    permits: Arc<Semaphore>,
    connections: TaskTracker,
    metrics: Metrics,
) {
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // The peer gave up already, or descriptors ran out: then only time helps.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
                continue;
            }
        };
        let (server, tls, metrics) = (server.clone(), tls.clone(), metrics.clone());
        connections.spawn(async move {
            let _permit = permit;
            metrics.connection_gauge().fetch_add(1, Relaxed);
            server.serve(stream, peer, tls).await;
            metrics.connection_gauge().fetch_sub(1, Relaxed);
        });
    }
}

/// Sockets for `address`: an unspecified one serves both families, a loopback one both loopback addresses, so that
/// `localhost` works whatever it resolves to.
fn listen(address: SocketAddr, purpose: &'static str) -> Result<Vec<TcpListener>, Error> {
    let failed = |source| Error::Bind { address, purpose, source };
    if address.ip().is_unspecified() {
        let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
        return match socket(both, false) {
            Ok(listener) => Ok(vec![listener]),
            // Without IPv6 in the kernel there is only the other family.
            Err(error) if is_without_family(&error) => Ok(vec![socket(address, true).map_err(failed)?]),
            Err(error) => Err(failed(error)),
        };
    }
    let first = socket(address, true).map_err(failed)?;
    let mut listeners = vec![first];
    if matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback()) {
        let port = listeners[0].local_addr().map_err(failed)?.port();
        match socket(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port), true) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_without_family(&error) => {}
            Err(source) => {
                let address = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port);
                return Err(Error::Bind { address, purpose, source });
            }
        }
    }
    Ok(listeners)
}

fn is_without_family(error: &io::Error) -> bool {
    // EAFNOSUPPORT is not a kind of its own.
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(97)
}

fn socket(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
