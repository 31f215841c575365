//! Endpoints of Services: connections that are kept, and what is known of an endpoint's health.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    annotations::Protocol,
    body::{Progress, RequestBody},
};

/// Idle connections beyond this are closed.
const IDLE_MAX: usize = 256;

/// An idle connection is closed after this. Below the usual keep-alive of servers (60-75 s), so that it is rarely the
/// backend that closes first.
const IDLE_FOR: Duration = Duration::from_secs(50);

/// A request with an effect does not go out on a connection that idled longer than this: if the backend is closing it
/// at that moment, the request could neither be confirmed nor repeated.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// An endpoint that refused a connection is passed over for this long while others are there.
const DOWN_FOR: Duration = Duration::from_secs(1);

/// One address of a Service, in one protocol. Lives as long as some table names it.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    /// Milliseconds after `epoch` until which it is passed over.
    down_until: AtomicU64,
    epoch: Instant,
    pending: AtomicUsize,
    /// No table names it any more.
    retired: AtomicBool,
    idle: Mutex<Vec<Idle>>,
    multiplexed: Mutex<Option<http2::SendRequest<RequestBody>>>,
    tls: Arc<rustls::ClientConfig>,
}

struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
}

/// A connection to an endpoint for one request; counts as pending until dropped.
pub(crate) struct Lease {
    endpoint: Arc<Endpoint>,
    /// Taken when the connection is given back.
    sender: Option<Sender>,
    /// Whether the connection served a request before.
    pub(crate) reused: bool,
    /// The request's body; the connection is only fit for reuse when all of it went out.
    pub(crate) progress: Option<Arc<Progress>>,
    once: bool,
}

enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

/// What kind of connection a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Any that works: the request can be repeated.
    Any,
    /// One that surely works.
    Fresh,
    /// A new one that serves nothing afterwards (protocol upgrades).
    Own,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("connection failed")]
    Connect(#[source] io::Error),
    #[error("handshake failed")]
    Handshake(#[source] hyper::Error),
}

/// Why there is no response.
pub(crate) struct SendError {
    /// The request, when none of it was sent.
    pub(crate) request: Option<Box<Request<RequestBody>>>,
    pub(crate) error: Option<hyper::Error>,
}

// === impl Endpoint ===

impl Endpoint {
    pub(crate) fn new(address: SocketAddr, protocol: Protocol, tls: Arc<rustls::ClientConfig>) -> Self {
        Self {
            address,
            protocol,
            down_until: AtomicU64::new(0),
            epoch: Instant::now(),
            pending: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            idle: Mutex::default(),
            multiplexed: Mutex::default(),
            tls,
        }
    }

    /// Requests under way.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Relaxed)
    }

    /// Whether it refused a connection a moment ago.
    pub(crate) fn is_down(&self) -> bool {
        let until = self.down_until.load(Relaxed);
        until != 0 && self.now() < until
    }

    pub(crate) fn mark_down(&self) {
        self.down_until.store(self.now() + DOWN_FOR.as_millis() as u64, Relaxed);
    }

    /// The endpoint left every table: requests under way go on, connections are not kept.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Relaxed);
        self.lock_idle().clear();
        self.multiplexed.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Closes connections that idled too long.
    pub(crate) fn sweep(&self) {
        self.lock_idle().retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < IDLE_FOR);
    }

    /// A connection for one request.
    pub(crate) async fn lease(self: &Arc<Self>, need: Need, within: Duration) -> Result<Lease, ConnectError> {
        if need != Need::Own
            && let Some(lease) = self.reuse(need).await
        {
            return Ok(lease);
        }
        let sender = timeout(within, self.connect()).await.map_err(|_| ConnectError::Timeout(within)).flatten();
        match sender {
            Ok(sender) => {
                self.down_until.store(0, Relaxed);
                Ok(Lease::new(self.clone(), sender, false, need == Need::Own))
            }
            Err(error) => {
                self.mark_down();
                Err(error)
            }
        }
    }

    async fn reuse(self: &Arc<Self>, need: Need) -> Option<Lease> {
        if matches!(self.protocol, Protocol::Grpc | Protocol::Grpcs) {
            let sender = self.multiplexed.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let sender = sender.filter(|sender| !sender.is_closed())?;
            return Some(Lease::new(self.clone(), Sender::Http2(sender), true, false));
        }
        let longest = if need == Need::Any { IDLE_FOR } else { FRESH_FOR };
        loop {
            let mut idle = self.lock_idle().pop()?;
            if idle.since.elapsed() > longest {
                // The younger ones were on top: what is below is older still.
                self.lock_idle().clear();
                return None;
            }
            // The connection's task may need a moment to see that the last response is complete.
            let ready = idle.sender.is_ready()
                || (!idle.sender.is_closed()
                    && matches!(timeout(Duration::from_millis(100), idle.sender.ready()).await, Ok(Ok(()))));
            if ready {
                return Some(Lease::new(self.clone(), Sender::Http1(idle.sender), true, false));
            }
        }
    }

    async fn connect(&self) -> Result<Sender, ConnectError> {
        let stream = TcpStream::connect(self.address).await.map_err(ConnectError::Connect)?;
        let _ = stream.set_nodelay(true);
        match self.protocol {
            Protocol::Http => http1(stream).await,
            Protocol::Grpc => self.http2(stream).await,
            Protocol::Https => http1(self.tls(stream).await?).await,
            Protocol::Grpcs => self.http2(self.tls(stream).await?).await,
        }
    }

    async fn tls(&self, stream: TcpStream) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ConnectError> {
        let mut config = self.tls.clone();
        if self.protocol == Protocol::Grpcs {
            Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec()];
        }
        let name = ServerName::IpAddress(self.address.ip().into());
        TlsConnector::from(config).connect(name, stream).await.map_err(ConnectError::Connect)
    }

    async fn http2(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Sender, ConnectError> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ConnectError::Handshake)?;
        tokio::spawn(connection);
        if !self.retired.load(Relaxed) {
            *self.multiplexed.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
        }
        Ok(Sender::Http2(sender))
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX) + 1
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &self.address)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

async fn http1(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Sender, ConnectError> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(128 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(ConnectError::Handshake)?;
    tokio::spawn(connection.with_upgrades());
    Ok(Sender::Http1(sender))
}

// === impl Lease ===

impl Lease {
    fn new(endpoint: Arc<Endpoint>, sender: Sender, reused: bool, once: bool) -> Self {
        endpoint.pending.fetch_add(1, Relaxed);
        Self { endpoint, sender: Some(sender), reused, progress: None, once }
    }

    /// Sends `request`, waits for the head of the response.
    pub(crate) async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        let outcome = match &mut self.sender {
            Some(Sender::Http1(sender)) => sender.try_send_request(request).await,
            Some(Sender::Http2(sender)) => sender.try_send_request(request).await,
            None => return Err(SendError { request: Some(Box::new(request)), error: None }),
        };
        outcome.map_err(|mut error| SendError {
            request: error.take_message().map(Box::new),
            error: Some(error.into_error()),
        })
    }

    /// The response is complete: keeps the connection for the next request if it is fit for one.
    pub(crate) fn give_back(mut self) {
        let whole = self.progress.as_ref().is_none_or(|progress| progress.is_done());
        if self.once || !whole || self.endpoint.retired.load(Relaxed) {
            return;
        }
        let Some(Sender::Http1(sender)) = self.sender.take() else { return };
        let mut idle = self.endpoint.lock_idle();
        if idle.len() < IDLE_MAX && !sender.is_closed() {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.pending.fetch_sub(1, Relaxed);
    }
}
