//! What the edge must know about the installation.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// What the edge must know about the installation. [`Config::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where plain HTTP is served. An unspecified address (`0.0.0.0` or `[::]`) serves both families.
    pub http: SocketAddr,
    /// Where HTTPS is served; `None` turns TLS and redirects to it off.
    pub https: Option<SocketAddr>,
    /// What is written to `Ingress.status.loadBalancer.ingress`; a loopback address is written as host name `localhost`.
    pub publish_address: IpAddr,
    /// Names of ingress classes that are served even when no IngressClass object of that name exists. An Ingress
    /// without a class is served too, unless the default IngressClass belongs to another controller.
    pub ingress_classes: Vec<String>,
    /// `IngressClass.spec.controller` values that mean this edge.
    pub controllers: Vec<String>,
    /// PEM certificate chain and private key for hosts without a certificate of their own; generated at start when
    /// `None`.
    pub default_certificate: Option<(String, String)>,
    /// Whether endpoints at loopback addresses are served. Off: whoever may write EndpointSlices could reach what this
    /// host keeps to itself.
    pub loopback_endpoints: bool,
    /// How many client connections may be open at once; further ones wait in the listen backlog.
    pub max_connections: usize,
    /// How long a client may take to send a request head, or to complete a TLS handshake.
    pub header_timeout: Duration,
    /// How long a connection may be idle between requests.
    pub idle_timeout: Duration,
    /// How long a client may pause while it sends a body or takes a response.
    pub client_timeout: Duration,
    /// How long requests may go on after shutdown began.
    pub drain_timeout: Duration,
}

// === impl Config ===

impl Config {
    /// The defaults for these listeners.
    pub fn new(http: SocketAddr, https: Option<SocketAddr>) -> Self {
        Self {
            http,
            https,
            publish_address: if http.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { http.ip() },
            ingress_classes: vec!["nginx".to_owned(), "lotse".to_owned()],
            controllers: vec!["lotse.dev/ingress-controller".to_owned(), "k8s.io/ingress-nginx".to_owned()],
            default_certificate: None,
            loopback_endpoints: false,
            max_connections: 16_384,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            client_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
        }
    }
}
