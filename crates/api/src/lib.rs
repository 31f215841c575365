//! The Kubernetes API server: kinds as data, generic handlers, watch, discovery, authentication, authorisation, CRDs.
//!
//! [`ApiServer`] serves every kind of [`lotse_kinds`] and every CustomResourceDefinition by one path: `pipeline` leads a request
//! from the socket to `handlers`, where each verb is written once. What a kind does differently stands in rows: hooks in
//! `lotse_kinds`, [`admission`], `deletion` and `endpoints` here.

mod admission;
mod authn;
mod authz;
mod body;
mod bootstrap;
mod config;
mod crd;
mod deletion;
mod discovery;
mod endpoints;
mod handlers;
mod labels;
mod metrics;
mod negotiate;
mod object;
mod openapi;
mod pipeline;
pub mod pki;
mod projection;
mod protobuf;
mod registry;
mod request;
mod selector;
mod server;
mod status;
mod table;
mod tls;

pub use authn::{ConnectionIdentity, User};
pub use config::Config;
pub use server::{ApiError, ApiServer};
pub use status::Error;
