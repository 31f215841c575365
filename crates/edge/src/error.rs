//! Why the edge cannot start or stops.

use std::{io, net::SocketAddr};

/// Why the edge cannot start or stops. Problems of a single request or Ingress are answers and Events, not errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is taken, not ours, or needs a privilege (ports below 1024 need CAP_NET_BIND_SERVICE).
    #[error("cannot listen on {address} for {purpose}; choose another address or stop what uses it")]
    Bind {
        /// What was to be bound.
        address: SocketAddr,
        /// `http` or `https`.
        purpose: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The self-signed certificate for hosts without one of their own.
    #[error("cannot create the default certificate")]
    DefaultCertificate(#[source] rcgen::Error),
    /// The TLS settings were refused by rustls.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// An Ingress status could not be written.
    #[error("cannot write the status of ingress {ingress}")]
    Status {
        /// `namespace/name`.
        ingress: String,
        /// The API server's answer.
        #[source]
        source: Box<kube::Error>,
    },
}
