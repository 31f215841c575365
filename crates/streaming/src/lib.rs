//! The kubelet's streaming protocols: exec, attach and port-forward over WebSocket and SPDY/3.1.
//!
//! [`Streaming`] implements the seam [`lotse_node::streaming::Handlers`]. A request is answered at once, with `101` or
//! with a sentence; what follows runs in one task per connection:
//!
//! - `negotiate` reads the headers and agrees upon transport and protocol,
//! - `websocket` and `spdy` are the transports, both with the face of `channels`,
//! - `remote_command` and `port_forward` are what is done over them, `endpoints` puts the two together.
//!
//! Everything a client sends is limited: sizes of messages, frames and header blocks, the number of streams, the bytes
//! that wait for a reader, and the time until streams are opened or idle. A client that goes away ends what it started.

mod channels;
mod endpoints;
mod error;
mod negotiate;
mod port_forward;
mod remote_command;
mod spdy;
mod websocket;

#[cfg(test)]
mod tests;

use axum::{body::Body, extract::Request, response::Response};
use lotse_node::streaming::{BoxFuture, Connect, Handlers, OpenSession, Streams};

use crate::remote_command::Operation;

/// Speaks the streaming protocols for a [`lotse_node::Node`]. It has no state: limits hold per connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Streaming;

// === impl Streaming ===

impl Handlers for Streaming {
    fn exec(&self, request: Request<Body>, streams: Streams, open: OpenSession) -> BoxFuture<'static, Response> {
        let response = endpoints::command(request, streams, Operation::Exec, open);
        Box::pin(async { response })
    }

    fn attach(&self, request: Request<Body>, streams: Streams, open: OpenSession) -> BoxFuture<'static, Response> {
        let response = endpoints::command(request, streams, Operation::Attach, open);
        Box::pin(async { response })
    }

    fn port_forward(&self, request: Request<Body>, connect: Connect) -> BoxFuture<'static, Response> {
        let response = endpoints::port_forward(request, connect);
        Box::pin(async { response })
    }
}
