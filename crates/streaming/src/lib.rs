//! The kubelet's streaming protocols: exec, attach and port-forward over WebSocket and SPDY/3.1.

use axum::{body::Body, extract::Request, response::{IntoResponse, Response}};
use lotse_node::streaming::{BoxFuture, Connect, Handlers, OpenSession, Streams};

/// Speaks the streaming protocols for a [`lotse_node::Node`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Streaming;

fn refuse() -> BoxFuture<'static, Response> {
    Box::pin(async { (axum::http::StatusCode::NOT_IMPLEMENTED, "streaming is not available").into_response() })
}

impl Handlers for Streaming {
    fn exec(&self, _request: Request<Body>, _streams: Streams, _open: OpenSession) -> BoxFuture<'static, Response> {
        refuse()
    }
    fn attach(&self, _request: Request<Body>, _streams: Streams, _open: OpenSession) -> BoxFuture<'static, Response> {
        refuse()
    }
    fn port_forward(&self, _request: Request<Body>, _connect: Connect) -> BoxFuture<'static, Response> {
        refuse()
    }
}
