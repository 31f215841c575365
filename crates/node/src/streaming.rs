//! The seam to the streaming protocols (WebSocket `v4`/`v5.channel.k8s.io`, SPDY/3.1).
//!
//! The node knows which container is meant and opens the session; a handler knows how bytes travel to the client.

use std::{future::Future, pin::Pin, sync::Arc};

use axum::{body::Body, extract::Request, response::Response};
use lotse_runtime::Session;
use tokio::net::TcpStream;

/// A boxed future, so that handlers can be used as `dyn Handlers`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which streams the client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// `stdin`.
    pub stdin: bool,
    /// `stdout`.
    pub stdout: bool,
    /// `stderr`; never together with `tty`.
    pub stderr: bool,
    /// `tty`.
    pub tty: bool,
}

/// Opens the session after the protocol has been agreed upon, so that a request that cannot be upgraded starts nothing.
/// The error is a sentence for the client.
pub type OpenSession = Box<dyn FnOnce() -> BoxFuture<'static, Result<Session, String>> + Send>;

/// Connects to a port inside the pod, once per forwarded connection. The error is a sentence for the client.
pub type Connect = Arc<dyn Fn(u16) -> BoxFuture<'static, Result<TcpStream, String>> + Send + Sync>;

/// Speaks the streaming protocols.
pub trait Handlers: Send + Sync + 'static {
    /// Serves exec: upgrades `request` and connects it with the session's streams until both are done.
    fn exec(&self, request: Request<Body>, streams: Streams, open: OpenSession) -> BoxFuture<'static, Response>;

    /// Serves attach, as [`Handlers::exec`].
    fn attach(&self, request: Request<Body>, streams: Streams, open: OpenSession) -> BoxFuture<'static, Response>;

    /// Serves port-forward.
    fn port_forward(&self, request: Request<Body>, connect: Connect) -> BoxFuture<'static, Response>;
}
