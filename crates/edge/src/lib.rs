//! HTTP(S) entry of the cluster: Ingress, TLS, limits.
//!
//! [`build`](build::build) turns Ingresses, Services, EndpointSlices and Secrets into an immutable [`table::Table`]; the
//! servers look requests up in it and stream them to pods. A change of the cluster swaps the table, never edits it, so a
//! request sees one state from beginning to end and the hot path takes no lock for routing.
//!
//! No text of an object ever becomes configuration text: every annotation is parsed into a typed value
//! ([`annotations`]), and what cannot be parsed is an Event on the Ingress.

mod access;
mod annotations;
mod body;
mod build;
mod config;
mod connection;
mod cors;
mod error;
mod exchange;
mod headers;
mod htpasswd;
mod metrics;
mod path;
mod proxy;
mod registry;
mod respond;
mod server;
mod status;
mod table;
mod tls;
mod tunnel;
mod upstream;
mod watch;

pub use config::Config;
pub use error::Error;
pub use metrics::{IngressMetrics, LATENCY_BOUNDS_MS, Metrics};
pub use server::{Edge, run};
