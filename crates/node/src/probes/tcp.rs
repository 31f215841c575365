//! `tcpSocket` probes: success is an accepted connection.

use k8s_openapi::api::core::v1::{Probe, TCPSocketAction};
use tokio::net::TcpStream;

use super::{BoxFuture, Check, Target};

pub(super) fn of(probe: &Probe) -> Option<Box<dyn Check>> {
    probe.tcp_socket.clone().map(|action| Box::new(Tcp(action)) as _)
}

struct Tcp(TCPSocketAction);

impl Check for Tcp {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let (host, port) = (target.host(self.0.host.as_deref())?, target.port(&self.0.port)?);
            let connection = TcpStream::connect((host.as_str(), port)).await;
            connection.map(drop).map_err(|error| format!("dial tcp {host}:{port}: {error}"))
        })
    }
}
