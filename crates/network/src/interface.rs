//! The seam between node and network: plain data and one trait.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    pin::Pin,
};

use serde::{Deserialize, Serialize};

use crate::Error;

/// A boxed future, so that the trait can be used as `dyn PodNetwork`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A pod's place on the pod network.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Attachment {
    /// `metadata.uid` of the pod.
    pub uid: String,
    /// The pod's address.
    pub ip: Ipv4Addr,
    /// A bind-mounted network namespace; lives without any process in it.
    pub namespace: PathBuf,
    /// Ports of the host that lead to the pod.
    pub host_ports: Vec<HostPort>,
}

/// `ports[].hostPort` of a container.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct HostPort {
    /// Address of the host to listen on; `None` is every address.
    pub host_ip: Option<IpAddr>,
    /// Port of the host.
    pub host_port: u16,
    /// Port of the pod.
    pub pod_port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// Transport protocols of Services and ports.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What the node asks of the network. Idempotent; state is on disk and survives the daemon; after a reboot (when the
/// namespaces are gone) `attach` makes the namespace again, with the same address where it is still free.
pub trait PodNetwork: Send + Sync + 'static {
    /// Gives the pod a namespace with loopback and `eth0`, an address, a default route and its host ports.
    fn attach<'a>(&'a self, uid: &'a str, host_ports: &'a [HostPort]) -> BoxFuture<'a, Result<Attachment, Error>>;

    /// Takes it all away. Detaching an unknown pod succeeds.
    fn detach<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, Result<(), Error>>;

    /// All attachments, so that the node can detach those without a pod.
    fn attachments(&self) -> Vec<Attachment>;

    /// Connects to a TCP port on the pod's loopback, inside its namespace (for port-forward).
    fn connect_loopback<'a>(&'a self, uid: &'a str, port: u16) -> BoxFuture<'a, Result<tokio::net::TcpStream, Error>>;

    /// Address of the host on the pod network: source of probes, and where pods reach the host.
    fn host_ip(&self) -> Ipv4Addr;

    /// Address of cluster DNS for `/etc/resolv.conf` in pods.
    fn dns_ip(&self) -> Ipv4Addr;
}

// === impl Protocol ===

impl Protocol {
    /// As Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    /// The protocol that Kubernetes calls `name`; absent is TCP, SCTP and others are not supported.
    pub fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("" | "TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some(_) => None,
        }
    }

    /// The number in the IP header (IANA protocol numbers).
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}
